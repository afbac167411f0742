/** Which syncs are there, how far are they, and what came of them? */
import type { Kysely } from 'kysely';
import type { SyncDirection, SyncProgress, SyncScope } from '../events/knowledge.ts';
import type { ViewTables } from './catalog.ts';
import { projection } from './define.ts';

export interface SyncRow extends SyncProgress {
  sync_id: string;
  node_id: string;
  direction: SyncDirection;
  scope: SyncScope;
  status: 'running' | 'paused' | 'completed' | 'failed' | 'cancelled';
  error: string | null;
  /** Where the next incremental sync of this node begins. */
  sync_cursor: number | null;
  started_at: string;
  started_position: number;
  updated_at: string;
  ended_at: string | null;
}

export const syncs = projection<SyncRow>({
  table: {
    name: 'federation_syncs',
    key: 'sync_id',
    columns: {
      sync_id: 'text',
      node_id: 'text',
      direction: 'text',
      scope: 'json',
      status: 'text',
      rounds: 'integer',
      pulled: 'integer',
      pushed: 'integer',
      refused: 'integer',
      bytes: 'integer',
      error: { type: 'text', nullable: true },
      sync_cursor: { type: 'integer', nullable: true },
      started_at: 'text',
      started_position: 'integer',
      updated_at: 'text',
      ended_at: { type: 'text', nullable: true },
    },
    indexes: [['node_id', 'started_position'], ['started_position'], ['status']],
  },
  version: 1,
  on: {
    'knowledge.sync-started': {
      key: ({ data }) => data.sync_id,
      fold: (_row, { data, time, position }) => ({
        ...data,
        status: 'running',
        rounds: 0,
        pulled: 0,
        pushed: 0,
        refused: 0,
        bytes: 0,
        error: null,
        sync_cursor: null,
        started_at: time,
        started_position: position,
        updated_at: time,
        ended_at: null,
      }),
    },
    'knowledge.sync-progressed': {
      key: ({ data }) => data.sync_id,
      fold: (row, { data: { rounds, pulled, pushed, refused, bytes }, time }) =>
        row && { ...row, rounds, pulled, pushed, refused, bytes, updated_at: time },
    },
    'knowledge.sync-paused': {
      key: ({ data }) => data.sync_id,
      fold: (row, { time }) => row && { ...row, status: 'paused', updated_at: time },
    },
    'knowledge.sync-resumed': {
      key: ({ data }) => data.sync_id,
      fold: (row, { time }) => row && { ...row, status: 'running', updated_at: time },
    },
    'knowledge.sync-ended': {
      key: ({ data }) => data.sync_id,
      fold: (row, { data: { rounds, pulled, pushed, refused, bytes, outcome, error, cursor }, time }) =>
        row && {
          ...row,
          rounds,
          pulled,
          pushed,
          refused,
          bytes,
          status: outcome,
          error: error ?? null,
          sync_cursor: cursor ?? null,
          updated_at: time,
          ended_at: time,
        },
    },
  },
});

export function findSync(db: Kysely<ViewTables>, syncId: string): Promise<SyncRow | undefined> {
  return db.selectFrom('federation_syncs').selectAll().where('sync_id', '=', syncId).executeTakeFirst();
}

/** The newest first, before a position of their start. `nodeId`: of one node. */
export function findSyncs(
  db: Kysely<ViewTables>,
  nodeId: string | undefined,
  before: number,
  limit: number,
): Promise<SyncRow[]> {
  let query = db.selectFrom('federation_syncs').selectAll().where('started_position', '<', before);
  if (nodeId !== undefined) query = query.where('node_id', '=', nodeId);
  return query.orderBy('started_position', 'desc').limit(limit).execute();
}

/** Ids of syncs that run and of which nothing was written since a moment (ISO 8601). */
export async function findStragglers(db: Kysely<ViewTables>, before: string, limit: number): Promise<string[]> {
  const rows = await db
    .selectFrom('federation_syncs')
    .select('sync_id')
    .where('status', '=', 'running')
    .where('updated_at', '<', before)
    .limit(limit)
    .execute();
  return rows.map(({ sync_id }) => sync_id);
}
