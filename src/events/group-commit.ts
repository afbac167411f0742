/**
 * Group commit: appends from everywhere in a process meet here, and one flush writes all that gathered meanwhile.
 *
 * The next flush starts when the last returns, with no linger, so that a lone writer waits for nothing and many writers
 * share one fsync. A flush holds at most one append a stream, because the second would have to be judged against the
 * first; only `any` appends without a command to the same stream ride together, in order. What does not fit waits for
 * the next flush, and per stream nothing overtakes.
 *
 * Faults: a `Rejected` flush wrote nothing because of something in it: it is split in halves and each tried alone, until the
 * append at fault stands alone and gets the error. Any other fault leaves the outcome unknown: the same flush is tried
 * again (event ids make that harmless for kept streams), a bounded number of times, and then everyone in it is told.
 */
import { Fault } from '../errors.ts';
import type { Append, Verdict } from './log.ts';

/** Writes all appends in one transaction and judges each by itself. At most one append a stream, except `any` (see above). */
export type Flush = (appends: readonly Append[]) => Promise<readonly Verdict[]>;

/** The flush was rolled back because of what one of its appends holds; the others would have been written. */
export class Rejected extends Error {}

/** Hears what the batcher does, so that it can be measured. It is called in the way of the appends: quick, and without throwing. */
export interface AppendObserver {
  /** Milliseconds of a clock that never goes back. */
  now(): number;
  /** Told once: tells at any time how many appends wait or are being written. */
  queue(depth: () => number): void;
  /** An append was written, so long after it came in. */
  appended(append: Append, tookMs: number): void;
  /** A flush was written, with so many appends and events of it; of those that were tried again, the try that succeeded. */
  flushed(appends: number, events: number, tookMs: number): void;
  /** As `flushed`, with the appends themselves, for whoever wants to know what they belong to. */
  wrote?(appends: readonly Append[], tookMs: number): void;
}

export interface GroupCommitOptions {
  /** Appends waiting or being written at most; beyond it, `overloaded` at once. */
  readonly queueLimit?: number;
  /** Events in one flush at most (one append may exceed it alone). */
  readonly flushEvents?: number;
  /** Bytes of event text in one flush at most (one append may exceed it alone). */
  readonly flushBytes?: number;
  /** How often a flush of unknown outcome is tried again. */
  readonly retries?: number;
  /** Waits between tries; given the number of the try, from 0. */
  readonly pause?: (attempt: number) => Promise<void>;
  readonly observer?: AppendObserver;
}

interface Waiting {
  readonly append: Append;
  readonly bytes: number;
  /** When it came in, by the observer's clock. */
  readonly since: number;
  readonly resolve: (verdict: Verdict) => void;
  readonly reject: (error: unknown) => void;
}

/** Appends that wait or are being written, unless something else is said. */
export const mostAppends = 10_000;

