/**
 * Facts of messages that are kept: each lies in the stream `message-<message id>`, what a node has got in `mailbox-<node id>`. Of
 * messages that are not kept only their numbers are known, by minute and pair, in the stream `traffic`.
 */
import { Type } from 'typebox';
import { ChannelName } from './channel.ts';
import { kept, transient } from './define.ts';
import { EntityId } from './entity.ts';
import { NodeId } from './node.ts';
import { Direct } from './p2p.ts';
import { Sealed } from './sealed.ts';

export const MessageId = Type.String({ format: 'uuid', description: 'Name of a message, given by the hub' });

/** Whom a message is for. What is for an entity goes to the node that the entity belongs to. */
export const Address = Type.Union([
  Type.Object({ node: NodeId }),
  Type.Object({ entity: EntityId }),
  Type.Object({ channel: ChannelName }),
  Type.Object({ everyone: Type.Literal(true) }),
]);
export type Address = Type.Static<typeof Address>;

/**
 * Where it lies until it is fetched: `node:<id>`, `channel:<name>` or `everyone`. Of the latter two, those get it who were members
 * when it was sent and still are when it is handed over.
 */
const box = Type.String();
/** `node:<id>` or `operator:<prefix>`. */
const from = Type.String();
const Time = Type.String({ description: 'ISO 8601 UTC' });
const Position = Type.Integer({ minimum: 0 });

/** What later facts of a message repeat, so that each can be understood, and let go, by itself. */
const message = { message_id: MessageId, box, from, sent_position: Position, expires_at: Time };

export const messageEvents = {
  'message.sent': kept(
    Type.Object({
      message_id: MessageId,
      from,
      to: Address,
      box,
      content: Sealed,
      /** Of the content as JSON, in UTF-8. */
      bytes: Type.Integer({ minimum: 0 }),
      correlation_id: Type.Optional(Type.String()),
      reply_to: Type.Optional(Address),
      expires_at: Time,
      /** Members of the channel or federation that it is not for: their mailboxes were full. */
      without: Type.Optional(Type.Array(NodeId)),
      /** Nodes passed it among themselves while the hub was silent. */
      p2p: Type.Optional(Direct),
    }),
  ),
  /** Its time was over before these had fetched it: a thousand at most, and further facts name the others. The sender is told. */
  'message.expired': kept(
    Type.Object({
      ...message,
      unreached: Type.Array(NodeId, { maxItems: 1_000 }),
      others: Type.Integer({ minimum: 0 }),
    }),
  ),
  /** It was not handed to this node, or the node would not have it. The sender is told. */
  'message.refused': kept(
    Type.Object({
      ...message,
      node_id: NodeId,
      code: Type.String({ maxLength: 64 }),
      reason: Type.String({ maxLength: 512 }),
    }),
  ),
  /** The node got it from another node: it is no mail for it any more. */
  'message.received': kept(Type.Object({ ...message, node_id: NodeId, at: Time })),
  'message.read': kept(Type.Object({ ...message, node_id: NodeId })),
  /** The node has all of its mail up to here: one fact for as much as it fetched at once. */
  'mail.delivered': kept(Type.Object({ node_id: NodeId, through: Position })),
  /** What expired before this time is let go. */
  'mail.purged': kept(Type.Object({ before: Time })),
  /** Messages that are not kept, of one pair in one minute at one replica. `to`: a box. */
  'messages.counted': transient(
    Type.Object({
      from: Type.String(),
      to: Type.String(),
      minute: Time,
      messages: Type.Integer({ minimum: 1 }),
      bytes: Type.Integer({ minimum: 0 }),
    }),
  ),
} as const;
