/** Messages of a node, both ways: what it sends, what it asks, and what comes for it, each handed over once and acknowledged. */
import type { ClientPacket, HubPacket } from '../protocol.ts';
import type { AnyHubPacket } from './connection.ts';
import { HubRefusal } from './connection.ts';
import { Handling, type MessageHandler, type MessagesOptions } from './handling.ts';
import { MailWindow } from './mail-window.ts';
import { type Destination, type Detour, Outbox, type SendOptions, type Sent } from './outbox.ts';
import { Reads } from './reads.ts';
import { type ReceivedMessage, type ReceivedParts, receivedMessage } from './received-message.ts';
import { type RequestOptions, Requests } from './requests.ts';
import type { Line, Sender } from './sender.ts';

type Message = HubPacket<'federation:message'>;

/** Who hears of mail besides the handler of messages. */
export interface MailEars {
  /** Somebody listens to the event `message`. */
  listens(): boolean;
  message(message: ReceivedMessage): void;
  state(packet: HubPacket<'federation:message:state'>): void;
  finished(packet: HubPacket<'federation:task:finished'>): void;
  file(packet: HubPacket<'federation:file'>): void;
  /** Mail waits to be handled here, so the hub may hold back ends of tasks. */
  stuck(): void;
  /** The session is to end, and another to begin. */
  restart(reason: string): void;
}

/** What of messages goes from node to node. */
export interface DirectMail {
  /** Whether a message came from another node. */
  had(messageId: string): boolean;
  /** Whether this node heard from another that its message was refused. */
  heardRefusal(messageId: string): boolean;
  /** Of a message that came from another node; undefined for others. */
  read(messageId: string): Promise<void> | undefined;
  refuse(messageId: string, reason: string | undefined): Promise<void> | undefined;
}

/** Messages that are not kept, and are known again when they come twice. */
const rememberedPassing = 1_000;
const lastWordMs = 1_000;
const channelPatienceMs = 60_000;
const reasonLength = 512;

export class Mail {
  readonly #sender: Sender;
  readonly #ears: MailEars;
  readonly #window: MailWindow;
  readonly #outbox: Outbox;
  readonly #requests: Requests;
  readonly #handling: Handling;
  readonly #reads: Reads;
  readonly #passed = new Set<string>();
  #direct: DirectMail | undefined;

