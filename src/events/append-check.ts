/** What any backend refuses before it writes: appends that no stream could hold. These are defects of the caller. */
import type { Append } from './log.ts';
import { streamClass } from './stream-class.ts';

/**
 * Throws a `TypeError` for an append without events, a stream name that is empty or not storable on every backend
 * (U+0000, lone surrogates), an `expected` that is no revision, or one other than `any` on a transient stream.
 */
export function checkAppend({ stream, expected, events }: Append): void {
  if (events.length === 0) throw new TypeError(`an append to ${stream} has no events`);
  if (stream === '' || unstorable.test(stream)) {
    throw new TypeError(`${JSON.stringify(stream)} cannot name a stream`);
  }
  if (typeof expected === 'number' && !(Number.isSafeInteger(expected) && expected >= 0)) {
    throw new TypeError(`${expected} is no revision`);
  }
  if (expected !== 'any' && streamClass(stream) === 'transient') {
    throw new TypeError(`${stream} is transient: it takes only 'any', not ${JSON.stringify(expected)}`);
  }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: U+0000 is what PostgreSQL cannot hold
const unstorable = /\u0000|\p{Surrogate}/u;
