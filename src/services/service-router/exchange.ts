/** One call through the socket of a node, as the replica sees it that makes it: what the node answers becomes a stream again. */
import { Readable } from 'node:stream';
import { InOrder, partBytes } from '../../call-parts.ts';
import type { Kernel } from '../../kernel.ts';
import type { ClientPacket } from '../../protocol.ts';
import { CallFailed } from './call.ts';

export type AnswerPart = ClientPacket<'federation:response'>;
export type AnswerHead = NonNullable<AnswerPart['head']>;

/** Held of an answer that its reader has not taken yet. */
const heldBytes = 2 * partBytes;
/** Silence in the middle of an answer whose reader waits. */
const idleMs = 60_000;

export class Exchange {
  readonly nodeId: string;
  /** Rejects when the call fails before the answer begins. */
  readonly head: Promise<AnswerHead>;
  /** Must be read or destroyed. */
  readonly body: Readable;
  readonly #kernel: Kernel;
  readonly #order = new InOrder<AnswerPart>();
  readonly #begin: (head: AnswerHead) => void;
  readonly #refuse: (error: Error) => void;
  /** Parts that are acknowledged when there is room again. */
  #waiting: (() => void)[] = [];
  #begun = false;
  #complete = false;
  #heardMs: number;

  /** `over` is told once, and whether the node still has to hear of it. */
  constructor(nodeId: string, kernel: Kernel, over: (early: boolean) => void) {
    this.nodeId = nodeId;
    this.#kernel = kernel;
    this.#heardMs = kernel.monotonicMs();
    const settle: { resolve?: (head: AnswerHead) => void; reject?: (error: Error) => void } = {};
    this.head = new Promise((resolve, reject) => Object.assign(settle, { resolve, reject }));
    this.#begin = settle.resolve!; // a Promise runs its executor at once
    this.#refuse = settle.reject!;
    this.head.catch(() => {}); // whoever waits for it hears of it
    this.body = new Readable({
      highWaterMark: heldBytes,
      read: () => this.#makeRoom(),
      destroy: (error, done) => {
        this.#makeRoom();
        over(!this.#complete);
        done(error);
      },
    });
    this.body.on('error', () => {});
  }

  /** Takes a part. Resolves when there is room for the next: with false when no more is wanted. */
  async take(part: AnswerPart): Promise<boolean> {
    if (this.body.destroyed) return false;
    this.#heardMs = this.#kernel.monotonicMs();
    const due = this.#order.take(part);
    const wrong = due ? due.map((each) => this.#apply(each)).find(Boolean) : 'its parts came in no order';
    if (wrong) this.fail(new CallFailed('target_unreachable', wrong));
    if (due && due.length > 1) this.#makeRoom(); // for those that came early
    const waits = () => this.#order.isEarly(part) || this.body.readableLength >= heldBytes;
    while (waits() && !this.#complete && !this.body.destroyed)
      await new Promise<void>((room) => this.#waiting.push(room));
    return !this.body.destroyed && !this.#complete;
  }

  fail(error: Error): void {
    this.#refuse(error);
    this.body.destroy(error);
  }

  /** Gives up a node that says nothing while its answer is waited for. */
  look(): void {
    const silentMs = this.#kernel.monotonicMs() - this.#heardMs;
    if (this.#begun && this.body.readableLength === 0 && silentMs > idleMs)
      this.fail(new CallFailed('target_timeout', `it said nothing for ${idleMs / 1000} s`));
  }

  /** What is wrong with a part; undefined when nothing is. */
  #apply({ head, chunk, end, error }: AnswerPart): string | undefined {
    if (this.#complete) return 'it went on after the end';
    if (error !== undefined) return `it failed: ${error}`;
    if (head) {
      if (this.#begun) return 'it answered twice';
      this.#begun = true;
      this.#begin(head);
    }
    if (!this.#begun) return 'it sent bytes before a head';
    if (chunk) {
      if (chunk.byteLength > partBytes) return `it sent more than ${partBytes} bytes at once`;
      this.body.push(chunk);
    }
    if (end) {
      this.#complete = true;
      this.body.push(null);
    }
    return undefined;
  }

  #makeRoom(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const room of waiting) room();
  }
}
