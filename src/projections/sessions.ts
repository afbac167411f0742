/** What is the newest session of each node? */
import { projection } from './define.ts';

export interface SessionRow {
  /** `<node id>/<transport>`: a socket session does not take over from an HTTP one. `<node id>/all`: when all were revoked. */
  id: string;
  node_id: string;
  session_id: string;
  transport: 'socket' | 'http' | 'all';
  /** Grows with each session of the node; what has an older epoch is stale. */
  epoch: number;
  status: 'open' | 'ended';
  address: string;
  /** The replica that opened it: where its socket is. */
  replica: string;
  opened_at: string;
  ended_at: string | null;
  cause: string | null;
}

// Session ids start with their transport, so that every fact about one finds its row: `socket.<uuid>`, `http.<uuid>`.
const keyOf = (nodeId: string, sessionId: string) => `${nodeId}/${sessionId.slice(0, sessionId.indexOf('.'))}`;

export const sessions = projection<SessionRow>({
  table: {
    name: 'federation_sessions',
    key: 'id',
    columns: {
      id: 'text',
      node_id: 'text',
      session_id: 'text',
      transport: 'text',
      epoch: 'integer',
      status: 'text',
      address: 'text',
      replica: 'text',
      opened_at: 'text',
      ended_at: { type: 'text', nullable: true },
      cause: { type: 'text', nullable: true },
    },
    indexes: [['node_id']],
  },
  version: 2,
  on: {
    'session.opened': {
      key: ({ data }) => keyOf(data.node_id, data.session_id),
      fold: (_row, { data, time, revision, meta }) => ({
        id: keyOf(data.node_id, data.session_id),
        node_id: data.node_id,
        session_id: data.session_id,
        transport: data.transport,
        epoch: revision,
        status: 'open',
        address: data.address,
        replica: meta.replica,
        opened_at: time,
        ended_at: null,
        cause: null,
      }),
    },
    // One row of a node says from which epoch on its sessions count; the others stay as they were.
    'session.revoked': {
      key: ({ data }) => `${data.node_id}/all`,
      fold: (_row, { data, time, revision }) => ({
        id: `${data.node_id}/all`,
        node_id: data.node_id,
        session_id: '',
        transport: 'all',
        epoch: revision,
        status: 'ended',
        address: '',
        replica: '',
        opened_at: time,
        ended_at: time,
        cause: data.reason,
      }),
    },
    'session.ended': {
      key: ({ data }) => keyOf(data.node_id, data.session_id),
      fold: (row, { data, time }) =>
        row?.session_id === data.session_id ? { ...row, status: 'ended', ended_at: time, cause: data.cause } : row,
    },
  },
});
