/** Which messages are kept, and what became of each? Rows go when the time of their message is over. */
import type { Kysely } from 'kysely';
import type { Address } from '../events/message.ts';
import type { Sealed } from '../events/sealed.ts';
import type { ViewTables } from './catalog.ts';
import { projection, type Sweep } from './define.ts';

export interface MessageRow {
  /** When it expires, then its id: those that are over lie together. */
  entry: string;
  message_id: string;
  /** `node:<id>` or `operator:<prefix>`. */
  sender: string;
  /** `node:<id>`, `channel:<name>` or `everyone`. */
  box: string;
  recipient: Address;
  /** As it lies in the log: for those who hold the key. */
  sealed_content: Sealed;
  bytes: number;
  correlation_id: string | null;
  reply_to: Address | null;
  without: string[] | null;
  sent_at: string;
  sent_position: number;
  expires_at: string;
  /** When its author wrote it, of what nodes passed among themselves. */
  said_at: string | null;
}

export const messages = projection<MessageRow>({
  table: {
    name: 'federation_messages',
    key: 'entry',
    columns: {
      entry: 'text',
      message_id: 'text',
      sender: 'text',
      box: 'text',
      recipient: 'json',
      sealed_content: 'json',
      bytes: 'integer',
      correlation_id: { type: 'text', nullable: true },
      reply_to: { type: 'json', nullable: true },
      without: { type: 'json', nullable: true },
      sent_at: 'text',
      sent_position: 'integer',
      expires_at: 'text',
      said_at: { type: 'text', nullable: true },
    },
    indexes: [['message_id'], ['box', 'sent_position'], ['sender', 'box', 'sent_position']],
    appendOnly: true,
  },
  version: 2,
  on: {
    'message.sent': {
      key: ({ data }) => entryOf(data),
      fold: (_none, { data, time, position }) => {
        const { message_id, from, to, box, content, bytes, correlation_id, reply_to, expires_at, without, p2p } = data;
        return {
          entry: entryOf(data),
          message_id,
          sender: from,
          box,
          recipient: to,
          sealed_content: content,
          bytes,
          correlation_id: correlation_id ?? null,
          reply_to: reply_to ?? null,
          without: without ?? null,
          sent_at: time,
          sent_position: position,
          expires_at,
          said_at: p2p?.said_at ?? null,
        };
      },
    },
  },
  sweep: { 'mail.purged': ({ data }) => expiredBefore(data.before) },
});

/** Where the row of a message lies, and where those of its receipts begin. */
export function entryOf({
  expires_at,
  message_id,
}: {
  readonly expires_at: string;
  readonly message_id: string;
}): string {
  return `${expires_at}/${message_id}`;
}

/** The rows of messages that expired before a time, ISO 8601. */
export function expiredBefore(time: string): Sweep {
  return { from: '', to: time };
}

/** Undefined for one that is not kept, or not any more. */
export function findMessage(db: Kysely<ViewTables>, messageId: string): Promise<MessageRow | undefined> {
  return db.selectFrom('federation_messages').selectAll().where('message_id', '=', messageId).executeTakeFirst();
}

/** Whom some messages concern, without what they say; in no order. */
export function findConcerned(
  db: Kysely<ViewTables>,
  messageIds: readonly string[],
): Promise<Pick<MessageRow, 'message_id' | 'sender' | 'box' | 'without' | 'sent_position'>[]> {
  return db
    .selectFrom('federation_messages')
    .select(['message_id', 'sender', 'box', 'without', 'sent_position'])
    .where('message_id', 'in', messageIds)
    .execute();
}
