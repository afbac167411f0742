import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareBounds } from '../../src/negentropy/bound.ts';
import { ItemSet } from '../../src/negentropy/item-set.ts';
import { hex, item } from './sets.ts';

const items = fc.array(fc.record({ timestamp: fc.nat(40), id: fc.uint8Array({ minLength: 32, maxLength: 32 }) }), {
  maxLength: 100,
  size: 'max',
});

/** The protocol's words, done with large numbers. */
function fingerprint(ids: readonly Uint8Array[]): string {
  const sum = ids.reduce((total, id) => total + BigInt(`0x${hex(id.toReversed())}`), 0n) % 2n ** 256n;
  const bytes = Buffer.from(sum.toString(16).padStart(64, '0'), 'hex').reverse();
  const count = ids.length < 128 ? [ids.length] : [128 + (ids.length >> 7), ids.length & 127];
  return createHash('sha256').update(bytes).update(Uint8Array.from(count)).digest('hex').slice(0, 32);
}

describe('a set of items', () => {
  it('keeps each item once, by timestamp and then by id', () => {
    fc.assert(
      fc.property(items, (drawn) => {
        const set = ItemSet.of([...drawn, ...drawn]);
        const order = drawn.map(({ timestamp, id }) => `${String(timestamp).padStart(2, '0')} ${hex(id)}`).sort();
        const once = [...new Set(order)].map((text) => text.slice(3));
        expect(Array.from({ length: set.size }, (_, place) => hex(set.id(place)))).toEqual(once);
      }),
    );
  });

  it('gives the fingerprint of any of its ranges', () => {
    const many = Array.from({ length: 400 }, (_, number) => item(number, number % 7));
    const set = ItemSet.of([
      ...many,
      { timestamp: 9, id: new Uint8Array(32).fill(255) },
      { timestamp: 9, id: new Uint8Array(32) },
    ]);
    const ids = Array.from({ length: set.size }, (_, place) => set.id(place));
    const place = fc.nat(set.size);
    fc.assert(
      fc.property(place, place, (a, b) => {
        const [from, to] = [Math.min(a, b), Math.max(a, b)];
        expect(hex(set.fingerprint(from, to))).toBe(fingerprint(ids.slice(from, to)));
      }),
      {
        numRuns: 300,
        examples: [
          [0, 402],
          [402, 402],
          [0, 127],
          [0, 128],
        ],
      },
    );
  });

  it('parts any two neighbours by the shortest bound, and finds the place of it', () => {
    fc.assert(
      fc.property(items, (drawn) => {
        const set = ItemSet.of(drawn.map(({ timestamp, id }) => ({ timestamp: timestamp % 3, id })));
        for (let place = 1; place < set.size; place++) {
          const bound = set.boundBefore(place);
          expect(set.firstFrom(bound)).toBe(place);
          if (bound.id.length === 0) continue;
          const shorter = { timestamp: bound.timestamp, id: bound.id.slice(0, -1) };
          expect(set.firstFrom(shorter)).toBeLessThan(place);
          expect(compareBounds(shorter, bound)).toBeLessThan(0);
        }
      }),
    );
  });

  it('takes no item without a timestamp or an id of 32 bytes', () => {
    const id = new Uint8Array(32);
    for (const timestamp of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, Number.MAX_SAFE_INTEGER]) {
      expect(() => ItemSet.of([{ timestamp, id }])).toThrow(RangeError);
    }
    expect(() => ItemSet.of([{ timestamp: 1, id: new Uint8Array(31) }])).toThrow(RangeError);
    expect(() => ItemSet.of([{ timestamp: 1, id: new Uint8Array(33) }])).toThrow(RangeError);
  });
});