export class GroupCommit {
  readonly #flush: Flush;
  readonly #options: Required<Omit<GroupCommitOptions, 'observer'>>;
  readonly #observer: AppendObserver | undefined;
  #waiting: Waiting[] = [];
  #writing = 0;
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(flush: Flush, { observer, ...options }: GroupCommitOptions = {}) {
    this.#flush = flush;
    this.#observer = observer;
    observer?.queue(() => this.depth);
    this.#options = {
      queueLimit: mostAppends,
      flushEvents: 1_000,
      flushBytes: 4 * 1024 * 1024,
      retries: 3,
      pause: async () => {},
      ...options,
    };
  }

  /** Appends waiting or being written. */
  get depth(): number {
    return this.#waiting.length + this.#writing;
  }

  append(append: Append): Promise<Verdict> {
    if (this.#closed) return Promise.reject(new Fault('log_unavailable', 'the log is closing'));
    if (this.depth >= this.#options.queueLimit) {
      return Promise.reject(new Fault('overloaded', `${this.#options.queueLimit} appends are waiting already`));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ append, bytes: textLength(append), since: this.#now(), resolve, reject });
      this.#running ??= this.#run();
    });
  }

  /** Refuses what comes from now on, and returns when all that waited was written or told. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    await Promise.resolve(); // appends made in the same turn ride together
    while (this.#waiting.length > 0) {
      const batch = this.#take();
      this.#writing = batch.length;
      await this.#write(batch, false);
      this.#writing = 0;
    }
    this.#running = undefined;
  }

  /** The next flush: from the front, one append a stream, bounded in events and bytes. */
  #take(): Waiting[] {
    const taken: Waiting[] = [];
    const left: Waiting[] = [];
    const streams = new Map<string, boolean>(); // stream → may more ride with it
    let events = 0;
    let bytes = 0;
    for (const [at, waiting] of this.#waiting.entries()) {
      const { append } = waiting;
      const full =
        taken.length > 0 &&
        (events + append.events.length > this.#options.flushEvents || bytes + waiting.bytes > this.#options.flushBytes);
      if (full) {
        for (let rest = at; rest < this.#waiting.length; rest++) left.push(this.#waiting[rest]!);
        break;
      }
      const rides = append.expected === 'any' && append.command === undefined;
      const seen = streams.get(append.stream);
      if (seen === undefined || (seen && rides)) {
        streams.set(append.stream, rides);
        taken.push(waiting);
        events += append.events.length;
        bytes += waiting.bytes;
      } else {
        streams.set(append.stream, false); // nothing overtakes what waits
        left.push(waiting);
      }
    }
    this.#waiting = left;
    return taken;
  }

  /** @param retried an earlier try of unknown outcome may have written these already */
  async #write(batch: Waiting[], retried: boolean): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      const began = this.#now();
      let verdicts: readonly Verdict[];
      try {
        verdicts = await this.#flush(batch.map((waiting) => waiting.append));
      } catch (error) {
        if (error instanceof Rejected) return this.#split(batch, error, retried);
        if (error instanceof Fault && error.code === 'log_full') return this.#tell(batch, error);
        if (attempt >= this.#options.retries) {
          return this.#tell(batch, new Fault('log_unavailable', 'the log could not be written', error));
        }
        retried = true;
        await this.#options.pause(attempt);
        continue;
      }
      return this.#settle(batch, verdicts, retried, began);
    }
  }

  async #split(batch: Waiting[], error: Rejected, retried: boolean): Promise<void> {
    if (batch.length === 1) return this.#tell(batch, error.cause ?? error);
    const half = batch.length >> 1;
    await this.#write(batch.slice(0, half), retried);
    await this.#write(batch.slice(half), retried);
  }

  #settle(batch: Waiting[], verdicts: readonly Verdict[], retried: boolean, began: number): void {
    if (verdicts.length !== batch.length) {
      this.#tell(batch, new Error(`a flush of ${batch.length} appends got ${verdicts.length} verdicts`));
      return;
    }
    const now = this.#now();
    let appends = 0;
    let events = 0;
    for (const [at, { append, since, resolve }] of batch.entries()) {
      const verdict = retried ? asWritten(verdicts[at]!) : verdicts[at]!; // as many as the batch holds
      if (verdict.status === 'written') {
        appends++;
        events += append.events.length;
        this.#observer?.appended(append, now - since);
      }
      resolve(verdict);
    }
    this.#observer?.flushed(appends, events, now - began);
    this.#observer?.wrote?.(
      batch.map(({ append }) => append),
      now - began,
    );
  }

  #now(): number {
    return this.#observer?.now() ?? 0;
  }

  #tell(batch: Waiting[], error: unknown): void {
    for (const waiting of batch) waiting.reject(error);
  }
}

/** After an unknown outcome, our own event ids in the log mean that the first try was written after all. */
function asWritten(verdict: Verdict): Verdict {
  if (verdict.status !== 'duplicate' || verdict.command) return verdict;
  return { status: 'written', position: verdict.position, revision: verdict.revision };
}

function textLength(append: Append): number {
  let length = 0;
  for (const event of append.events) length += event.data.length + event.meta.length + 128;
  return length;
}
