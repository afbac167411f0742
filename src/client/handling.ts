/** Hands messages to the program: those of one sender one after another, again when its handler failed, and at last refused. */
import type { HubPacket } from '../protocol.ts';
import type { NodeClock } from './clock.ts';
import { HubUnreachable } from './connection.ts';
import { Lanes, Slots } from './lanes.ts';
import { type ReceivedMessage, type ReceivedParts, receivedMessage } from './received-message.ts';

/** Has handled a message when what it returns has settled. One that throws is tried again; at last the message is refused. */
export type MessageHandler = (message: ReceivedMessage) => unknown;

export interface MessagesOptions {
  /** Messages handled at once, 1 to 1,000; those of one sender still come one after another. Default 1. */
  readonly concurrency?: number;
}

export interface HandlingParts extends ReceivedParts {
  readonly clock: NodeClock;
  /** Somebody listens to the event `message`. */
  listens(): boolean;
  /** Emits the event `message`. */
  tell(message: ReceivedMessage): void;
  trouble(error: Error): void;
}

/** Waits between the tries of one message. */
const tryAgainMs = [1_000, 2_000, 4_000] as const;
/** Messages that are not kept and wait for their turn; of more, the newest are let go. */
const mostPassing = 1_000;
const reasonLength = 512;

export class Handling {
  readonly #parts: HandlingParts;
  readonly #lanes = new Lanes();
  readonly #slots = new Slots(0);
  #handler: MessageHandler | undefined;
  #concurrency = 1;
  #draining = false;
  #closed = false;
  #passing = 0;
  /** Call off what waits to try again. */
  readonly #cancels = new Set<() => void>();
  #idle: (() => void)[] = [];

  constructor(parts: HandlingParts) {
    this.#parts = parts;
  }

  /** From now on this handler gets the messages, and no other. What is returned takes it away again. Throws `TypeError`. */
  take(handler: MessageHandler, { concurrency = 1 }: MessagesOptions): () => void {
    if (typeof handler !== 'function') throw new TypeError('a handler of messages is a function'); // else each would be refused
    if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > 1_000)
      throw new TypeError('concurrency is a whole number from 1 to 1,000');
    this.#handler = handler;
    this.#concurrency = concurrency;
    this.#draining = false;
    this.open();
    return () => {
      if (this.#handler === handler) this.#handler = undefined;
      this.open();
    };
  }

  /** Who takes messages may have changed. Those that wait for somebody are handed over. */
  open(): void {
    const most = this.#handler ? this.#concurrency : this.#parts.listens() ? Number.POSITIVE_INFINITY : 0;
    this.#slots.resize(this.#draining ? 0 : most);
  }

  /** Takes a message that is kept, and says when it need not come again. It waits for somebody who takes it, for ever if there is none. */
  keep(message: HubPacket<'federation:message'>, handled: () => void): void {
    void this.#lanes.run(message.from, () => this.#handle(message, handled));
  }

  /** Takes a message that is not kept: when nobody is there, or it fails, that was it. */
  pass(message: HubPacket<'federation:message'>): void {
    if (this.#draining || !this.#taker() || this.#passing >= mostPassing) return;
    this.#passing++;
    const received = receivedMessage(message, this.#parts);
    // Those that are kept may wait for a second try; these do not wait for them.
    void this.#lanes.run(`passing ${message.from}`, async () => {
      const failed = await this.#once(received);
      this.#passing--;
      if (failed) this.#failed(message, failed.error, 'could not be handled');
      this.#leave();
    });
  }

  /** Hands over nothing more; resolves when what is under way is over, or after `ms`. */
  async drain(ms: number): Promise<void> {
    this.#draining = true;
    this.open();
    if (this.#slots.taken === 0) return;
    await new Promise<void>((resolve) => {
      const cancel = this.#parts.clock.after(ms, resolve);
      this.#idle.push(() => {
        cancel();
        resolve();
      });
    });
  }

  close(): void {
    this.#closed = true;
    this.#draining = true;
    this.open();
    for (const cancel of this.#cancels) cancel();
    for (const tell of this.#idle.splice(0)) tell();
  }

  async #handle(message: HubPacket<'federation:message'>, handled: () => void): Promise<void> {
    let refusal: Promise<void> | undefined;
    const received = receivedMessage(message, {
      ...this.#parts,
      refuse: (id, reason) => {
        refusal ??= this.#parts.refuse(id, reason);
        refusal.catch(() => {}); // told below, also when the handler does not wait for it
        return refusal;
      },
    });
    for (let failures = 0; ; failures++) {
      const failed = await this.#once(received);
      if (failed && (refusal || failures === tryAgainMs.length)) {
        this.#failed(message, failed.error, 'could not be handled, and is refused');
        received.refuse(reasonOf(failed.error)).catch(() => {}); // told below
      }
      if (refusal ? await this.#refused(message, refusal) : !failed) {
        handled();
        return this.#leave();
      }
      this.#leave(); // others go on meanwhile
      if (refusal || this.#closed) return;
      await this.#wait(tryAgainMs[failures]!); // as above
    }
  }

  /** Hands a message over once, when it is its turn and somebody is there; then it has a place, which is to be left. Answers what the handler threw. */
  async #once(received: ReceivedMessage): Promise<{ error: unknown } | undefined> {
    for (;;) {
      await this.#slots.take();
      const taker = this.#taker();
      if (taker) {
        try {
          await taker(received);
          return undefined;
        } catch (error) {
          return { error };
        }
      }
      this.#leave();
    }
  }

  #leave(): void {
    this.open(); // whoever listened once is gone
    this.#slots.leave();
    if (this.#slots.taken === 0) for (const tell of this.#idle.splice(0)) tell();
  }

  #taker(): MessageHandler | undefined {
    if (this.#handler) return this.#handler;
    return this.#parts.listens() ? this.#parts.tell : undefined;
  }

  /** Whether the hub knows that the message is refused, or will not hear of it. False: this node is closed, and it comes to the next. */
  async #refused(message: HubPacket<'federation:message'>, refusal: Promise<void>): Promise<boolean> {
    try {
      await refusal;
    } catch (error) {
      if (error instanceof HubUnreachable) return false;
      this.#failed(message, error, 'could not be refused');
    }
    return true;
  }

  #failed({ message_id, from }: HubPacket<'federation:message'>, cause: unknown, what: string): void {
    this.#parts.trouble(new Error(`message ${message_id} of ${from} ${what}: ${cause}`, { cause }));
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#parts.clock.after(ms, () => {
        this.#cancels.delete(cancel);
        resolve();
      });
      this.#cancels.add(cancel);
    });
  }
}

function reasonOf(error: unknown): string {
  const said = error instanceof Error ? error.message : String(error);
  return said.slice(0, reasonLength) || 'the handler failed';
}
