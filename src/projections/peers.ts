/** Which other hubs is this one a member of, and how did the last sync with each go? */
import type { SyncDirection, SyncProgress, SyncScope } from '../events/knowledge.ts';
import { projection } from './define.ts';

export interface PeerRow {
  peer_id: string;
  url: string;
  /** As what this hub is known there. */
  node_id: string;
  scope: SyncScope;
  direction: SyncDirection;
  every_seconds: number;
  joined_at: string;
  last_outcome: 'completed' | 'failed' | null;
  last_error: string | null;
  last_progress: SyncProgress | null;
  synced_at: string | null;
}

export const peers = projection<PeerRow>({
  table: {
    name: 'federation_peers',
    key: 'peer_id',
    columns: {
      peer_id: 'text',
      url: 'text',
      node_id: 'text',
      scope: 'json',
      direction: 'text',
      every_seconds: 'integer',
      joined_at: 'text',
      last_outcome: { type: 'text', nullable: true },
      last_error: { type: 'text', nullable: true },
      last_progress: { type: 'json', nullable: true },
      synced_at: { type: 'text', nullable: true },
    },
  },
  version: 1,
  on: {
    'peer.joined': {
      key: ({ data }) => data.peer_id,
      fold: (_row, { data, time }) => ({
        ...data,
        joined_at: time,
        last_outcome: null,
        last_error: null,
        last_progress: null,
        synced_at: null,
      }),
    },
    'peer.left': { key: ({ data }) => data.peer_id, fold: () => null },
    'peer.synced': {
      key: ({ data }) => data.peer_id,
      fold: (row, { data: { outcome, error, rounds, pulled, pushed, refused, bytes }, time }) =>
        row && {
          ...row,
          last_outcome: outcome,
          last_error: error ?? null,
          last_progress: { rounds, pulled, pushed, refused, bytes },
          synced_at: time,
        },
    },
  },
});
