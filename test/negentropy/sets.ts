/** Sets of items for tests, and both sides of a reconciliation in one process. */
import { createHash } from 'node:crypto';
import { answer, Initiator, type Item, ItemSet, type Limits } from '../../src/negentropy.ts';

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
export const unhex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'));

/** An item whose id is the hash of its number. */
export const item = (number: number, timestamp: number): Item => ({
  timestamp,
  id: new Uint8Array(createHash('sha256').update(`item ${number}`).digest()),
});

export interface Course {
  readonly have: string[];
  readonly need: string[];
  readonly rounds: number;
  readonly bytes: number;
  readonly questions: readonly Uint8Array[];
  readonly answers: readonly Uint8Array[];
}

/** Reconciles two sets to the end. `theirs` is asked for anew for each answer, as a hub may have learned more meanwhile. */
export function reconcile(
  mine: Iterable<Item>,
  theirs: (round: number) => ItemSet,
  limits: { readonly asks?: Limits; readonly answers?: Limits } = {},
): Course {
  const asker = new Initiator(ItemSet.of(mine), limits.asks);
  const [have, need]: [string[], string[]] = [[], []];
  const [questions, answers]: [Uint8Array[], Uint8Array[]] = [[], []];
  let question: Uint8Array | undefined = asker.first();
  while (question) {
    if (questions.length === 100_000) throw new Error('no end of questions');
    const answered = answer(theirs(questions.length), question, limits.answers);
    questions.push(question);
    answers.push(answered);
    const received = answered.slice();
    const step = asker.next(received);
    received.fill(0); // a socket may use its buffer again
    have.push(...step.have.map(hex));
    need.push(...step.need.map(hex));
    question = step.message;
  }
  const bytes = [...questions, ...answers].reduce((sum, { length }) => sum + length, 0);
  return { have: have.sort(), need: need.sort(), rounds: questions.length, bytes, questions, answers };
}

/** The ids, as hex in order, that the first holds and the second does not. */
export function lacking(held: readonly Item[], by: readonly Item[]): string[] {
  const known = new Set(by.map(({ id }) => hex(id)));
  return [...new Set(held.map(({ id }) => hex(id)))].filter((id) => !known.has(id)).sort();
}
