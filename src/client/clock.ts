/** Time and chance for the SDK, as values, so that a program can bring its own. */
import { performance } from 'node:perf_hooks';

export interface NodeClock {
  /** Milliseconds since some fixed moment; never goes back. */
  monotonicMs(): number;
  /** In [0, 1). */
  random(): number;
  /** Runs `fn` once, `ms` from now; what it returns calls that off. */
  after(ms: number, fn: () => void): () => void;
}

/** Milliseconds since 1970, by the clock of the process. */
export const wallClock = (): number => Date.now();

/** ISO 8601 UTC of the same, `ms` later. */
export const isoNow = (ms = 0): string => new Date(wallClock() + ms).toISOString();

/** The process's own. Unlike the hub's timers these keep the process alive: a node that waits to reconnect is still at work. */
export const processClock: NodeClock = {
  monotonicMs: () => performance.now(),
  random: () => Math.random(),
  after(ms, fn) {
    const timer = setTimeout(fn, ms);
    return () => clearTimeout(timer);
  },
};
