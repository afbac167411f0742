/** How long a receiver that does not take its events is borne with. */
import { describe, expect, it } from 'vitest';
import { oneMore, type Trouble } from '../../src/services/event-bus/trouble.ts';

const hourMs = 3_600_000;

/** A receiver that fails whenever it is asked: how often it was asked, after what waits, and how long it took until it was given up. */
function untilGivenUp(chance: number, retryAfterMs?: number) {
  const began = Date.parse('2026-01-01T00:00:00Z');
  const waits: number[] = [];
  let trouble: Trouble | undefined;
  for (let now = began; ; ) {
    const next = oneMore(trouble, { now, chance, retryAfterMs });
    trouble = next.trouble;
    if (next.againMs === undefined) return { failures: trouble.failures, tookMs: now - began, waits };
    waits.push(next.againMs);
    now += next.againMs;
  }
}

describe('a receiver that fails', () => {
  it('is asked again after waits that double up to five minutes, give or take a quarter', () => {
    const { waits } = untilGivenUp(0.5);
    expect(waits.slice(0, 10).map((ms) => ms / 1_000)).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
    expect(Math.max(...waits)).toBe(300_000);
    expect(untilGivenUp(0).waits[9]).toBe(225_000);
    expect(untilGivenUp(0.999).waits[9]).toBeLessThan(375_000);
  });

  it('is given up after a hundred failures in a row', () => {
    for (const chance of [0, 0.5, 0.999]) {
      const { failures, tookMs } = untilGivenUp(chance);
      expect(failures).toBe(100);
      expect(tookMs).toBeLessThan(12 * hourMs);
    }
  });

  it('is given up after a day, however seldom it lets itself be asked', () => {
    const { failures, tookMs, waits } = untilGivenUp(0.5, hourMs);
    expect([failures, tookMs]).toEqual([25, 24 * hourMs]);
    expect(new Set(waits)).toEqual(new Set([hourMs]));
  });
});
