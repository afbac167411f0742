/** Starts writer.mjs as a process of its own, gathers what was acknowledged to it, and holds a log against that. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { expect } from 'vitest';
import type { EventLog, Recorded } from '../../src/events/log.ts';

export interface Acknowledged {
  readonly append: string;
  readonly size: number;
  /** Of its last event. */
  readonly position: number;
}

export interface WriterProcess {
  readonly acknowledged: readonly Acknowledged[];
  /** Resolves when its log is open. */
  readonly ready: Promise<void>;
  /** Resolves with its exit code, null when it was killed. Everything it said was read by then. */
  readonly ended: Promise<number | null>;
  /** SIGKILL: no handler runs, nothing is flushed. */
  kill(): void;
}

export function startWriter(log: string, name: string, appends = Number.POSITIVE_INFINITY): WriterProcess {
  const program = new URL('./writer.mjs', import.meta.url).pathname;
  const child = spawn(process.execPath, [program, log, name, String(appends)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const acknowledged: Acknowledged[] = [];
  let opened: () => void;
  const ready = new Promise<void>((resolve) => {
    opened = resolve;
  });
  const lines = createInterface(child.stdout);
  lines.on('line', (line) => {
    if (line === 'ready') opened();
    else if (line.endsWith('}')) acknowledged.push(JSON.parse(line)); // what the kill cut off was not acknowledged
  });
  const ended = Promise.all([once(child, 'exit'), once(lines, 'close')]).then(([[code]]) => code as number | null);
  return { acknowledged, ready, ended, kill: () => void child.kill('SIGKILL') };
}

/** Everything after a position, by pages. */
export async function readFrom(log: EventLog, after: number): Promise<Recorded[]> {
  const events: Recorded[] = [];
  for (let through = after; ; ) {
    const page = await log.readAll(through, 1_000);
    if (page.through === through) return events;
    events.push(...page.events);
    through = page.through;
  }
}

/** Every acknowledged append is there, at the place that was said, and no append is there in part. */
export function expectWhole(events: readonly Recorded[], acknowledged: readonly Acknowledged[]): void {
  const found = new Map<string, { size: number; positions: number[] }>();
  for (const event of events) {
    const { append, size, part } = JSON.parse(event.data) as { append: string; size: number; part: number };
    const whole = found.get(append) ?? { size, positions: [] };
    expect(part, 'events of an append are in order').toBe(whole.positions.length);
    whole.positions.push(event.position);
    found.set(append, whole);
  }
  for (const [append, { size, positions }] of found) {
    expect(positions.length, `events there of append ${append}`).toBe(size);
    expect(positions.at(-1)! - positions[0]!, `append ${append} lies together`).toBe(size - 1);
  }
  for (const { append, position } of acknowledged) {
    expect(found.get(append)?.positions.at(-1), `position of append ${append}, which was acknowledged`).toBe(position);
  }
}

export function expectDense(events: readonly Recorded[], after = 0): void {
  const gap = events.findIndex((event, at) => event.position !== after + at + 1);
  expect(gap, 'index of the first event whose position leaves a gap').toBe(-1);
}
