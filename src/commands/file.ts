/** What one owner keeps at the hub: begun within the quota, stored when the bytes are what was promised, gone when its time is over. */
import { type Refusal, refuse } from '../errors.ts';
import type { DomainEvent, EventData } from '../events/catalog.ts';
import type { FileFacts } from '../events/file.ts';
import type { Aggregate, Decide, Happened } from './execute.ts';

/** `since`: where a node registered, so that whoever takes its name later begins with an empty shelf; undefined for an operator. */
export const shelfStream = (owner: string, since: number | undefined): string =>
  since === undefined ? `files-${owner}` : `files-${owner}-${since}`;

/** Uploads of one owner that are under way at most, and its files in all. */
export const mostOpen = 64;
export const mostFiles = 10_000;

/** A file whose bytes may still come. */
export interface OpenFile {
  readonly status: 'open';
  readonly facts: FileFacts;
  /** What the bytes must give; undefined: anything. */
  readonly expected: string | undefined;
  /** ISO 8601. */
  readonly begunAt: string;
  readonly uploadUntil: string;
}

/** A file that is all there. */
export interface StoredFile {
  readonly status: 'stored';
  readonly facts: FileFacts;
  readonly sha256: string;
  readonly begunAt: string;
}

export type KeptFile = OpenFile | StoredFile;

export interface Shelf {
  /** By the last two letters of their ids, so that a change copies a few of them. */
  readonly drawers: Readonly<Record<string, ReadonlyMap<string, KeptFile>>>;
  readonly files: number;
  readonly open: number;
  /** Of all of them, whether they are there yet or not. */
  readonly bytes: number;
}

export const shelf: Aggregate<Shelf> = {
  initial: { drawers: {}, files: 0, open: 0, bytes: 0 },
  evolve(state, event) {
    switch (event.type) {
      case 'file.begun':
        return put(state, begun(event));
      case 'file.stored': {
        const { sha256, ...facts } = event.data;
        const begunAt = fileOn(state, facts.file_id)?.begunAt ?? event.time;
        return put(state, { status: 'stored', facts, sha256, begunAt });
      }
      case 'file.refused':
      case 'file.abandoned':
      case 'file.expired':
      case 'file.removed':
        return take(state, event.data.file_id);
      default:
        return state;
    }
  },
};

export function fileOn(state: Shelf, fileId: string): KeptFile | undefined {
  return state.drawers[drawerOf(fileId)]?.get(fileId);
}

export interface Beginning {
  readonly facts: FileFacts;
  readonly expected: string | undefined;
  readonly uploadUntil: string;
  /** Bytes that the owner may have here in all. */
  readonly quota: number;
}

/** Reserves room for a file. Refuses `quota_exceeded` and `limit_reached`. */
export const begin: Decide<Shelf, Beginning, { file_id: string }> = (state, command) => {
  const { facts, expected, uploadUntil, quota } = command;
  const { file_id } = facts;
  if (fileOn(state, file_id)) return { events: [], reply: { file_id } };
  if (state.open >= mostOpen) return refuse('limit_reached', `${mostOpen} uploads of this owner are not finished`);
  if (state.files >= mostFiles) return refuse('limit_reached', `this owner keeps ${mostFiles} files here`);
  if (state.bytes + facts.size > quota)
    return refuse('quota_exceeded', `of ${quota} bytes that this owner may keep here, ${state.bytes} are taken`);
  const data = { ...facts, ...(expected !== undefined && { sha256: expected }), upload_until: uploadUntil };
  return { events: [{ type: 'file.begun', data }], reply: { file_id } };
};

/** What became of bytes that are all there. */
export interface Finished {
  /** Why they were refused; undefined: they are kept. */
  readonly refused: Refusal | undefined;
}

/** All bytes came, and gave this hash. Refuses `not_found`, and in its reply `hash_mismatch`: the file is gone then. */
export const finish: Decide<Shelf, { fileId: string; sha256: string }, Finished> = (state, { fileId, sha256 }) => {
  const file = fileOn(state, fileId);
  if (!file) return unknown(fileId);
  if (file.status === 'stored') return { events: [], reply: { refused: undefined } };
  const { facts, expected } = file;
  if (expected === undefined || expected === sha256)
    return { events: [{ type: 'file.stored', data: { ...facts, sha256 } }], reply: { refused: undefined } };
  const reason = `the bytes give ${sha256}, not ${expected}`;
  return { events: [refusal(facts, 'hash_mismatch', reason)], reply: { refused: refuse('hash_mismatch', reason) } };
};

