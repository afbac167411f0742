/** What every part of the hub may touch of the outside world: clock, chance, timers and the process log. */
import { randomBytes, randomFillSync } from 'node:crypto';
import { pino } from 'pino';
import { v7 } from 'uuid';

export type Cancel = () => void;

/** The few lines of a logger that the hub uses; pino has them. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(bindings: Record<string, unknown>): Logger;
}

/** Time and chance as values. Nothing else in `src` calls `Date.now`, `Math.random` or a bare timer. */
export interface Kernel {
  /** Names this process in `meta.replica`; new at each start. */
  readonly replica: string;
  readonly log: Logger;
  /** Wall clock, milliseconds since 1970. May go back. */
  now(): number;
  /** Milliseconds since some fixed moment of this process. Never goes back: judge durations with it. */
  monotonicMs(): number;
  /** UUID version 7: ids that sort by time, so that unique indexes stay warm. */
  uuid(): string;
  /** In [0, 1). For jitter and choice among equals, never for secrets. */
  random(): number;
  /** Unpredictable bytes, for secrets and nonces. */
  secretBytes(length: number): Uint8Array;
  /** Runs `fn` once, `ms` from now. Does not keep the process alive. */
  after(ms: number, fn: () => void): Cancel;
  /** Runs `fn` each `ms`. Does not keep the process alive. */
  every(ms: number, fn: () => void): Cancel;
  sleep(ms: number): Promise<void>;
}

/** The kernel of a real process. `overrides` replace single parts, for tests that need a clock of their own. */
export function createKernel(options: { logLevel?: string } = {}, overrides: Partial<Kernel> = {}): Kernel {
  const replica = v7();
  return {
    replica,
    log: pino({ level: options.logLevel ?? 'info', base: { replica: replica.slice(-8) } }, pino.destination(2)),
    now: () => Date.now(),
    monotonicMs: () => performance.now(),
    uuid: uuids(),
    random: () => Math.random(),
    secretBytes: drawn(),
    after(ms, fn) {
      const timer = setTimeout(fn, ms).unref();
      return () => clearTimeout(timer);
    },
    every(ms, fn) {
      const timer = setInterval(fn, ms).unref();
      return () => clearInterval(timer);
    },
    sleep: (ms) => new Promise((done) => void setTimeout(done, ms)),
    ...overrides,
  };
}

/** Bytes of chance that are drawn at once: asking the system for the few of a nonce costs as much as what they are for. */
const pageBytes = 4_096;

/** Each byte is given out once, and none stays behind in the page. */
function drawn(): (length: number) => Uint8Array {
  const page = Buffer.alloc(pageBytes);
  let used = page.length;
  return (length) => {
    if (length > pageBytes / 16) return randomBytes(length);
    if (used + length > page.length) {
      randomFillSync(page);
      used = 0;
    }
    const bytes = new Uint8Array(page.subarray(used, used + length));
    page.fill(0, used, used + length);
    used += length;
    return bytes;
  };
}

/**
 * UUIDs of version 7 that grow within one process (RFC 9562, 6.2, method 1). Chance is drawn a page at a time: asking the
 * system for each id costs more than all the rest of a command.
 */
function uuids(): () => string {
  const page = Buffer.alloc(4096);
  let used = page.length;
  let msecs = 0;
  let seq = 0;
  return () => {
    if (used === page.length) {
      randomFillSync(page);
      used = 0;
    }
    const random = page.subarray(used, used + 16);
    used += 16;
    const now = Date.now();
    if (now > msecs) {
      msecs = now;
      seq = random.readUInt32BE(0) >>> 1; // half of the range is left to count in
    } else {
      seq = (seq + 1) >>> 0;
      if (seq === 0) msecs++;
    }
    return v7({ msecs, seq, random });
  };
}

/** ISO 8601 UTC of milliseconds since 1970: how every time is written in events and answers. */
export function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
