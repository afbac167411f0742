/** One memory: stored, brought by a sync, deleted. Each is a version that says which it knew of; those that did not know of each other stay. */
import { type Refusal, refuse } from '../errors.ts';
import type { DomainEvent, EventData } from '../events/catalog.ts';
import type { Foreign } from '../events/memory.ts';
import type { Sealed } from '../events/sealed.ts';
import { clockMs, mostAheadMs, nextClock, replaces, type Stated, versionId } from '../knowledge.ts';
import type { Aggregate, Decide, Decision } from './execute.ts';

export const memoryStream = (memoryId: string): string => `memory-${memoryId}`;

/** Versions that are concurrent, authors of one memory, and replaced versions that one may still write from, at most. */
const mostHeads = 16;
const mostAuthors = 64;
const mostFormer = 64;

/** A version, as far as it is decided on. */
export interface Version {
  readonly version: string;
  readonly clock: string;
  readonly author: string;
  readonly category: string;
  readonly tags: readonly string[];
  readonly seen: Readonly<Record<string, string>>;
  readonly deleted: boolean;
  readonly foreign?: Foreign;
}

export interface Known {
  readonly there: true;
  readonly owner: string;
  /** Those that none replaces, the highest clock first. Never empty. */
  readonly heads: readonly Version[];
  /** Those that were replaced, the last one last; the last few. */
  readonly former: readonly Version[];
  /** The newest clock of each author, written or known of: what is not newer is there, or was replaced. */
  readonly clocks: Readonly<Record<string, string>>;
}
export type MemoryState = { readonly there: false } | Known;

export const memory: Aggregate<MemoryState> = {
  initial: { there: false },
  evolve(state, event) {
    if (event.type === 'memory.let-go') return { there: false };
    if (event.type !== 'memory.stored' && event.type !== 'memory.deleted') return state;
    const { version, clock, author, category, tags, seen, owner, foreign } = event.data;
    const deleted = event.type === 'memory.deleted';
    const head: Version = { version, clock, author, category, tags, seen, deleted, ...(foreign && { foreign }) };
    const before = state.there ? state : { owner, heads: [], former: [], clocks: {} };
    const over = before.heads.filter((other) => replaces(head, other));
    const heads = [...before.heads.filter((other) => !over.includes(other)), head];
    return {
      there: true,
      owner: before.owner,
      heads: heads.sort((a, b) => (a.clock < b.clock ? 1 : -1)),
      former: [...before.former, ...over].slice(-mostFormer),
      clocks: newest([before.clocks, seen, { [author]: clock }]),
    };
  },
};

/** What someone may do with a version: it is its own; it may write on it; it may know of it; nothing. */
export type Standing = 'own' | 'edit' | 'show' | undefined;

/** Who writes. */
export interface Writer {
  /** `node:<id>`, `operator:<prefix>` or `hub`. */
  readonly actor: string;
  /** It may delete what is not its own. */
  readonly governs: boolean;
  /** By the rules as they are now. */
  may(owner: string, version: Version): Standing;
}

/** What a version says, sealed. */
export interface SealedContent {
  readonly content: Sealed;
  readonly content_hash: string;
  readonly bytes: number;
}

export interface NewVersion extends SealedContent {
  readonly memoryId: string;
  readonly category: string;
  readonly tags: readonly string[];
  readonly basedOn: string | undefined;
  /** Only when it is there. */
  readonly change: boolean;
  readonly by: Writer;
  /** Why there is no room for one more memory. Decided on here: a command that was done before is answered as it was, room or not. */
  readonly full: Refusal | undefined;
}

export interface Written {
  readonly memory_id: string;
  readonly version: string;
  readonly clock: string;
}

/**
 * Writes a version that replaces what its author may write on and knew of: the versions that are shown, or only `basedOn` and what that
 * had replaced. Whoever is not the owner leaves category and tags as they are: they say who may have it. Refuses `not_found`,
 * `sovereignty_refused`, `conflict` when `basedOn` is not among the last versions, `limit_reached`.
 */
export const store: Decide<MemoryState, NewVersion, Written> = (state, command, { now }) => {
  const { memoryId, category, tags, by, content, content_hash, bytes } = command;
  const bases = basesOf(state, command);
  if (!Array.isArray(bases)) return bases;
  const owner = state.there ? state.owner : by.actor;
  const clocks = state.there ? state.clocks : {};
  const own = clocks[by.actor];
  const seen = newest([
    ...bases.map(({ seen }) => seen),
    ...bases.map(({ author, clock }) => ({ [author]: clock })),
    own === undefined ? {} : { [by.actor]: own },
  ]);
  const clock = nextClock(now, Object.values(clocks), by.actor);
  const said = { memory_id: memoryId, clock, owner, author: by.actor, category, tags: [...tags], seen };
  const version = versionId({ ...said, deleted: false, content_hash });
  const refused = tooMany(state, { author: by.actor, clock, seen });
  if (refused) return refused;
  return {
    events: [{ type: 'memory.stored', data: { ...said, version, content, content_hash, bytes } }],
    reply: { memory_id: memoryId, version, clock },
  };
};

