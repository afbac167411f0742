/** A message as a program gets it, with what can be done about it. */
import type { HubPacket } from '../protocol.ts';
import { HubRefusal } from './connection.ts';
import type { Destination, SendOptions, Sent } from './outbox.ts';

type Message = HubPacket<'federation:message'>;

export interface ReceivedMessage extends Readonly<Message> {
  /**
   * Sends an answer to where the sender wants it, with the correlation id of the message, or its id when it has none. It is kept
   * if the message was. Throws as `send` does; `not_found` when an operator sent it, who has no mailbox.
   */
  reply(content: unknown, options?: SendOptions): Promise<Sent>;
  /** Lets the sender see that it was read. Of a message that is not kept nobody keeps that. */
  read(): Promise<void>;
  /** This node will not have the message: its sender is told, with the reason. Of a message that is not kept nobody is told. */
  refuse(reason?: string): Promise<void>;
}

export interface ReceivedParts {
  send(to: Destination, content: unknown, options: SendOptions): Promise<Sent>;
  read(messageId: string): Promise<void>;
  refuse(messageId: string, reason: string | undefined): Promise<void>;
}

export function receivedMessage(message: Message, { send, read, refuse }: ReceivedParts): ReceivedMessage {
  const { message_id, correlation_id = message_id, position, said_at } = message;
  const isKept = position !== undefined || said_at !== undefined; // what came from a node is kept there and here
  return {
    ...message,
    reply: async (content, options) =>
      send(answerAddress(message), content, { persist: isKept, correlationId: correlation_id, ...options }),
    read: () => (isKept ? read(message_id) : Promise.resolve()),
    refuse: (reason) => (isKept ? refuse(message_id, reason) : Promise.resolve()),
  };
}

function answerAddress({ reply_to, from }: Message): Destination {
  if (reply_to) return reply_to;
  if (from.startsWith('node:')) return { node: from.slice('node:'.length) };
  throw new HubRefusal('not_found', `${from} has no mailbox, and said nowhere to answer to`);
}
