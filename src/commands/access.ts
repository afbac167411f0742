/** The block list and the allow list. A subject is on one of them at most, and both together have a stated length. */
import { type Refusal, refuse } from '../errors.ts';
import type { DomainEvent } from '../events/catalog.ts';
import type { Aggregate, Decide } from './execute.ts';

export const accessStream = 'access';

/** Entries of both lists together, at most. */
export const mostEntries = 10_000;

type Entry =
  | { readonly list: 'block'; readonly reason: string }
  | { readonly list: 'allow'; readonly note: string | undefined };

/** Entries by subject, in buckets: an edit copies one of them, so that emptying lists of 10,000 is not quadratic. */
export interface AccessState {
  readonly size: number;
  readonly buckets: readonly ReadonlyMap<string, Entry>[];
}

const bucketCount = 128;
const none: ReadonlyMap<string, Entry> = new Map();

export const accessLists: Aggregate<AccessState> = {
  initial: { size: 0, buckets: Array.from({ length: bucketCount }, () => none) },
  evolve(state, event) {
    switch (event.type) {
      case 'access.blocked':
        return put(state, event.data.subject, { list: 'block', reason: event.data.reason });
      case 'access.allowed':
        return put(state, event.data.subject, { list: 'allow', note: event.data.note });
      case 'access.unblocked':
        return entryOf(state, event.data.subject)?.list === 'block' ? drop(state, event.data.subject) : state;
      case 'access.disallowed':
        return entryOf(state, event.data.subject)?.list === 'allow' ? drop(state, event.data.subject) : state;
      default:
        return state;
    }
  },
};

/** Whether this very subject is on the block list. */
export function isBlocked(state: AccessState, subject: string): boolean {
  return entryOf(state, subject)?.list === 'block';
}

export interface Blocking {
  readonly subject: string;
  readonly reason: string;
}

/** Blocks a subject and takes it off the allow list; again, it changes the reason. Refuses `limit_reached`. */
export const block: Decide<AccessState, Blocking, { changed: boolean }> = (state, { subject, reason }) => {
  const entry = entryOf(state, subject);
  if (entry?.list === 'block' && entry.reason === reason) return unchanged;
  if (!entry && state.size >= mostEntries) return full();
  const events: DomainEvent[] = entry?.list === 'allow' ? [{ type: 'access.disallowed', data: { subject } }] : [];
  return { events: [...events, { type: 'access.blocked', data: { subject, reason } }], reply: { changed: true } };
};

/** Takes a subject off the block list. Refuses `not_found` for one that is not on it. */
export const unblock: Decide<AccessState, { subject: string }, undefined> = (state, { subject }) =>
  entryOf(state, subject)?.list === 'block'
    ? { events: [{ type: 'access.unblocked', data: { subject } }], reply: undefined }
    : refuse('not_found', `${subject} is not on the block list`);

/** Puts a subject on the allow list and takes it off the block list; again, it changes the note. Refuses `limit_reached`. */
export const allow: Decide<AccessState, { subject: string; note: string | undefined }, { changed: boolean }> = (
  state,
  { subject, note },
) => {
  const entry = entryOf(state, subject);
  if (entry?.list === 'allow' && entry.note === note) return unchanged;
  if (!entry && state.size >= mostEntries) return full();
  const events: DomainEvent[] = entry?.list === 'block' ? [{ type: 'access.unblocked', data: { subject } }] : [];
  const data = { subject, ...(note !== undefined && { note }) };
  return { events: [...events, { type: 'access.allowed', data }], reply: { changed: true } };
};

/** Takes a subject off the allow list. Refuses `not_found` for one that is not on it. */
export const disallow: Decide<AccessState, { subject: string }, undefined> = (state, { subject }) =>
  entryOf(state, subject)?.list === 'allow'
    ? { events: [{ type: 'access.disallowed', data: { subject } }], reply: undefined }
    : refuse('not_found', `${subject} is not on the allow list`);

/** Empties both lists; answers how many entries went. */
export const reset: Decide<AccessState, Record<never, never>, { removed: number }> = (state) => {
  const events: DomainEvent[] = [];
  for (const bucket of state.buckets) {
    for (const [subject, { list }] of bucket) {
      events.push({ type: list === 'block' ? 'access.unblocked' : 'access.disallowed', data: { subject } });
    }
  }
  return { events, reply: { removed: events.length } };
};

const unchanged = { events: [], reply: { changed: false } };

function full(): Refusal {
  return refuse('limit_reached', `the lists hold ${mostEntries} entries together at most`);
}

function entryOf(state: AccessState, subject: string): Entry | undefined {
  return state.buckets[bucketOf(subject)]!.get(subject);
}

function put(state: AccessState, subject: string, entry: Entry): AccessState {
  const bucket = new Map(state.buckets[bucketOf(subject)]!).set(subject, entry);
  return withBucket(state, subject, bucket);
}

function drop(state: AccessState, subject: string): AccessState {
  const bucket = new Map(state.buckets[bucketOf(subject)]!);
  bucket.delete(subject);
  return withBucket(state, subject, bucket);
}

function withBucket(state: AccessState, subject: string, bucket: ReadonlyMap<string, Entry>): AccessState {
  const at = bucketOf(subject);
  return { size: state.size - state.buckets[at]!.size + bucket.size, buckets: state.buckets.with(at, bucket) };
}

/** FNV-1a over the text: subjects look alike at their beginnings. */
function bucketOf(subject: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < subject.length; at++) hash = Math.imul(hash ^ subject.charCodeAt(at), 0x01000193);
  return (hash >>> 0) % bucketCount;
}
