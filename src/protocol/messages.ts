/** Packets of messages, of mail that is fetched and of channels. */
import { Type } from 'typebox';
import { ChannelName } from '../events/channel.ts';
import { Address, MessageId } from '../events/message.ts';
import { NodeId } from '../events/node.ts';
import { closed, done, Position, Time } from './shapes.ts';

const headers = {
  /** What it belongs to: an answer has that of the question. */
  correlation_id: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
  /** Where an answer is to go, when not to the sender. */
  reply_to: Type.Optional(Address),
};

/** The longest that a message may be kept: 30 days. */
export const mostTtlSeconds = 30 * 86_400;

/** What is sent. At most 256 KiB as JSON. */
export const NewMessage = Type.Object({
  to: Address,
  content: Type.Unknown(),
  /** Kept until it is fetched or expires. False: it reaches who is there now, and nobody else. Unsaid: true. */
  persist: Type.Optional(Type.Boolean()),
  /** Seconds after which it expires; unsaid: seven days, unless the operator says otherwise. Only of what is kept. */
  ttl_seconds: Type.Optional(Type.Integer({ minimum: 1, maximum: mostTtlSeconds })),
  ...headers,
});
export type NewMessage = Type.Static<typeof NewMessage>;

/** A message as its recipient gets it. */
export const Message = Type.Object({
  message_id: MessageId,
  /** `node:<id>` or `operator:<prefix>`. */
  from: Type.String(),
  to: Address,
  content: Type.Unknown(),
  /** Its key was destroyed, and the content is null. */
  erased: Type.Optional(Type.Literal(true)),
  /** What lies there was changed since it was sealed, and the content is null. */
  unreadable: Type.Optional(Type.Literal(true)),
  ...headers,
  sent_at: Time,
  /** When its author wrote it, of what came from node to node while the hub was silent; `sent_at` is when the hub had it. */
  said_at: Type.Optional(Time),
  /** Of what is kept. */
  expires_at: Type.Optional(Time),
  /** Of what is kept: its place among the mail of its recipient. It is to be acknowledged. */
  position: Type.Optional(Position),
});
export type Message = Type.Static<typeof Message>;

export const messagePackets = {
  /** `key` makes it known: sent again, it is the same message. */
  'federation:message': {
    service: 'message-persistence',
    who: 'act',
    packet: closed(
      Type.Object({ ...NewMessage.properties, key: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })) }),
    ),
    ack: Type.Object({
      ...done,
      message_id: MessageId,
      /** Of what is kept. */
      position: Type.Optional(Position),
      /** Of what is not kept: how many connections got it. */
      delivered: Type.Optional(Type.Integer()),
      /** Members of a channel, or of the federation, whose mailboxes are full: it is not for them. */
      without: Type.Optional(Type.Array(NodeId)),
    }),
  },
  /** This node has all of its mail up to here: messages, ends of tasks, states of messages. What is not acknowledged comes again. */
  'federation:message:ack': {
    service: 'offline-queue',
    who: 'node',
    packet: closed(Type.Object({ through: Position })),
    ack: Type.Object({ ...done, through: Position }),
  },
  /** Messages that were read: their senders can see it. */
  'federation:message:read': {
    service: 'message-persistence',
    who: 'node',
    packet: closed(Type.Object({ message_ids: Type.Array(MessageId, { minItems: 1, maxItems: 256 }) })),
    ack: Type.Object({ ...done, read: Type.Integer() }),
  },
  /** This node will not have a message; its sender is told. */
  'federation:message:refuse': {
    service: 'message-persistence',
    who: 'node',
    packet: closed(
      Type.Object({ message_id: MessageId, reason: Type.Optional(Type.String({ minLength: 1, maxLength: 512 })) }),
    ),
    ack: Type.Object({ ...done, position: Position }),
  },
  'federation:channel:join': {
    service: 'message-persistence',
    who: 'node',
    packet: closed(Type.Object({ channel: ChannelName })),
    ack: Type.Object({ ...done, position: Position }),
  },
  'federation:channel:leave': {
    service: 'message-persistence',
    who: 'node',
    packet: closed(Type.Object({ channel: ChannelName })),
    ack: Type.Object({ ...done, position: Position }),
  },
} as const;

export const messagePushes = {
  'federation:message': Message,
  /** What became of a message that this node sent and that somebody did not get. It is mail too: acknowledge it. */
  'federation:message:state': Type.Object({
    position: Position,
    time: Time,
    message_id: MessageId,
    state: Type.Union([Type.Literal('expired'), Type.Literal('refused')]),
    nodes: Type.Array(NodeId),
    others: Type.Integer({ minimum: 0, description: 'How many more than are named' }),
    code: Type.Optional(Type.String()),
    reason: Type.Optional(Type.String()),
  }),
  /** Wants an acknowledgement, at once: how long that takes is what is asked. */
  'federation:ping': Type.Object({ entity_id: Type.Optional(Type.String()) }),
} as const;