  constructor(line: Line, sender: Sender, ears: MailEars) {
    this.#sender = sender;
    this.#ears = ears;
    this.#outbox = new Outbox(line, sender);
    this.#reads = new Reads(line, sender);
    const parts: ReceivedParts = {
      send: (to, content, options) => this.#outbox.send(to, content, options),
      read: (messageId) => this.#direct?.read(messageId) ?? this.#reads.read(messageId),
      refuse: (messageId, reason) => this.#direct?.refuse(messageId, reason) ?? this.#refuse(messageId, reason),
    };
    this.#requests = new Requests(line, this.#outbox, (message) => receivedMessage(message, parts));
    this.#handling = new Handling({
      ...parts,
      clock: line.clock,
      listens: ears.listens,
      tell: ears.message,
      trouble: (error) => line.trouble(error),
    });
    this.#window = new MailWindow({
      clock: line.clock,
      acknowledge: async (through, timeoutMs) => line.ask('federation:message:ack', { through }, timeoutMs),
      trouble: (error) => line.trouble(error),
      overflow: () => ears.restart('more mail than there is room for'),
      stuck: ears.stuck,
    });
  }

  send(to: Destination, content: unknown, options: SendOptions): Promise<Sent> {
    return this.#outbox.send(to, content, options);
  }

  request(to: Destination, content: unknown, options: RequestOptions): Promise<ReceivedMessage> {
    return this.#requests.request(to, content, options);
  }

  messages(handler: MessageHandler, options: MessagesOptions): () => void {
    return this.#handling.take(handler, options);
  }

  async join(channel: string): Promise<void> {
    await this.#sender.send('federation:channel:join', { channel }, channelPatienceMs);
  }

  /** One that the node did not hear is left already. */
  async leaveChannel(channel: string): Promise<void> {
    try {
      await this.#sender.send('federation:channel:leave', { channel }, channelPatienceMs);
    } catch (error) {
      if (!(error instanceof HubRefusal && error.code === 'not_found')) throw error;
    }
  }

  /** Takes the packets that are mail; false for others. They may come before the session that they belong to is open here. */
  hear({ name, packet }: AnyHubPacket): boolean {
    if (name === 'federation:message') this.#message(packet);
    else if (name === 'federation:message:state')
      this.#news(packet.position, `${packet.state} ${packet.message_id}`, () => {
        if (!this.#direct?.heardRefusal(packet.message_id)) this.directState(packet);
      });
    else if (name === 'federation:task:finished')
      this.#news(packet.position, `task ${packet.task_id}`, () => this.#ears.finished(packet));
    else if (name === 'federation:file')
      this.#news(packet.position, `file ${packet.file.file_id}`, () => this.#ears.file(packet));
    else return false;
    return true;
  }

  /** From now on messages can go from node to node. */
  open(direct: DirectMail, detour: Detour): void {
    this.#direct = direct;
    this.#outbox.detour = detour;
  }

  /** A message that came from another node. */
  direct(message: Message, handled: () => void): void {
    if (this.#requests.hear(message, true)) handled();
    else this.#handling.keep(message, handled);
  }

  /** What another node says became of a message. */
  directState(packet: HubPacket<'federation:message:state'>): void {
    this.#requests.state(packet);
    this.#ears.state(packet);
  }

  /** Whether the hub pushed this message lately. */
  knows(messageId: string): boolean {
    return this.#window.knows(messageId);
  }

  /** Somebody may have begun to listen. */
  listened(): void {
    this.#handling.open();
  }

  opened(): void {
    this.#window.opened();
  }

  dropped(): void {
    this.#window.dropped();
  }

  rewind(position: number): void {
    this.#window.rewind(position);
  }

  /** Hands over nothing more; resolves when what is under way is over, or after `ms`, and the hub knows of it, or a second later. */
  async drain(ms: number): Promise<void> {
    await this.#handling.drain(ms);
    await this.flush();
  }

  /** Resolves when the hub knows what is handled, or a second later. */
  async flush(): Promise<void> {
    this.#reads.flush();
    await this.#window.flush(lastWordMs);
  }

  /** Answers when the hub knows what is handled, or a second later; undefined when it knows already. */
  close(): Promise<void> | undefined {
    this.#handling.close();
    this.#requests.close();
    return this.#window.close(lastWordMs);
  }

  #message(message: Message): void {
    const { message_id, position } = message;
    if (position === undefined) {
      if (this.#isNew(message_id) && !this.#requests.hear(message)) this.#handling.pass(message);
      return;
    }
    const piece = this.#window.take(position, message_id);
    if (!piece) return;
    const came = this.#direct?.had(message_id); // from its sender, already
    if (came || this.#requests.hear(message)) this.#window.handled(piece);
    else this.#handling.keep(message, () => this.#window.handled(piece));
  }

  #news(position: number, name: string, tell: () => void): void {
    const piece = this.#window.take(position, name);
    if (!piece) return;
    tell();
    this.#window.handled(piece);
  }

  #isNew(messageId: string): boolean {
    if (this.#passed.has(messageId)) return false;
    this.#passed.add(messageId);
    const [oldest] = this.#passed;
    if (this.#passed.size > rememberedPassing && oldest !== undefined) this.#passed.delete(oldest);
    return true;
  }

  async #refuse(messageId: string, reason: string | undefined): Promise<void> {
    const refusal: ClientPacket<'federation:message:refuse'> = {
      message_id: messageId,
      ...(reason && { reason: reason.slice(0, reasonLength) }),
    };
    await this.#sender.send('federation:message:refuse', refusal, Number.POSITIVE_INFINITY); // until the hub knows, or this node is closed
  }
}
