/** Which invites are there, and what is left of them? Hashes only. */

import type { Kysely } from 'kysely';
import type { NodeRole } from '../events/node.ts';
import type { ViewTables } from './catalog.ts';
import { projection } from './define.ts';

/** A use that is held for a node, or was used by it. */
export interface InviteUse {
  readonly node_id: string;
  readonly thumbprint: string;
  readonly status: 'claimed' | 'used';
  /** When a claim lapses. */
  readonly expires_at: string;
}

export interface InviteRow {
  invite_id: string;
  hash: string;
  label: string;
  role: NodeRole;
  uses: number;
  /** Only for this node id; null for any. */
  node_id: string | null;
  /** Only for this key; null for any. */
  public_key: string | null;
  used_by: InviteUse[];
  created_at: string;
  expires_at: string;
  revoked_at: string | null;
}

export const invites = projection<InviteRow>({
  table: {
    name: 'federation_invites',
    key: 'invite_id',
    columns: {
      invite_id: 'text',
      hash: 'text',
      label: 'text',
      role: 'text',
      uses: 'integer',
      node_id: { type: 'text', nullable: true },
      public_key: { type: 'text', nullable: true },
      used_by: 'json',
      created_at: 'text',
      expires_at: 'text',
      revoked_at: { type: 'text', nullable: true },
    },
  },
  version: 1,
  on: {
    'invite.created': {
      key: ({ data }) => data.invite_id,
      fold: (_row, { data, time }) => ({
        ...data,
        node_id: data.node_id ?? null,
        public_key: data.public_key ?? null,
        used_by: [],
        created_at: time,
        revoked_at: null,
      }),
    },
    'invite.claimed': {
      key: ({ data }) => data.invite_id,
      fold: (row, { data: { node_id, thumbprint, expires_at } }) =>
        row && {
          ...row,
          used_by: [...without(row, node_id), { node_id, thumbprint, status: 'claimed', expires_at }],
        },
    },
    'invite.used': {
      key: ({ data }) => data.invite_id,
      fold: (row, { data }) =>
        row && {
          ...row,
          used_by: row.used_by.map((use) => (use.node_id === data.node_id ? { ...use, status: 'used' } : use)),
        },
    },
    'invite.released': {
      key: ({ data }) => data.invite_id,
      fold: (row, { data }) => row && { ...row, used_by: without(row, data.node_id) },
    },
    'invite.revoked': {
      key: ({ data }) => data.invite_id,
      fold: (row, { time }) => row && { ...row, revoked_at: time },
    },
  },
});

function without(row: InviteRow, nodeId: string): InviteUse[] {
  return row.used_by.filter((use) => use.node_id !== nodeId);
}

/** Invites in order of id, after an id ('' for the first), at most `limit`. */
export function findInvites(db: Kysely<ViewTables>, after: string, limit: number): Promise<InviteRow[]> {
  const query = db.selectFrom('federation_invites').selectAll().where('invite_id', '>', after);
  return query.orderBy('invite_id').limit(limit).execute();
}
