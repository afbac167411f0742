import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Range, readMessage } from '../../src/negentropy/read.ts';
import { type Item, ItemSet, type Limits } from '../../src/negentropy.ts';
import { hex, item, lacking, reconcile } from './sets.ts';

/** Ids that are close to each other: a few bytes differ, at the beginning, in the middle or at the end. */
const nearbyId = fc
  .tuple(fc.nat(2), fc.constantFrom(0, 1, 15, 30, 31), fc.nat(255), fc.nat(3))
  .map(([first, place, byte, last]) => {
    const id = new Uint8Array(32);
    id[0] = first;
    id[31] = last;
    id[place] = byte;
    return id;
  });
const anyId = fc.uint8Array({ minLength: 32, maxLength: 32 });
const timestamp = fc.oneof(fc.nat(3), fc.nat(1_000), fc.constantFrom(1_700_000_000_000, Number.MAX_SAFE_INTEGER - 1));

/** Items with the side that holds them; equal ids have equal timestamps, as one id is one item. */
const universe = fc.oneof(nearbyId, anyId).chain((some) =>
  fc.uniqueArray(
    fc.record({
      id: fc.oneof(nearbyId, anyId, fc.constant(some)),
      timestamp,
      holder: fc.constantFrom('both', 'both', 'both', 'me', 'them'),
    }),
    { maxLength: 250, size: 'max', selector: ({ id }) => id.toString() },
  ),
);
const limits: fc.Arbitrary<Required<Limits>> = fc.record({
  frameBytes: fc.oneof(fc.integer({ min: 256, max: 600 }), fc.integer({ min: 600, max: 60_000 })),
  branch: fc.integer({ min: 2, max: 20 }),
  listBelow: fc.integer({ min: 2, max: 40 }),
});
/** Who holds anything at all. */
const pair = fc.constantFrom(
  'as drawn',
  'as drawn',
  'I have nothing',
  'they have nothing',
  'all is mine',
  'all is theirs',
);

function sides(items: readonly (Item & { holder: string })[], kind: string): { mine: Item[]; theirs: Item[] } {
  const mine = items.filter(({ holder }) => kind === 'all is mine' || holder !== 'them');
  const theirs = items.filter(({ holder }) => kind === 'all is theirs' || holder !== 'me');
  return { mine: kind === 'I have nothing' ? [] : mine, theirs: kind === 'they have nothing' ? [] : theirs };
}

function expectTrue(set: ItemSet, frame: Uint8Array): void {
  for (const range of readMessage(frame, 65_536) as readonly Range[]) {
    // of our version
    const [from, to] = [set.firstFrom(range.lower), set.firstFrom(range.upper)];
    if (range.mode === 'fingerprint') expect(hex(range.fingerprint)).toBe(hex(set.fingerprint(from, to)));
    if (range.mode === 'ids') expect(hex(range.ids)).toBe(hex(set.ids(from, to)));
  }
}

