/**
 * Did whoever fetches take all of an answer? That bytes went out says that the system took them. What is known besides is how the
 * connection ends: whoever is told `Connection: close` closes it after the last byte, in order; who breaks off while bytes wait for it
 * resets it; and who is gone does neither.
 */
import type { ServerResponse } from 'node:http';
import { Transform } from 'node:stream';
import type { Kernel } from '../../kernel.ts';

/** How long it may take to close the connection after all went out. */
const patienceMs = 60_000;

/** So many bytes for an answer, whose end is held back until the connection is closed, for a minute at most. */
export class AwaitedEnd extends Transform {
  readonly #kernel: Kernel;
  readonly #answer: ServerResponse;
  #left: number;
  /** The connection was closed in order when nothing was left to send. */
  taken = false;

  constructor(kernel: Kernel, answer: ServerResponse, bytes: number) {
    super();
    this.#kernel = kernel;
    this.#answer = answer;
    this.#left = bytes;
    answer.socket?.once('end', () => {
      this.taken = this.#left === 0 && this.readableLength === 0 && answer.writableLength === 0;
    });
  }

  override _transform(chunk: Buffer, _encoding: string, done: (error: null, chunk: Buffer) => void): void {
    this.#left -= chunk.length;
    done(null, chunk);
  }

  override _flush(done: () => void): void {
    this.#answer.once('close', this.#kernel.after(patienceMs, done));
  }
}
