/** The messages that a node sends: those to one address one after another, each under a key, so that it is sent once. */
import { randomUUID } from 'node:crypto';
import type { Ack, ClientPacket } from '../protocol.ts';
import { HubRefusal, HubUnreachable } from './connection.ts';
import { Lanes, Slots } from './lanes.ts';
import { isPassing } from './retry.ts';
import type { Line, Sender } from './sender.ts';

type NewMessage = ClientPacket<'federation:message'>;

/** The id of a node; or a node, an entity, a channel, or everyone. */
export type Destination = string | NewMessage['to'];

export interface SendOptions {
  /** Kept until it is fetched or expires (the default), or for whoever is there now. */
  readonly persist?: boolean;
  /** Seconds after which it expires, up to 30 days; the hub's default is seven days. */
  readonly ttlSeconds?: number;
  /** What it belongs to; an answer has that of the question. */
  readonly correlationId?: string;
  /** Where an answer is to go, when not to this node. */
  readonly replyTo?: Destination;
  /** Makes the message known: sent again under the same key, it is the same message. Default: a random one. */
  readonly key?: string;
  /** How long to go on trying while the hub is away or busy. Default one minute. */
  readonly timeoutMs?: number;
}

/** The hub has the message. */
export interface Sent {
  readonly messageId: string;
  /** Its place in the log; of what is kept. */
  readonly position?: number;
  /** How many connections got it; of what is not kept. */
  readonly delivered?: number;
  /** Members of the channel, or of the federation, whose mailboxes are full: it is not for them. */
  readonly without?: readonly string[];
}

/** Another way than the hub. */
export interface Detour {
  /** Whether a message goes this way now: the hub is silent, and whom it is for can be reached without it. */
  takes(packet: NewMessage): boolean;
  /** Keeps it for good and sends it. Throws `HubRefusal`. */
  send(packet: NewMessage): Promise<Sent>;
  /** What went this way before to the same address is at the hub, or the hub is silent: what comes later does not overtake it. At most so long. */
  settled(packet: NewMessage, ms: number): Promise<void>;
}

export const defaultTimeoutMs = 60_000;
/** Of the content as JSON, as the hub counts. */
const contentBytes = 256 * 1024;
/** Of what stands around it; with more, the packet would be larger than the hub takes, which ends the connection. */
const aroundBytes = 32 * 1024;
const mostUnderWay = 64;
/** Messages that are sent or wait for it. */
const mostWaiting = 10_000;
const mostWaitingBytes = 64 * 1024 * 1024;

export class Outbox {
  readonly #line: Line;
  readonly #sender: Sender;
  readonly #lanes = new Lanes();
  readonly #slots = new Slots(mostUnderWay);
  #waiting = 0;
  #waitingBytes = 0;
  /** One outbox decides which way each message goes, so that none goes both. */
  detour: Detour | undefined;

  constructor(line: Line, sender: Sender) {
    this.#line = line;
    this.#sender = sender;
  }

  /**
   * Resolves when the hub has it. Throws `HubRefusal`; `HubUnreachable` when the hub could not be asked in time: whether it was
   * sent is not known then, and sending it again under the same key is harmless; `TypeError` for what is not JSON.
   */
  async send(to: Destination, content: unknown, options: SendOptions = {}): Promise<Sent> {
    const { packet, bytes } = packetOf(to, content, options);
    if (this.#waiting >= mostWaiting || this.#waitingBytes + bytes > mostWaitingBytes)
      throw new HubRefusal('overloaded', `${this.#waiting} messages of this node wait to be sent`);
    this.#waiting++;
    this.#waitingBytes += bytes;
    return this.#queue(packet, options.timeoutMs ?? defaultTimeoutMs, () => {
      this.#waiting--;
      this.#waitingBytes -= bytes;
    });
  }

  /** Waits for those before it to the same address, and for a place; what has not begun in time is not sent. */
  #queue(packet: NewMessage, timeoutMs: number, over: () => void): Promise<Sent> {
    const { clock } = this.#line;
    const until = clock.monotonicMs() + timeoutMs;
    let state: 'waits' | 'begun' | 'late' = 'waits';
    return new Promise<Sent>((resolve, reject) => {
      const cancel = clock.after(timeoutMs, () => {
        if (state !== 'waits') return;
        state = 'late';
        reject(new HubUnreachable(`the message could not be sent within ${timeoutMs} ms`));
      });
      const job = async () => {
        await this.#slots.take();
        try {
          if (state === 'late') return;
          state = 'begun';
          resolve(await this.#send(packet, until - clock.monotonicMs()));
        } finally {
          this.#slots.leave();
        }
      };
      const ended = () => {
        cancel();
        over();
      };
      this.#lanes.run(JSON.stringify(packet.to), job).catch(reject).finally(ended);
    });
  }

  async #send(packet: NewMessage, patienceMs: number): Promise<Sent> {
    const { clock } = this.#line;
    const until = clock.monotonicMs() + patienceMs;
    await this.detour?.settled(packet, patienceMs);
    const turned = () => this.detour?.takes(packet) === true;
    if (turned()) return this.detour!.send(packet); // as just seen
    let sent: Ack<'federation:message'>;
    try {
      sent = await this.#sender.send('federation:message', packet, until - clock.monotonicMs(), turned);
    } catch (error) {
      // Whether the hub has it is not known: under its key it is the same message there, and at who gets it twice.
      if (isPassing(error) && turned()) return this.detour!.send(packet);
      throw error;
    }
    const { message_id, position, delivered, without } = sent;
    return {
      messageId: message_id,
      ...(position !== undefined && { position }),
      ...(delivered !== undefined && { delivered }),
      ...(without && { without }),
    };
  }
}

export function addressOf(to: Destination): NewMessage['to'] {
  return typeof to === 'string' ? { node: to } : to;
}

/** As JSON has it: no bytes, no functions, and nothing that the program changes while the message waits. */
function packetOf(
  to: Destination,
  content: unknown,
  { persist, ttlSeconds, correlationId, replyTo, key = randomUUID() }: SendOptions,
): { packet: NewMessage; bytes: number } {
  const text = JSON.stringify(content) as string | undefined; // of what JSON does not know
  if (text === undefined) throw new TypeError('the content of a message is JSON');
  const bytes = Buffer.byteLength(text);
  if (bytes > contentBytes)
    throw new HubRefusal('payload_too_large', 'a message holds 256 KiB; what is larger is sent as a file');
  const around = {
    to: { ...addressOf(to) },
    ...(persist !== undefined && { persist }),
    ...(ttlSeconds !== undefined && { ttl_seconds: ttlSeconds }),
    ...(correlationId !== undefined && { correlation_id: correlationId }),
    ...(replyTo !== undefined && { reply_to: addressOf(replyTo) }),
    key,
  };
  if (Buffer.byteLength(JSON.stringify(around)) > aroundBytes)
    throw new HubRefusal('payload_too_large', `a message holds ${aroundBytes} bytes besides its content`);
  return { packet: { ...around, content: JSON.parse(text) }, bytes };
}
