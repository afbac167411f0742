/** How much of its mail has each node got? Everything up to a position of the log. */
import { projection } from './define.ts';

export interface MailboxRow {
  node_id: string;
  /** It has all of its mail up to here. */
  delivered_through: number;
  delivered_at: string;
}

export const mailboxes = projection<MailboxRow>({
  table: {
    name: 'federation_mailboxes',
    key: 'node_id',
    columns: { node_id: 'text', delivered_through: 'integer', delivered_at: 'text' },
  },
  version: 1,
  on: {
    'mail.delivered': {
      key: ({ data }) => data.node_id,
      fold: (_row, { data, time }) => ({
        node_id: data.node_id,
        delivered_through: data.through,
        delivered_at: time,
      }),
    },
    'node.removed': { key: ({ data }) => data.node_id, fold: () => null },
  },
});
