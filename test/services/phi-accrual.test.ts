import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lostAt, suspectAt } from '../../src/services/node-registry/failure-detector.ts';
import { PhiAccrual } from '../../src/services/node-registry/phi-accrual.ts';

const rhythm = { intervalMs: 15_000, pauseMs: 30_000 };

/** A node that was heard `beats` times, each `interval` after the last. */
function steady(beats: number, interval: number): PhiAccrual {
  const phi = new PhiAccrual(rhythm, 0);
  for (let beat = 1; beat <= beats; beat++) phi.heard(beat * interval);
  return phi;
}

/** When, after it was last heard, suspicion reaches a level. */
function silenceUntil(phi: PhiAccrual, level: number): number {
  let silence = 0;
  while (phi.phi(phi.last + silence) < level) silence += 100;
  return silence;
}

describe('phi accrual', () => {
  it('is calm while a node keeps its rhythm', () => {
    const phi = steady(20, 15_000);
    expect(phi.phi(phi.last + 15_000)).toBeLessThan(0.1);
    expect(phi.phi(phi.last + 30_000)).toBeLessThan(1);
  });

  it('doubts a node of the usual rhythm within a minute, and takes it for lost before the hard limit of 90 s', () => {
    const phi = steady(20, 15_000);
    expect(silenceUntil(phi, suspectAt)).toBeGreaterThan(45_000);
    expect(silenceUntil(phi, suspectAt)).toBeLessThan(60_000);
    expect(silenceUntil(phi, lostAt)).toBeLessThan(90_000);
    expect(silenceUntil(phi, lostAt)).toBeGreaterThan(silenceUntil(phi, suspectAt));
  });

  it('is more patient with a node whose rhythm is uneven', () => {
    const uneven = new PhiAccrual(rhythm, 0);
    let at = 0;
    for (let beat = 0; beat < 40; beat++) {
      at += beat % 2 ? 5_000 : 25_000;
      uneven.heard(at);
    }
    expect(silenceUntil(uneven, suspectAt)).toBeGreaterThan(silenceUntil(steady(40, 15_000), suspectAt) + 10_000);
  });

  it('does not learn from a long absence', () => {
    const phi = steady(20, 15_000);
    const before = silenceUntil(phi, suspectAt);
    phi.heard(phi.last + 3_600_000);
    expect(silenceUntil(phi, suspectAt)).toBe(before);
  });

  it('waits anew after being forgiven', () => {
    const phi = steady(20, 15_000);
    const late = phi.last + 80_000;
    expect(phi.phi(late)).toBeGreaterThan(lostAt);
    phi.forgive(late);
    expect(phi.phi(late + 15_000)).toBeLessThan(1);
  });

  it('never falls while a silence lasts, and stays a number from 0 to 300', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 120_000 }), { maxLength: 100 }),
        fc.array(fc.integer({ min: 0, max: 600_000 }), { minLength: 2, maxLength: 30 }),
        (intervals, silences) => {
          const phi = new PhiAccrual(rhythm, 0);
          let at = 0;
          for (const interval of intervals) {
            at += interval;
            phi.heard(at);
          }
          const values = [...silences].sort((a, b) => a - b).map((silence) => phi.phi(at + silence));
          for (const [index, value] of values.entries()) {
            expect(value).toBeGreaterThanOrEqual(0);
            expect(value).toBeLessThanOrEqual(300);
            if (index > 0) expect(value).toBeGreaterThanOrEqual(values[index - 1]! - 1e-6);
          }
        },
      ),
    );
  });
});
