/** Messages: taken, kept for their time, found again, and told of when they expire. Those that are not kept pass through. */
import type { About, Executed } from '../commands/execute.ts';
import { message, messageStream, read, receive, refuseMessage, type Sent } from '../commands/message.ts';
import type { Identity } from '../doors.ts';
import { isRefusal, type Refusal, refuse } from '../errors.ts';
import type { Hub } from '../hub.ts';
import { whenOpen } from '../jobs.ts';
import { messageIdOf } from '../p2p/entry.ts';
import { findReceipts, type MessageReceiptRow } from '../projections/message-receipts.ts';
import { findConcerned, findMessage, type MessageRow } from '../projections/messages.ts';
import type { Message, NewMessage } from '../protocol/messages.ts';
import type { MessageEntry } from '../protocol/p2p.ts';
import { SealBroken, unseal } from '../sealed.ts';
import type { SearchCursor } from '../search.ts';
import { Channels } from './message-persistence/channels.ts';
import { Ephemeral } from './message-persistence/ephemeral.ts';
import { Expiry } from './message-persistence/expiry.ts';
import {
  type HistoryFilter,
  type HistoryPage,
  isFor,
  mayRead,
  readHistory,
  searchHistory,
  sightOf,
} from './message-persistence/history.ts';
import { handlePackets } from './message-persistence/packets.ts';
import { Sending } from './message-persistence/sending.ts';
import { Traffic } from './message-persistence/traffic.ts';
import { type OfflineQueue, offlineQueue } from './offline-queue.ts';
import { service } from './service.ts';
import { websocketPool } from './websocket-pool.ts';

export { boxOf } from './message-persistence/address.ts';
export { mailKey } from './message-persistence/sending.ts';

/** What the sender is told: where it lies in the log when it is kept, else to how many it went. */
export interface Taken extends Sent {
  readonly position?: number;
  readonly delivered?: number;
}

export interface MessagePersistence {
  /**
   * Takes a message. Refuses `not_found` and `no_target` for whom it is for, `forbidden` for a channel that the sender does not hear,
   * `payload_too_large`, `queue_full`.
   */
  send(message: NewMessage, by: Identity, about: About): Promise<Taken | Refusal>;
  /**
   * Takes a message that its author sent from node to node, under this hash; its times are those that count here. Refuses as `send`
   * does, and `idempotency_mismatch`.
   */
  bring(
    entry: MessageEntry,
    hash: string,
    content: unknown,
    about: About,
  ): Promise<Executed<{ known: boolean }> | Refusal>;
  /**
   * What became of messages that a node got from others. Undefined for those that are not known here, or are others than those it
   * got: what it got is still to be handed in. Refuses `not_found`, `message_over`, and `views_unavailable` while that cannot be told.
   */
  became(
    receipts: readonly Became[],
    nodeId: string,
    about: (receipt: Became) => About,
  ): Promise<(Executed<undefined> | Refusal | undefined)[]>;
  /** The node has read them; answers for each, in their order. Refuses `not_found` for what is not for it. */
  read(messageIds: readonly string[], nodeId: string, about: About): Promise<(Executed<undefined> | Refusal)[]>;
  /** The node will not have it; the sender is told. Refuses `not_found`, `message_over`. */
  refuse(messageId: string, nodeId: string, reason: string, about: About): Promise<Executed<undefined> | Refusal>;
  history(
    by: Identity,
    filter: HistoryFilter,
    asked: { readonly before: number; readonly limit: number; readonly minPosition: number | undefined },
  ): Promise<HistoryPage & { position: number; stale: boolean }>;
  /** The best first. Refuses what the search refuses. */
  search(
    by: Identity,
    filter: HistoryFilter,
    asked: { readonly words: string; readonly after: SearchCursor | undefined; readonly limit: number },
  ): Promise<{ rows: MessageRow[]; next: SearchCursor | undefined } | Refusal>;
  /** A message that concerns whoever asks, with what became of it; undefined for what does not, and for what is gone. */
  find(messageId: string, by: Identity, minPosition: number | undefined): Promise<Found | undefined>;
  /** As its recipient gets it. */
  open(row: MessageRow): Promise<Message>;
  readonly channels: Pick<Channels, 'join' | 'leave'>;
}

