import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Bound } from '../../src/negentropy/bound.ts';
import { readMessage } from '../../src/negentropy/read.ts';
import { answer, Initiator, ItemSet } from '../../src/negentropy.ts';
import { hex, item, unhex } from './sets.ts';

/** Frames that two other programs made for two stated sets: `about` in the file says which. */
interface Recorded {
  readonly divided: string;
  readonly frames: readonly { readonly question: string; readonly answer: string }[];
  readonly have: readonly string[];
  readonly need: readonly string[];
}
const recorded = JSON.parse(readFileSync(new URL('./fixtures.json', import.meta.url), 'utf8')) as Recorded; // as it was written

const items = Array.from({ length: 700 }, (_, number) => item(number, 1_700_000_000 + 60 * Math.floor(number / 3)));
const asking = ItemSet.of(items.filter((_, number) => number % 97 !== 5));
const answering = ItemSet.of(items.filter((_, number) => number % 89 !== 7 && number < 690));
/** How those programs divide ranges. */
const asTheyDo = { branch: 16, listBelow: 32 };

/** What a frame says. One of the programs fills the ids of bounds up with zeros, which means the same. */
function said(frame: Uint8Array): unknown {
  const ranges = readMessage(frame, 65_536);
  if (ranges === 'other_version') throw new Error('another version');
  const bound = ({ timestamp, id }: Bound) => `${timestamp} ${hex(id).replace(/(00)+$/, '')}`;
  return ranges.map((range) => ({
    upper: bound(range.upper),
    ...(range.mode === 'ids' && { ids: hex(range.ids) }),
    ...(range.mode === 'fingerprint' && { fingerprint: hex(range.fingerprint) }),
  }));
}

describe('Negentropy v1, as other programs speak it', () => {
  it('is answered as they answer', () => {
    for (const { question, answer: theirs } of recorded.frames) {
      expect(said(answer(answering, unhex(question), asTheyDo))).toEqual(said(unhex(theirs)));
    }
    expect(hex(answer(answering, unhex(recorded.frames[0]!.question), asTheyDo))).toBe(recorded.divided);
  });

  it('is asked as they ask, and leads to the same differences', () => {
    const asker = new Initiator(asking, asTheyDo);
    let question: Uint8Array | undefined = asker.first();
    expect(hex(question)).toBe(recorded.frames[0]!.question);
    const [have, need]: [string[], string[]] = [[], []];
    for (const frame of recorded.frames) {
      expect(question && said(question)).toEqual(said(unhex(frame.question)));
      const step = asker.next(unhex(frame.answer));
      have.push(...step.have.map(hex));
      need.push(...step.need.map(hex));
      question = step.message;
    }
    expect(question).toBeUndefined();
    expect([have.sort(), need.sort()]).toEqual([recorded.have, recorded.need]);
  });

  it('is understood with ranges divided in our own way too', () => {
    const asker = new Initiator(asking);
    const [have, need]: [string[], string[]] = [[], []];
    for (let question: Uint8Array | undefined = asker.first(); question; ) {
      const step = asker.next(answer(answering, question, asTheyDo));
      have.push(...step.have.map(hex));
      need.push(...step.need.map(hex));
      question = step.message;
    }
    expect([have.sort(), need.sort()]).toEqual([recorded.have, recorded.need]);
  });
});
