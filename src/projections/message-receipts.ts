/** What became of messages besides being fetched: read, refused, or expired before that. One row a fact, which outlives the row of its message. */
import type { Kysely } from 'kysely';
import { isoTime } from '../kernel.ts';
import type { ViewTables } from './catalog.ts';
import { projection } from './define.ts';
import { entryOf, expiredBefore } from './messages.ts';

export interface MessageReceiptRow {
  /** The entry of the message, then the position of the fact. */
  receipt: string;
  message_id: string;
  sender: string;
  box: string;
  state: 'received' | 'read' | 'refused' | 'expired';
  /** Whom it concerns; at most a thousand, and how many more. */
  nodes: string[];
  others: number;
  code: string | null;
  reason: string | null;
  sent_position: number;
  position: number;
  time: string;
}

const ofMessage = ({ data, position }: { data: { message_id: string; expires_at: string }; position: number }) =>
  `${entryOf(data)}/${String(position).padStart(16, '0')}`;

/** So long after the message itself: its sender may be away, and is to be told. */
export const receiptsKeptMs = 7 * 86_400_000;

export const messageReceipts = projection<MessageReceiptRow>({
  table: {
    name: 'federation_message_receipts',
    key: 'receipt',
    columns: {
      receipt: 'text',
      message_id: 'text',
      sender: 'text',
      box: 'text',
      state: 'text',
      nodes: 'json',
      others: 'integer',
      code: { type: 'text', nullable: true },
      reason: { type: 'text', nullable: true },
      sent_position: 'integer',
      position: 'integer',
      time: 'text',
    },
    indexes: [['message_id'], ['sender', 'position']],
    appendOnly: true,
  },
  version: 2,
  on: {
    'message.read': {
      key: ofMessage,
      fold: (_none, event) => ({ ...rowOf(event), state: 'read', nodes: [event.data.node_id] }),
    },
    'message.received': {
      key: ofMessage,
      fold: (_none, event) => ({ ...rowOf(event), state: 'received', nodes: [event.data.node_id] }),
    },
    'message.refused': {
      key: ofMessage,
      fold: (_none, event) => {
        const { node_id, code, reason } = event.data;
        return { ...rowOf(event), state: 'refused', nodes: [node_id], code, reason };
      },
    },
    'message.expired': {
      key: ofMessage,
      fold: (_none, event) => ({
        ...rowOf(event),
        state: 'expired',
        nodes: event.data.unreached,
        others: event.data.others,
      }),
    },
  },
  sweep: { 'mail.purged': ({ data }) => expiredBefore(isoTime(Date.parse(data.before) - receiptsKeptMs)) },
});

interface About {
  readonly data: {
    readonly message_id: string;
    readonly from: string;
    readonly box: string;
    readonly sent_position: number;
    readonly expires_at: string;
  };
  readonly position: number;
  readonly time: string;
}

function rowOf(event: About): Omit<MessageReceiptRow, 'state' | 'nodes'> {
  const { message_id, from, box, sent_position } = event.data;
  const { position, time } = event;
  return {
    receipt: ofMessage(event),
    message_id,
    sender: from,
    box,
    others: 0,
    code: null,
    reason: null,
    sent_position,
    position,
    time,
  };
}

/** All receipts of a message, the first first. */
export function findReceipts(db: Kysely<ViewTables>, messageId: string): Promise<MessageReceiptRow[]> {
  return db
    .selectFrom('federation_message_receipts')
    .selectAll()
    .where('message_id', '=', messageId)
    .orderBy('position')
    .execute();
}