/** What a new version is written from; none for a new memory. */
function basesOf(state: MemoryState, command: NewVersion): Version[] | Refusal {
  const { memoryId, by, basedOn, category, tags } = command;
  if (!state.there) {
    if (command.change || basedOn !== undefined) return unknown(memoryId);
    return command.full ?? [];
  }
  if (command.change && state.heads.every(({ deleted }) => deleted)) return unknown(memoryId);
  const may = (version: Version) => by.may(state.owner, version);
  const writable = state.heads.filter((head) => isWritable(may(head)));
  if (writable.length === 0) return barred(state, memoryId, by);
  let bases = writable;
  if (basedOn !== undefined) {
    const base = [...state.heads, ...state.former].find(({ version }) => version === basedOn);
    if (!base || !isWritable(may(base))) return refuse('conflict', `${basedOn} is none of the last versions`);
    bases = [base];
  }
  const kept = bases.some((base) => may(base) === 'own' || sameLabels(base, { category, tags }));
  return kept ? bases : refuse('sovereignty_refused', 'only the owner changes category and tags');
}

/** A version as a sync brings it, with the id that it got where it was written. */
export interface Brought {
  /** Everything it says; `content_hash` of its content as it came, null for a tombstone. */
  readonly stated: Stated;
  readonly version: string;
  readonly foreign: Foreign | undefined;
  /** Absent in a tombstone. */
  readonly sealed: SealedContent | undefined;
  readonly by: Writer;
  readonly full: Refusal | undefined;
}

/**
 * Takes a version with its own id and clock. `taken` is false when it was there, or replaced already. A node brings what it wrote itself;
 * what is foreign, from its own federation or on the way from another. Refuses `version_invalid`, `clock_ahead`, `not_found`,
 * `sovereignty_refused`, `limit_reached`.
 */
export const take: Decide<MemoryState, Brought, { taken: boolean }> = (state, command, { now }) => {
  const { stated, version, foreign, sealed, by } = command;
  const { memory_id, clock, owner, author, category, tags, seen, deleted } = stated;
  const refused = malformed(command, now) ?? notTheirs(state, command);
  if (refused) return refused;
  // One author may have written in two places, here and in a store of its own: only what a version says it has seen is replaced.
  const isKnown = (head: Version) => head.version === version || replaces(head, { author, clock });
  if (state.there && state.heads.some(isKnown)) return { events: [], reply: { taken: false } };
  const beyond = tooMany(state, { author, clock, seen }) ?? (state.there || deleted ? undefined : command.full);
  if (beyond) return beyond;
  const said = { memory_id, version, clock, owner, author, category, tags, seen, ...(foreign && { foreign }) };
  if (deleted) return brought({ type: 'memory.deleted', data: said });
  if (!sealed) return refuse('version_invalid', `the version of ${memory_id} by ${by.actor} has no content`);
  return brought({ type: 'memory.stored', data: { ...said, ...sealed } });
};

/** Says that a memory is no more: by the owner, or who governs. Refuses `not_found`, `sovereignty_refused`. */
export const remove: Decide<MemoryState, { memoryId: string; by: Writer }, Written> = (
  state,
  { memoryId, by },
  { now },
) => {
  if (!state.there || state.heads.every(({ deleted }) => deleted)) return unknown(memoryId);
  const own = state.heads.some((head) => by.may(state.owner, head) === 'own');
  if (!own && !by.governs) return barred(state, memoryId, by);
  const { owner, heads, clocks } = state;
  const { category, tags, foreign } = heads[0]!; // never empty
  const clock = nextClock(now, Object.values(clocks), by.actor);
  const stated = { memory_id: memoryId, clock, owner, author: by.actor, category, tags: [...tags], seen: clocks };
  const version = versionId({ ...stated, deleted: true, content_hash: null });
  const refused = tooMany(state, { author: by.actor, clock, seen: clocks });
  if (refused) return refused;
  // That it was deleted here is nothing that the federation it is from has said.
  const from = foreign && { foreign: { ...foreign, pass_on: false } };
  return {
    events: [{ type: 'memory.deleted', data: { ...stated, version, ...from } }],
    reply: { memory_id: memoryId, version, clock },
  };
};

export interface LetGo {
  readonly memoryId: string;
  readonly cause: EventData<'memory.let-go'>['cause'];
  /** Whether it is to go, by the versions that none replaces. */
  readonly when: (heads: readonly Version[]) => boolean;
}

