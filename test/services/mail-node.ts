/** A node that sends and gets mail over a raw socket: what it got, in order, and whether it says so. */
import type { NodeKey } from '../../src/client/key-file.ts';
import type { NodeProfile } from '../../src/events/node.ts';
import type { Answer, RawSocket } from '../security/raw-socket.ts';
import { call, type Hub, joinBySocket } from '../security/visitor.ts';

export interface GotMessage extends Record<string, unknown> {
  readonly message_id: string;
  readonly from: string;
  readonly content: unknown;
  readonly position?: number;
}

const mailNames = ['federation:message', 'federation:message:state', 'federation:task:finished', 'federation:file'];
/** As a decent client does it: what came in a while is acknowledged at once. */
const ackEveryMs = 10;

export class MailNode {
  readonly nodeId: string;
  readonly key: NodeKey;
  readonly token: string;
  readonly socket: RawSocket;
  readonly #hub: Hub;
  readonly #acking: NodeJS.Timeout | undefined;
  #acked = 0;

  /** `acks`: it acknowledges what comes. A node with a key of before comes back. */
  static async join(
    hub: Hub,
    nodeId: string,
    { acks = true, key, profile = {} }: { acks?: boolean; key?: NodeKey; profile?: NodeProfile } = {},
  ): Promise<MailNode> {
    return new MailNode(hub, await joinBySocket(hub, nodeId, profile, key), acks);
  }

  private constructor(hub: Hub, joined: Awaited<ReturnType<typeof joinBySocket>>, acks: boolean) {
    this.#hub = hub;
    this.nodeId = joined.nodeId;
    this.key = joined.key;
    this.token = joined.token;
    this.socket = joined.socket;
    if (acks) this.#acking = setInterval(() => this.#ackAll(), ackEveryMs);
  }

  /** Sends, and expects that it is taken. */
  async send(to: object, content: unknown, more: object = {}): Promise<{ message_id: string; position: number }> {
    const answer = await this.trySend(to, content, more);
    if (!answer.ok) throw new Error(`a message was refused: ${JSON.stringify(answer.error)}`);
    return { message_id: String(answer.message_id), position: Number(answer.position) };
  }

  trySend(to: object, content: unknown, more: object = {}): Promise<Answer> {
    return this.socket.ask('federation:message', { to, content, ...more });
  }

  /** Messages in the order in which they came, as often as they came. */
  get messages(): GotMessage[] {
    return this.socket.of('federation:message') as GotMessage[]; // as the protocol has it
  }

  /** What they say. */
  get contents(): unknown[] {
    return this.messages.map(({ content }) => content);
  }

  /** What became of a message that it sent; what came again, for its acknowledgement was late, counts once. */
  states(messageId: string): Record<string, unknown>[] {
    const own = this.socket.of('federation:message:state').filter(({ message_id }) => message_id === messageId);
    return [...new Map(own.map((state) => [state.position, state])).values()];
  }

  async got(many: number, ms = 10_000): Promise<GotMessage[]> {
    if (!(await this.socket.until(() => this.messages.length >= many, ms)))
      throw new Error(`${this.nodeId} has ${this.messages.length} messages, not ${many}`);
    return this.messages;
  }

  ack(through: number): Promise<Answer> {
    return this.socket.ask('federation:message:ack', { through });
  }

  call(method: string, path: string, body?: unknown, hub = this.#hub) {
    return call(hub, method, path, { token: this.token, ...(body !== undefined && { body }) });
  }

  close(): void {
    clearInterval(this.#acking);
    this.socket.close();
  }

  #ackAll(): void {
    const mail = this.socket.pushed.filter(({ name }) => mailNames.includes(name));
    const newest = Math.max(0, ...mail.map(({ packet }) => Number(packet.position ?? 0)));
    if (newest <= this.#acked) return;
    this.#acked = newest;
    void this.ack(newest);
  }
}
