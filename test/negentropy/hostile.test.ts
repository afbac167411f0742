import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { writeVarint } from '../../src/negentropy/bound.ts';
import { answer, BadFrame, Initiator, ItemSet } from '../../src/negentropy.ts';
import { hex, item, reconcile, unhex } from './sets.ts';

const mine = Array.from({ length: 600 }, (_, number) => item(number, 1_000 + (number >> 2))).filter(
  (_, at) => at % 9 !== 4,
);
const theirs = Array.from({ length: 600 }, (_, number) => item(number, 1_000 + (number >> 2))).filter(
  (_, at) => at % 11 !== 5,
);
const [ours, held] = [ItemSet.of(mine), ItemSet.of(theirs)];
const honest = reconcile(mine, () => held);

/** The outcome when all is well or the frame is refused as such. Anything else that is thrown fails the test. */
function taken<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    if (error instanceof BadFrame) return undefined;
    throw error;
  }
}

/** Frames that begin like frames, or that were frames before some bytes were lost, added or changed. */
const rubbish = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc
    .array(fc.constantFrom('00', '01', '02', '03', '61', '80', 'ff', '8768', '20'), { maxLength: 60 })
    .map((all) => unhex(`61${all.join('')}`)),
  fc
    .record({
      frame: fc.constantFrom(...honest.questions, ...honest.answers),
      changes: fc.array(fc.tuple(fc.nat(60_000), fc.nat(2), fc.uint8Array({ maxLength: 40 })), { maxLength: 6 }),
    })
    .map(({ frame, changes }) => {
      const bytes = [...frame];
      for (const [place, fewer, more] of changes)
        bytes.splice(place % (bytes.length + 1), fewer * more.length, ...more);
      return Uint8Array.from(bytes);
    }),
);

describe('a hostile frame', () => {
  it('is refused as such or answered within the frame, whatever its bytes are', () => {
    fc.assert(
      fc.property(rubbish, fc.integer({ min: 256, max: 3_000 }), (frame, frameBytes) => {
        const answered = taken(() => answer(held, frame, { frameBytes }));
        expect(answered?.length ?? 1).toBeLessThanOrEqual(frameBytes);
        if (answered) taken(() => answer(ours, answered, { frameBytes })); // what is answered is itself well formed
      }),
      { numRuns: 2_000 },
    );
  });

  it('does who asks no harm either: it names each of its own ids once at most, and keeps to its frame', () => {
    fc.assert(
      fc.property(
        fc.array(rubbish, { minLength: 1, maxLength: 12 }),
        fc.integer({ min: 256, max: 3_000 }),
        (frames, frameBytes) => {
          const asker = new Initiator(ours, { frameBytes });
          asker.first();
          const have: string[] = [];
          for (const frame of frames) {
            const step = taken(() => asker.next(frame));
            if (!step) return;
            have.push(...step.have.map(hex));
            expect(step.need.length).toBeLessThanOrEqual(frame.length / 32);
            expect(step.message?.length ?? 1).toBeLessThanOrEqual(frameBytes);
          }
          expect(new Set(have).size).toBe(have.length);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  const fingerprint = '00'.repeat(16);
  const [early, number] = ['The message ends too early', 'A number is beyond 2^53'];
  it.each([
    ['no bytes', '', early],
    ['a first byte that is no version', '5f', 'The first byte is no version of the protocol'],
    ['a message that ends in a number', '6187', early],
    ['a message that ends in a bound', '610102ff', early],
    ['a message that ends after a bound', '610100', early],
    ['a message that ends in a fingerprint', `61000001${'00'.repeat(15)}`, early],
    ['a message that ends in a list', `6100000202${'00'.repeat(63)}`, early],
    ['a list of 2^49 ids', `61000002ffffffffffff7f${'00'.repeat(64)}`, early],
    ['a range of unknown mode', '61000003', 'A range of unknown mode'],
    ['a range that ends before it begins', '610101200001011000', 'A range ends before it begins'],
    ['an id of 33 bytes in a bound', `610121${'01'.repeat(33)}00`, 'The id of a bound is longer than 32 bytes'],
    ['bytes after the last range', `61000001${fingerprint}00`, 'More bytes after the last range'],
    ['a range after infinity', `61000001${fingerprint}010000`, 'More bytes after the last range'],
    ['a number that begins with a zero', '6180010000', 'A number begins with a zero'],
    ['a number of nine digits', '618180808080808080010000', number],
    ['a number beyond 2^53', '61a0808080808080000000', number],
    ['a timestamp beyond 2^53', '618fffffffffffff7f0000840000', 'A timestamp is too late'],
  ])('is refused: %s', (_, frame, reason) => {
    expect(() => answer(held, unhex(frame))).toThrow(new BadFrame(reason));
    const asker = new Initiator(ours);
    asker.first();
    expect(() => asker.next(unhex(frame))).toThrow(new BadFrame(reason));
  });

  it('is refused when it is longer than what is read', () => {
    const long = new Uint8Array(65_537);
    long[0] = 0x61;
    expect(() => answer(held, long)).toThrow('65537 bytes');
    expect(() => answer(held, long, { frameBytes: 70_000 })).not.toThrow('65537 bytes');
  });

  it('of another version is answered with ours, and refused by who asks', () => {
    expect(answer(held, unhex('62000000'))).toEqual(Uint8Array.of(0x61));
    const asker = new Initiator(ours);
    asker.first();
    expect(() => asker.next(unhex('62'))).toThrow(BadFrame);
  });

  it('may not list ids over several ranges that were asked about', () => {
    const asker = new Initiator(ours);
    asker.first();
    expect(() => asker.next(unhex('6100000200'))).toThrow(BadFrame);
  });
});

describe('a hostile side that answers', () => {
  it('is given up when it always claims to differ and never says in what', () => {
    const asker = new Initiator(ours);
    asker.first();
    const claim = unhex(`61000001${'01'.repeat(16)}`);
    const answers = untilGivenUp(() => asker.next(claim).message, 'The answers lead nowhere');
    expect(answers).toBeLessThan(1_100);
  });

  it('is given up when it leaves ever more ranges open', () => {
    const asker = new Initiator(ItemSet.of([]));
    asker.first();
    const answers = untilGivenUp((round) => asker.next(manyRanges(round)).message, 'ranges differ at once');
    expect(answers).toBeLessThan(100);
  });
});

/** How often it is answered before it throws BadFrame with this reason. */
function untilGivenUp(answerIt: (round: number) => Uint8Array | undefined, reason: string): number {
  for (let round = 0; round < 5_000; round++) {
    try {
      if (!answerIt(round)) throw new Error('it is content');
    } catch (error) {
      if (error instanceof BadFrame && error.message.includes(reason)) return round;
      throw error;
    }
  }
  return Number.POSITIVE_INFINITY;
}

/** Fingerprints of a first wide range, then of 3,000 of a millisecond each before those of the last round, then of the rest. */
function manyRanges(round: number): Uint8Array {
  const bytes = new Uint8Array(65_536);
  bytes[0] = 0x61;
  let end = 1;
  const range = (encodedTimestamp: number) => {
    end = writeVarint(bytes, end, encodedTimestamp);
    bytes.set([0, 1, ...Array.from({ length: 16 }, () => 1)], end);
    end += 18;
  };
  range(1e9 - 5_000 * round);
  for (let tiny = 0; tiny < 3_000; tiny++) range(2);
  range(0);
  return bytes.slice(0, end);
}
