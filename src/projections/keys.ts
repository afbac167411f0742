/** Which node holds which public key? */
import { projection } from './define.ts';

export interface KeyRow {
  thumbprint: string;
  node_id: string;
  /** `retired`: nobody may use it again. */
  status: 'reserved' | 'confirmed' | 'retired';
  since: string;
  /** When a reservation lapses; null once confirmed. */
  expires_at: string | null;
}

export const keys = projection<KeyRow>({
  table: {
    name: 'federation_keys',
    key: 'thumbprint',
    columns: {
      thumbprint: 'text',
      node_id: 'text',
      status: 'text',
      since: 'text',
      expires_at: { type: 'text', nullable: true },
    },
    indexes: [['node_id']],
  },
  version: 1,
  on: {
    'key.reserved': {
      key: ({ data }) => data.thumbprint,
      fold: (_row, { data, time }) => ({ ...data, status: 'reserved', since: time }),
    },
    'key.confirmed': {
      key: ({ data }) => data.thumbprint,
      fold: (_row, { data, time }) => ({ ...data, status: 'confirmed', since: time, expires_at: null }),
    },
    'key.retired': {
      key: ({ data }) => data.thumbprint,
      fold: (_row, { data: { thumbprint, node_id }, time }) => ({
        thumbprint,
        node_id,
        status: 'retired',
        since: time,
        expires_at: null,
      }),
    },
    'key.released': { key: ({ data }) => data.thumbprint, fold: () => null },
  },
});