/** What comes cannot be kept, and goes. Twice is harmless. */
export const refuseFile: Decide<Shelf, { fileId: string; code: string; reason: string }, undefined> = (
  state,
  { fileId, code, reason },
) => {
  const file = fileOn(state, fileId);
  const events = file?.status === 'open' ? [refusal(file.facts, code, reason)] : [];
  return { events, reply: undefined };
};

export interface Removal {
  readonly fileId: string;
  readonly cause: EventData<'file.removed'>['cause'];
}

/** Takes a file away, or gives up its upload; answers the hash of what was there. Refuses `not_found`. */
export const remove: Decide<Shelf, Removal, { sha256: string | null }> = (state, { fileId: file_id, cause }) => {
  const file = fileOn(state, file_id);
  if (!file) return unknown(file_id);
  const { owner } = file.facts;
  if (file.status === 'stored') {
    const { sha256 } = file;
    return { events: [{ type: 'file.removed', data: { file_id, owner, sha256, cause } }], reply: { sha256 } };
  }
  if (cause === 'fetched') return { events: [], reply: { sha256: null } }; // what is not all there was not fetched
  return { events: [{ type: 'file.abandoned', data: { file_id, owner, cause } }], reply: { sha256: null } };
};

/** Ends what is over: the file, or the time for its bytes to come. Otherwise, and twice, it does nothing. */
export const expire: Decide<Shelf, { fileId: string }, { sha256: string | null }> = (
  state,
  { fileId: file_id },
  { now },
) => {
  const file = fileOn(state, file_id);
  if (!file) return { events: [], reply: { sha256: null } };
  const { owner, expires_at } = file.facts;
  const isOver = Date.parse(expires_at) <= now;
  if (file.status === 'stored') {
    const { sha256 } = file;
    const events: DomainEvent[] = isOver ? [{ type: 'file.expired', data: { file_id, owner, sha256 } }] : [];
    return { events, reply: { sha256: isOver ? sha256 : null } };
  }
  if (!isOver && Date.parse(file.uploadUntil) > now) return { events: [], reply: { sha256: null } };
  return {
    events: [{ type: 'file.abandoned', data: { file_id, owner, cause: 'lapsed' } }],
    reply: { sha256: null },
  };
};

/** Who had a file, by actor: part of it, or all. */
export type Fetches = ReadonlyMap<string, 'part' | 'whole'>;

export const fetchesStream = (fileId: string): string => `file-${fileId}`;

export const fetches: Aggregate<Fetches> = {
  initial: new Map(),
  evolve(state, event) {
    if (event.type !== 'file.fetched') return state;
    return new Map(state).set(event.data.by, event.data.whole ? 'whole' : 'part');
  },
};

/** Somebody had part of a file, or all; written down once each. */
export const fetched: Decide<Fetches, EventData<'file.fetched'>, undefined> = (state, data) => {
  const before = state.get(data.by);
  const isNew = before === undefined || (before === 'part' && data.whole);
  return { events: isNew ? [{ type: 'file.fetched', data }] : [], reply: undefined };
};

function begun({ data, time }: Extract<Happened, { type: 'file.begun' }>): OpenFile {
  const { sha256: expected, upload_until: uploadUntil, ...facts } = data;
  return { status: 'open', facts, expected, begunAt: time, uploadUntil };
}

function refusal({ file_id, owner }: FileFacts, code: string, reason: string): DomainEvent {
  return { type: 'file.refused', data: { file_id, owner, code, reason } };
}

function put(state: Shelf, file: KeptFile): Shelf {
  const rest = take(state, file.facts.file_id);
  const name = drawerOf(file.facts.file_id);
  const drawer = new Map(rest.drawers[name]).set(file.facts.file_id, file);
  return {
    drawers: { ...rest.drawers, [name]: drawer },
    files: rest.files + 1,
    open: rest.open + (file.status === 'open' ? 1 : 0),
    bytes: rest.bytes + file.facts.size,
  };
}

function take(state: Shelf, fileId: string): Shelf {
  const file = fileOn(state, fileId);
  if (!file) return state;
  const name = drawerOf(fileId);
  const drawer = new Map(state.drawers[name]);
  drawer.delete(fileId);
  return {
    drawers: { ...state.drawers, [name]: drawer },
    files: state.files - 1,
    open: state.open - (file.status === 'open' ? 1 : 0),
    bytes: state.bytes - file.facts.size,
  };
}

function drawerOf(fileId: string): string {
  return fileId.slice(-2);
}

function unknown(fileId: string): Refusal {
  return refuse('not_found', `there is no file ${fileId}`);
}