describe('a reconciliation', () => {
  it('finds what each side lacks, each id once, in frames of any size, and ends', () => {
    fc.assert(
      fc.property(universe, pair, limits, limits, (items, kind, asks, answers) => {
        const { mine, theirs } = sides(items, kind);
        const held = ItemSet.of(theirs);
        const course = reconcile(mine, () => held, { asks, answers });
        expect(course.have).toEqual(lacking(mine, theirs));
        expect(course.need).toEqual(lacking(theirs, mine));
        expect(course.rounds).toBeLessThan(20 + 4 * (mine.length + theirs.length));
        for (const { length } of course.questions) expect(length).toBeLessThanOrEqual(asks.frameBytes);
        for (const { length } of course.answers) expect(length).toBeLessThanOrEqual(answers.frameBytes);
      }),
      { numRuns: 400 },
    );
  });

  it('says of a range what is so: its fingerprint or its ids, to its very end', () => {
    fc.assert(
      fc.property(universe, limits, limits, (items, asks, answers) => {
        const { mine, theirs } = sides(items, 'as drawn');
        const [asking, held] = [ItemSet.of(mine), ItemSet.of(theirs)];
        const { questions, answers: answered } = reconcile(mine, () => held, { asks, answers });
        for (const question of questions) expectTrue(asking, question);
        for (const frame of answered) expectTrue(held, frame);
      }),
      { numRuns: 200 },
    );
  });

  it('finds all that differed all the time when the other side learns and forgets between answers', () => {
    fc.assert(
      fc.property(universe, limits, limits, fc.nat(), (items, asks, answers, turn) => {
        const { mine, theirs } = sides(items, 'as drawn');
        const comesAndGoes = ({ id }: Item): boolean => id[31]! % 4 === 1;
        const isThere = (round: number, { id }: Item): boolean => (id[30]! + id[0]! + round + turn) % 3 === 0;
        const now = (round: number): Item[] => theirs.filter((one) => !comesAndGoes(one) || isThere(round, one));
        const always = theirs.filter((one) => !comesAndGoes(one));
        const course = reconcile(mine, (round) => ItemSet.of(now(round)), { asks, answers });
        expect(course.have).toEqual(expect.arrayContaining(lacking(mine, theirs)));
        expect(course.need).toEqual(expect.arrayContaining(lacking(always, mine)));
        expect(new Set(course.have).size).toBe(course.have.length);
        expect(new Set(course.need).size).toBe(course.need.length);
      }),
      { numRuns: 200 },
    );
  });

  it('asks once when both sides hold the same', () => {
    const items = Array.from({ length: 1_000 }, (_, number) => item(number, number));
    const course = reconcile(items, () => ItemSet.of(items));
    expect(course).toMatchObject({ have: [], need: [], rounds: 1, answers: [Uint8Array.of(0x61)] });
  });

  it('moves less than 100 KB for two sets of 100,000 that differ in 100', () => {
    const year = 365 * 86_400_000;
    const everywhere = (number: number): number => 1_700_000_000_000 + Math.floor((number * year) / 100_050);
    const items = Array.from({ length: 100_050 }, (_, number) => item(number, everywhere(number)));
    const mine = items.filter((_, number) => number % 2_001 !== 0);
    const theirs = items.filter((_, number) => number % 2_001 !== 1_000);
    const held = ItemSet.of(theirs);
    const course = reconcile(mine, () => held);
    expect([mine.length, theirs.length]).toEqual([100_000, 100_000]);
    expect(course.have).toEqual(lacking(mine, theirs));
    expect(course.need).toEqual(lacking(theirs, mine));
    expect(course.have.length + course.need.length).toBe(100);
    expect(course.bytes).toBeLessThan(100_000);
    expect(course.rounds).toBeLessThan(6);
  });

  it('moves a third more than the ids at most where every second item differs, in small frames too', () => {
    const items = Array.from({ length: 20_000 }, (_, number) => item(number, number * 1_000));
    const mine = items.filter((_, number) => number % 4 !== 0);
    const held = ItemSet.of(items.filter((_, number) => number % 4 !== 2));
    for (const frameBytes of [1_024, 4_096, 60_000]) {
      const course = reconcile(mine, () => held, { asks: { frameBytes }, answers: { frameBytes } });
      expect(course.have.length + course.need.length).toBe(10_000);
      expect(course.bytes).toBeLessThan((4 / 3) * 32 * 20_000);
    }
  });

  it('moves little more than the ids when one side has nothing', () => {
    const items = Array.from({ length: 20_000 }, (_, number) => item(number, number));
    const held = ItemSet.of(items);
    const fetched = reconcile([], () => held);
    expect(fetched.need).toHaveLength(20_000);
    expect(fetched.bytes).toBeLessThan(1.01 * 32 * 20_000);
    const nothing = ItemSet.of([]);
    expect(reconcile(items, () => nothing)).toMatchObject({ have: lacking(items, []), need: [], rounds: 1 });
  });
});