/** Keeps what came from another federation no more; nothing for what did not. `gone` is false when it stays. */
export const letGo: Decide<MemoryState, LetGo, { gone: boolean }> = (state, { memoryId, cause, when }) => {
  const goes = state.there && isForeign(state.owner) && when(state.heads);
  if (!goes) return { events: [], reply: { gone: false } };
  const { clock } = state.heads[0]!; // never empty
  return { events: [{ type: 'memory.let-go', data: { memory_id: memoryId, clock, cause } }], reply: { gone: true } };
};

/** A memory, or an owner, of another federation has that behind an '@'. */
export function isForeign(name: string): boolean {
  return name.includes('@');
}

/** Whether it says what its id says, and its clocks may be. */
function malformed({ stated, version }: Brought, now: number): Refusal | undefined {
  const { clock, author, seen } = stated;
  if (versionId(stated) !== version) return refuse('version_invalid', 'the id is not that of what the version says');
  if (clock.slice(23) !== author) return refuse('version_invalid', 'the clock is not its author’s');
  if (Object.values(seen).some((known) => known.slice(0, 22) >= clock.slice(0, 22)))
    return refuse('version_invalid', 'it knows of what is not earlier than itself');
  return clockMs(clock) > now + mostAheadMs
    ? refuse('clock_ahead', `the clock is more than ${mostAheadMs / 1_000} s in the future`)
    : undefined;
}

/** Why this one may not bring this version. */
function notTheirs(state: MemoryState, { stated, foreign, by }: Brought): Refusal | undefined {
  const { memory_id, owner, author, deleted } = stated;
  if (state.there && state.owner !== owner) return barred(state, memory_id, by);
  if (foreign) return undefined; // what it may be called was looked at where it came in
  if (author !== by.actor) return refuse('sovereignty_refused', 'a node brings versions that it wrote itself');
  if (!state.there) {
    return owner === by.actor ? undefined : refuse('sovereignty_refused', 'a new memory belongs to who brings it');
  }
  const replaced = state.heads.filter((head) => replaces(stated, head));
  const standings = replaced.map((head) => by.may(state.owner, head));
  const own = state.heads.some((head) => by.may(state.owner, head) === 'own');
  if (own) return undefined;
  const base = replaced.length > 0 ? replaced : state.former.filter((former) => replaces(stated, former)).slice(-1);
  const mayWrite = (version: Version) => isWritable(by.may(state.owner, version));
  // Nor does it bring back what the owner took out of its reach since.
  const writable = standings.every(isWritable) && base.some(mayWrite) && state.heads.some(mayWrite);
  if (!writable) return barred(state, memory_id, by);
  if (deleted) return refuse('sovereignty_refused', 'only the owner deletes');
  return base.some((head) => sameLabels(head, stated))
    ? undefined
    : refuse('sovereignty_refused', 'only the owner changes category and tags');
}

function barred(state: Known, memoryId: string, { may }: Writer): Refusal {
  return state.heads.some((head) => may(state.owner, head) !== undefined)
    ? refuse('sovereignty_refused', `${memoryId} is another’s, and no rule of theirs lets you change it`)
    : unknown(memoryId);
}

function tooMany(state: MemoryState, next: Pick<Version, 'author' | 'clock' | 'seen'>): Refusal | undefined {
  if (!state.there) return undefined;
  const concurrent = state.heads.filter((head) => !replaces(next, head)).length;
  if (concurrent >= mostHeads) return refuse('limit_reached', `${mostHeads} versions are concurrent already`);
  const authors = new Set([...Object.keys(state.clocks), ...Object.keys(next.seen), next.author]).size;
  return authors > mostAuthors ? refuse('limit_reached', `a memory has ${mostAuthors} authors at most`) : undefined;
}

function brought(event: DomainEvent): Decision<{ taken: boolean }> {
  return { events: [event], reply: { taken: true } };
}

function isWritable(standing: Standing): boolean {
  return standing === 'own' || standing === 'edit';
}

function sameLabels(a: Pick<Version, 'category' | 'tags'>, b: Pick<Version, 'category' | 'tags'>): boolean {
  return a.category === b.category && a.tags.length === b.tags.length && a.tags.every((tag) => b.tags.includes(tag));
}

/** The newest clock of each author in any of them. */
function newest(all: readonly Readonly<Record<string, string>>[]): Record<string, string> {
  const merged: Record<string, string> = {};
  for (const clocks of all) {
    for (const [author, clock] of Object.entries(clocks)) {
      if (!(Object.hasOwn(merged, author) && merged[author]! >= clock)) merged[author] = clock;
    }
  }
  return merged;
}

function unknown(memoryId: string): Refusal {
  return refuse('not_found', `there is no memory ${memoryId}`);
}