/** What became of a message at a node that got it from another. `at`: ISO 8601. */
export interface Became {
  readonly entry: string;
  readonly messageId: string;
  readonly kind: 'receipt' | 'read' | 'refusal';
  readonly at: string;
  readonly reason: string;
}

export interface Found {
  readonly row: MessageRow;
  readonly receipts: readonly MessageReceiptRow[];
  /** Who was to get it and is a member still, and whether it waits for it yet. */
  readonly waits: ReadonlyMap<string, boolean>;
}

export const messagePersistence = service({
  name: 'message-persistence',
  purpose: 'Messages with a time to live, sealed at rest, with their history and full text',
  needs: { sockets: websocketPool, queue: offlineQueue },
  async start(hub, { sockets, queue }, standing) {
    const lease = hub.leases.acquire('messages');
    const traffic = new Traffic(hub);
    const sending = new Sending(hub, queue);
    const ephemeral = new Ephemeral(hub, sockets, queue, traffic);
    const channels = new Channels(hub, lease, queue.members);
    const expiry = new Expiry(hub, queue, lease);
    const stopOpening = whenOpen(hub, standing, (jobs) => expiry.use(jobs));
    const api = createMessages(hub, { sending, ephemeral, channels, queue });
    const stopHandling = handlePackets(sockets, api);
    return {
      api,
      async stop() {
        stopOpening();
        stopHandling();
        expiry.close();
        channels.close();
        ephemeral.close();
        await traffic.close();
        await lease.release();
      },
    };
  },
});

interface Parts {
  readonly sending: Sending;
  readonly ephemeral: Ephemeral;
  readonly channels: Channels;
  readonly queue: OfflineQueue;
}

