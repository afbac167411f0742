/** One sync of a node: begun, gone on with, paused, ended. What moved is counted by who serves it and written down now and then. */
import { isDeepStrictEqual } from 'node:util';
import { type Refusal, refuse } from '../errors.ts';
import type { EventData } from '../events/catalog.ts';
import type { SyncDirection, SyncProgress, SyncScope } from '../events/knowledge.ts';
import type { Aggregate, Decide } from './execute.ts';

export const syncStream = (syncId: string): string => `sync-${syncId}`;

export type SyncOutcome = EventData<'knowledge.sync-ended'>['outcome'];
export type PauseCause = EventData<'knowledge.sync-paused'>['cause'];

export interface KnownSync {
  readonly there: true;
  readonly nodeId: string;
  readonly direction: SyncDirection;
  readonly scope: SyncScope;
  /** Why it rests; undefined while it runs. */
  readonly paused: PauseCause | undefined;
  readonly ended: SyncOutcome | undefined;
  readonly cursor: number | undefined;
  readonly progress: SyncProgress;
  /** Counts how often it was begun or gone on with: a replica that lost the node must not pause what another goes on with. */
  readonly tenure: number;
}
export type SyncState = { readonly there: false } | KnownSync;

const noProgress: SyncProgress = { rounds: 0, pulled: 0, pushed: 0, refused: 0, bytes: 0 };

export const sync: Aggregate<SyncState> = {
  initial: { there: false },
  evolve(state, event) {
    if (event.type === 'knowledge.sync-started') {
      const { node_id: nodeId, direction, scope } = event.data;
      const begun = { paused: undefined, ended: undefined, cursor: undefined, progress: noProgress, tenure: 1 };
      return { there: true, nodeId, direction, scope, ...begun };
    }
    if (!state.there) return state;
    switch (event.type) {
      case 'knowledge.sync-progressed':
        return { ...state, progress: progressOf(event.data) };
      case 'knowledge.sync-paused':
        return { ...state, paused: event.data.cause };
      case 'knowledge.sync-resumed':
        return { ...state, paused: undefined, tenure: state.tenure + 1 };
      case 'knowledge.sync-ended': {
        const { outcome: ended, cursor } = event.data;
        return { ...state, paused: undefined, ended, cursor, progress: progressOf(event.data) };
      }
      default:
        return state;
    }
  },
};

export interface SyncStart {
  readonly syncId: string;
  readonly nodeId: string;
  readonly direction: SyncDirection;
  readonly scope: SyncScope;
}

/** A sync has a new id each time; begun again by the same command, it is the one that was begun. */
export const startSync: Decide<SyncState, SyncStart, { syncId: string }> = (
  state,
  { syncId, nodeId: node_id, direction, scope },
) => {
  const reply = { syncId };
  if (state.there) return { events: [], reply };
  const data = { sync_id: syncId, node_id, direction, scope };
  return { events: [{ type: 'knowledge.sync-started', data }], reply };
};

export interface OfSync {
  readonly syncId: string;
  /** The node that asks; undefined: the hub itself, or who governs. */
  readonly nodeId: string | undefined;
}

/** Goes on with it, wherever it stood. Refuses `not_found`, `sync_over`. */
export const resumeSync: Decide<SyncState, OfSync, KnownSync> = (state, { syncId, nodeId }) => {
  const known = open(state, syncId, nodeId);
  if ('refused' in known) return known;
  const { nodeId: node_id } = known;
  return {
    events: [{ type: 'knowledge.sync-resumed', data: { sync_id: syncId, node_id } }],
    reply: { ...known, paused: undefined, tenure: known.tenure + 1 },
  };
};

/** Says how far it is; the same again is not written. Refuses `not_found`, `sync_over`. */
export const progressSync: Decide<SyncState, OfSync & { progress: SyncProgress }, undefined> = (
  state,
  { syncId, nodeId, progress },
) => {
  const known = open(state, syncId, nodeId);
  if ('refused' in known) return known;
  if (isDeepStrictEqual(known.progress, progress)) return { events: [], reply: undefined };
  const data = { sync_id: syncId, node_id: known.nodeId, ...progress };
  return { events: [{ type: 'knowledge.sync-progressed', data }], reply: undefined };
};

export interface Pause extends OfSync {
  readonly cause: PauseCause;
  /** Only while it is this tenure; undefined: whichever. */
  readonly tenure?: number;
}

/** Lets it rest. Who asked for it counts above a node that went. Refuses `not_found`, `sync_over`. */
export const pauseSync: Decide<SyncState, Pause, undefined> = (state, { syncId, nodeId, cause, tenure }) => {
  const known = open(state, syncId, nodeId);
  if ('refused' in known) return known;
  const later = tenure !== undefined && tenure !== known.tenure;
  if (later || known.paused === 'asked' || known.paused === cause) return { events: [], reply: undefined };
  return {
    events: [{ type: 'knowledge.sync-paused', data: { sync_id: syncId, node_id: known.nodeId, cause } }],
    reply: undefined,
  };
};

export interface SyncEnd extends OfSync {
  readonly outcome: SyncOutcome;
  readonly error?: string | undefined;
  /** Where an incremental sync after this one begins. */
  readonly cursor: number | undefined;
  /** Undefined: what was written last. */
  readonly progress: SyncProgress | undefined;
}

/** Ends it; the same end again changes nothing. Refuses `not_found`, `sync_over`. */
export const endSync: Decide<SyncState, SyncEnd, { cursor: number | undefined }> = (
  state,
  { syncId, nodeId, outcome, error, cursor, progress },
) => {
  const same = state.there && state.ended === outcome && (nodeId === undefined || state.nodeId === nodeId);
  if (same) return { events: [], reply: { cursor: state.cursor } };
  const known = open(state, syncId, nodeId);
  if ('refused' in known) return known;
  const data = {
    sync_id: syncId,
    node_id: known.nodeId,
    ...(progress ?? known.progress),
    outcome,
    ...(error !== undefined && { error }),
    ...(cursor !== undefined && { cursor }),
  };
  return { events: [{ type: 'knowledge.sync-ended', data }], reply: { cursor } };
};

/** Of another node's sync it is not told that there is one. */
function open(state: SyncState, syncId: string, nodeId: string | undefined): KnownSync | Refusal {
  if (!state.there || (nodeId !== undefined && state.nodeId !== nodeId))
    return refuse('not_found', `there is no sync ${syncId}`);
  return state.ended ? refuse('sync_over', `the sync is ${state.ended}`) : state;
}

function progressOf({ rounds, pulled, pushed, refused, bytes }: SyncProgress): SyncProgress {
  return { rounds, pulled, pushed, refused, bytes };
}
