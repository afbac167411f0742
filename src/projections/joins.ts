/** Who asked to join, and what was decided? One row a node id: its newest request, until it lapses or its rejection counts no more. */

import type { Kysely } from 'kysely';
import type { NodeProfile, NodeRole } from '../events/node.ts';
import type { ViewTables } from './catalog.ts';
import { projection } from './define.ts';

export type JoinStatus = 'pending' | 'approved' | 'rejected';

export interface JoinRow {
  node_id: string;
  public_key: string;
  profile: NodeProfile;
  address: string;
  status: JoinStatus;
  /** Once approved. */
  role: NodeRole | null;
  /** Once rejected. */
  reason: string | null;
  requested_at: string;
  /** When it asked last. */
  repeated_at: string;
  expires_at: string;
  decided_at: string | null;
}

export const joins = projection<JoinRow>({
  table: {
    name: 'federation_join_requests',
    key: 'node_id',
    columns: {
      node_id: 'text',
      public_key: 'text',
      profile: 'json',
      address: 'text',
      status: 'text',
      role: { type: 'text', nullable: true },
      reason: { type: 'text', nullable: true },
      requested_at: 'text',
      repeated_at: 'text',
      expires_at: 'text',
      decided_at: { type: 'text', nullable: true },
    },
    indexes: [['status']],
  },
  version: 2,
  on: {
    'join.requested': {
      key: ({ data }) => data.node_id,
      fold: (_row, { data, time }) => ({
        ...data,
        status: 'pending',
        role: null,
        reason: null,
        requested_at: time,
        repeated_at: time,
        decided_at: null,
      }),
    },
    'join.repeated': {
      key: ({ data }) => data.node_id,
      fold: (row, { data, time }) => row && { ...row, address: data.address, repeated_at: time },
    },
    'join.approved': {
      key: ({ data }) => data.node_id,
      fold: (row, { data, time }) => row && { ...row, status: 'approved', role: data.role, decided_at: time },
    },
    'join.rejected': {
      key: ({ data }) => data.node_id,
      fold: (row, { data, time }) => row && { ...row, status: 'rejected', reason: data.reason, decided_at: time },
    },
    'join.expired': {
      key: ({ data }) => data.node_id,
      fold: () => null,
    },
  },
});

/** Requests in order of node id, after an id ('' for the first), at most `limit`. */
export function findJoins(
  db: Kysely<ViewTables>,
  status: JoinStatus | undefined,
  after: string,
  limit: number,
): Promise<JoinRow[]> {
  let query = db.selectFrom('federation_join_requests').selectAll().where('node_id', '>', after);
  if (status !== undefined) query = query.where('status', '=', status);
  return query.orderBy('node_id').limit(limit).execute();
}