function createMessages(hub: Hub, { sending, ephemeral, channels, queue }: Parts): MessagePersistence {
  const { executor, views } = hub;
  const sight = (by: Identity) => sightOf(queue.members, by);
  /** Where messages lie that were for this node, by id. It may have got them before the views have them. */
  const receivedBy = async (messageIds: readonly string[], nodeId: string, after = 0) => {
    const own = sight({ kind: 'node', nodeId, sessionId: '', role: 'member' });
    let rows = await findConcerned(views.db, messageIds);
    let stale = false;
    if (rows.length < new Set(messageIds).size)
      ({ value: rows, stale } = await views.read(Math.max(after, await hub.log.head()), (db) =>
        findConcerned(db, messageIds),
      ));
    const positions = new Map(rows.filter((row) => isFor(own, row)).map((row) => [row.message_id, row.sent_position]));
    return { positions, stale };
  };
  /** Which of them the log has, whomever they are for, and where. */
  const inLog = async (messageIds: readonly string[]): Promise<Map<string, number>> => {
    const sent = await Promise.all(messageIds.map((id) => hub.log.readStream(messageStream(id), 0, 1)));
    return new Map(messageIds.flatMap((id, at) => sent[at]!.map(({ position }) => [id, position] as const))); // one for each
  };
  const unknown = (messageId: string) => refuse('not_found', `there is no message ${messageId} for this node`);
  return {
    async send(asked, by, about) {
      if (asked.persist === false) {
        const told = await ephemeral.send(asked, by, about);
        return isRefusal(told) ? told : { message_id: told.messageId, delivered: told.delivered };
      }
      const done = await sending.send(asked, by, about);
      return isRefusal(done) ? done : { ...done.reply, position: done.position };
    },
    bring(entry, hash, content, about) {
      const { author, chain, seq, roster_id, time, to, key, expires_at, correlation_id, reply_to } = entry;
      const message = {
        to,
        content,
        ...(correlation_id !== undefined && { correlation_id }),
        ...(reply_to && { reply_to }),
      };
      const from = { kind: 'node', nodeId: author, sessionId: '', role: 'member' } as const;
      const p2p = { entry: hash, chain, seq, roster_id, said_at: time };
      return sending.bring(message, from, { messageId: messageIdOf(author, key), expiresAt: expires_at, p2p }, about);
    },
    async became(receipts, nodeId, about) {
      if (receipts.length === 0) return [];
      const asked = receipts.map(({ messageId }) => messageId);
      const first = await receivedBy(asked, nodeId);
      const there = await inLog(asked.filter((id) => !first.positions.has(id)));
      // What came into the log since is in views that are as new as that.
      const newest = Math.max(0, ...there.values());
      const { positions: more, stale } = there.size > 0 ? await receivedBy([...there.keys()], nodeId, newest) : first;
      const positions = new Map([...first.positions, ...more]);
      const write = (receipt: Became, sentPosition: number) => {
        const stream = messageStream(receipt.messageId);
        const of = { nodeId, sentPosition, entry: receipt.entry };
        if (receipt.kind === 'read') return executor.execute(stream, message, read, of, about(receipt));
        if (receipt.kind === 'receipt')
          return executor.execute(stream, message, receive, { ...of, at: receipt.at }, about(receipt));
        const command = { ...of, code: 'declined', reason: receipt.reason };
        return executor.execute(stream, message, refuseMessage, command, about(receipt));
      };
      return Promise.all(
        receipts.map(async (receipt) => {
          const sentPosition = positions.get(receipt.messageId);
          if (sentPosition === undefined && !there.has(receipt.messageId)) return undefined;
          if (sentPosition === undefined)
            return stale
              ? refuse('views_unavailable', 'it is not known yet whom the message was for')
              : refuse('not_found', 'the message is over, or was not for this node');
          const done = await write(receipt, sentPosition);
          return isRefusal(done) && done.refused === 'idempotency_mismatch' ? undefined : done;
        }),
      );
    },
    async read(messageIds, nodeId, about) {
      const { positions } = await receivedBy(messageIds, nodeId);
      return Promise.all(
        messageIds.map((messageId) => {
          const sentPosition = positions.get(messageId);
          if (sentPosition === undefined) return unknown(messageId);
          return executor.execute(messageStream(messageId), message, read, { nodeId, sentPosition }, about);
        }),
      );
    },
    async refuse(messageId, nodeId, reason, about) {
      const sentPosition = (await receivedBy([messageId], nodeId)).positions.get(messageId);
      if (sentPosition === undefined) return unknown(messageId);
      const command = { nodeId, sentPosition, code: 'declined', reason };
      return executor.execute(messageStream(messageId), message, refuseMessage, command, about);
    },
    async history(by, filter, { before, limit, minPosition }) {
      const { value, ...fresh } = await views.read(minPosition, (db) =>
        readHistory(hub, db, sight(by), filter, before, limit),
      );
      return { ...value, ...fresh };
    },
    search: (by, filter, asked) => searchHistory(hub, sight(by), filter, asked),
    async find(messageId, by, minPosition = 0) {
      const { value: row } = await views.read(minPosition, (db) => findMessage(db, messageId));
      if (!row || !mayRead(sight(by), row)) return undefined;
      await queue.reached(Math.max(minPosition, row.sent_position));
      const recipients = queue.recipients(row.box, row.sender, row.sent_position);
      const waits = new Map(recipients.map((nodeId) => [nodeId, queue.holds(nodeId, row.sent_position)]));
      // What no longer waits was fetched, or there is a receipt that says why.
      const { value: receipts } = await views.read(queue.position, (db) => findReceipts(db, messageId));
      return { row, receipts, waits };
    },
    async open({ message_id, sender, recipient, correlation_id, reply_to, sent_at, said_at, expires_at, ...row }) {
      const text = await unseal('message', hub, row.sealed_content).catch(unlessBroken);
      return {
        message_id,
        from: sender,
        to: recipient,
        content: typeof text === 'string' ? JSON.parse(text) : null,
        ...(text === undefined && { erased: true as const }),
        ...(text === null && { unreadable: true as const }),
        ...(correlation_id !== null && { correlation_id }),
        ...(reply_to && { reply_to }),
        sent_at,
        ...(said_at !== null && { said_at }),
        expires_at,
        position: row.sent_position,
      };
    },
    channels,
  };
}

/** What was changed since it was sealed is shown as such: those beside it on its page can be read. */
function unlessBroken(error: unknown): null {
  if (error instanceof SealBroken) return null;
  throw error;
}
