/** Messages that want an answer: the first message with the correlation id of the question. */
import { randomUUID } from 'node:crypto';
import type { HubPacket } from '../protocol.ts';
import { HubRefusal, HubUnreachable } from './connection.ts';
import { addressOf, type Destination, defaultTimeoutMs, type Outbox } from './outbox.ts';
import type { ReceivedMessage } from './received-message.ts';
import type { Line } from './sender.ts';

export interface RequestOptions {
  /** How long to wait for the answer, and how long the question is kept. Default one minute. */
  readonly timeoutMs?: number;
  /** False: only who is there now is asked. Default true: one who comes back in time is asked too. */
  readonly persist?: boolean;
}

interface Waiting {
  /** One node is to answer: when it does not get the question, no answer comes. */
  readonly ofOne: boolean;
  /** The node that was asked by its name. */
  readonly asked: string | undefined;
  /** Known once the hub has the question. */
  messageId: string | undefined;
  answered(message: HubPacket<'federation:message'>): void;
  failed(error: Error): void;
}

/** Questions that wait for their answers at once. */
const mostWaiting = 10_000;
/** Questions that are over and are remembered, so that later answers to them are let go. */
const rememberedOver = 10_000;

export class Requests {
  readonly #line: Line;
  readonly #outbox: Outbox;
  readonly #received: (message: HubPacket<'federation:message'>) => ReceivedMessage;
  /** By correlation id. */
  readonly #waiting = new Map<string, Waiting>();
  readonly #over = new Set<string>();

  constructor(line: Line, outbox: Outbox, received: (message: HubPacket<'federation:message'>) => ReceivedMessage) {
    this.#line = line;
    this.#outbox = outbox;
    this.#received = received;
  }

  /** Throws as `send` does, `HubUnreachable` when no answer comes in time, and the refusal of the node that will not have the question. */
  request(
    to: Destination,
    content: unknown,
    { timeoutMs = defaultTimeoutMs, persist = true }: RequestOptions = {},
  ): Promise<ReceivedMessage> {
    if (this.#waiting.size >= mostWaiting)
      return Promise.reject(new HubRefusal('overloaded', `${mostWaiting} questions of this node wait for an answer`));
    const correlationId = randomUUID();
    const address = addressOf(to);
    return new Promise((resolve, reject) => {
      const late = () => this.#end(correlationId)?.failed(new HubUnreachable(`no answer within ${timeoutMs} ms`));
      const cancel = this.#line.clock.after(timeoutMs, late);
      const waiting: Waiting = {
        ofOne: 'node' in address || 'entity' in address,
        asked: 'node' in address ? address.node : undefined,
        messageId: undefined,
        answered: (message) => {
          cancel();
          resolve(this.#received(message));
        },
        failed(error) {
          cancel();
          reject(error);
        },
      };
      this.#waiting.set(correlationId, waiting);
      const ttlSeconds = Math.max(1, Math.ceil(timeoutMs / 1_000));
      // Where to answer to says, besides, which of two messages from this node to itself is the question.
      const replyTo = { node: this.#line.nodeId };
      this.#outbox
        .send(address, content, { correlationId, replyTo, timeoutMs, persist, ...(persist && { ttlSeconds }) })
        .then(
          ({ messageId }) => {
            waiting.messageId = messageId;
          },
          (error: Error) => this.#end(correlationId)?.failed(error),
        );
    });
  }

  /**
   * Whether a message is an answer to a question of this node. Answers after the first, and late ones, are let go. `direct`: it came from
   * another node; whoever carried the question there knows its correlation id too, so that only the node that was asked can answer.
   */
  hear(message: HubPacket<'federation:message'>, direct = false): boolean {
    const { correlation_id: correlationId, from } = message;
    if (correlationId === undefined || this.#isQuestion(message)) return false;
    const asked = this.#waiting.get(correlationId)?.asked;
    if (direct && asked !== undefined && from !== `node:${asked}`) return false;
    const waiting = this.#end(correlationId);
    waiting?.answered(message);
    return waiting !== undefined || this.#over.has(correlationId);
  }

  /** What became of a message: when it was a question, and nobody will answer it, whoever waits is told. */
  state({ message_id, state, code, reason }: HubPacket<'federation:message:state'>): void {
    for (const [correlationId, { messageId, ofOne }] of this.#waiting) {
      if (messageId !== message_id || !ofOne) continue;
      const said = reason ?? `the question was ${state}`;
      this.#end(correlationId)?.failed(new HubRefusal(code ?? state, said));
    }
  }

  close(): void {
    for (const correlationId of [...this.#waiting.keys()])
      this.#end(correlationId)?.failed(new HubUnreachable('this node was closed before there was an answer'));
  }

  #isQuestion({ from, reply_to }: HubPacket<'federation:message'>): boolean {
    const { nodeId } = this.#line;
    return from === `node:${nodeId}` && reply_to !== undefined && 'node' in reply_to && reply_to.node === nodeId;
  }

  #end(correlationId: string): Waiting | undefined {
    const waiting = this.#waiting.get(correlationId);
    if (!this.#waiting.delete(correlationId)) return undefined;
    this.#over.add(correlationId);
    const [oldest] = this.#over;
    if (this.#over.size > rememberedOver && oldest !== undefined) this.#over.delete(oldest);
    return waiting;
  }
}
