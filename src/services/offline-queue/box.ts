/** One mailbox: letters by position, the oldest first, and room that was promised to messages on their way into the log. */
import type { Letter } from './mailroom.ts';

/** Messages that wait for one node at most, and their bytes. */
export const mostMessages = 1_000;
export const mostBytes = 64 * 1024 * 1024;

/** Letters besides messages; beyond these the oldest goes. They are few: each follows from something that the node itself did. */
export const mostOthers = 10_000;

export class Box {
  /** The node has all of its mail up to here. */
  through = 0;
  #letters: Letter[] = [];
  #messages = 0;
  #bytes = 0;
  /** Bytes by message. */
  readonly #reserved = new Map<string, number>();
  #reservedBytes = 0;

  get size(): number {
    return this.#letters.length;
  }

  /** Of messages. */
  get bytes(): number {
    return this.#bytes;
  }

  get messages(): number {
    return this.#messages;
  }

  /** Nothing is in it, and nothing on its way. */
  get idle(): boolean {
    return this.#letters.length === 0 && this.#reserved.size === 0;
  }

  /** A copy, the oldest first. */
  all(): Letter[] {
    return [...this.#letters];
  }

  has(position: number): boolean {
    return this.#letters[this.#placeAfter(position) - 1]?.position === position;
  }

  /** The oldest after a position, at most `limit`. */
  after(position: number, limit: number): Letter[] {
    const from = this.#placeAfter(position);
    return this.#letters.slice(from, from + limit);
  }

  /** The oldest after a position that are no messages, at most `limit`. */
  noticesAfter(position: number, limit: number): Letter[] {
    const notices: Letter[] = [];
    for (let at = this.#placeAfter(position); at < this.#letters.length && notices.length < limit; at++)
      if (this.#letters[at]!.kind !== 'message') notices.push(this.#letters[at]!);
    return notices;
  }

  /** The position of the newest that lies at or before this one. */
  lastUpTo(position: number): number | undefined {
    return this.#letters[this.#placeAfter(position) - 1]?.position;
  }

  /** How many lie up to a position, and the bytes of their messages. */
  upTo(position: number): { letters: number; bytes: number } {
    const letters = this.#placeAfter(position);
    let bytes = 0;
    for (let at = 0; at < letters; at++) bytes += this.#letters[at]!.bytes;
    return { letters, bytes };
  }

  /** False when there is no room for one more message. */
  reserve(messageId: string, bytes: number): boolean {
    if (this.#reserved.has(messageId)) return true;
    if (this.#messages + this.#reserved.size >= mostMessages) return false;
    if (this.#bytes + this.#reservedBytes + bytes > mostBytes) return false;
    this.#reserved.set(messageId, bytes);
    this.#reservedBytes += bytes;
    return true;
  }

  release(messageId: string): void {
    this.#reservedBytes -= this.#reserved.get(messageId) ?? 0;
    this.#reserved.delete(messageId);
  }

  /** Answers what had to leave for it; undefined for one that is in already, or was fetched. */
  put(letter: Letter): Letter[] | undefined {
    const last = this.#letters.at(-1)?.position ?? 0;
    if (letter.position <= this.through || letter.position <= last) return undefined;
    this.#letters.push(letter);
    this.#count(letter, 1);
    if (letter.kind === 'message' || this.#letters.length - this.#messages <= mostOthers) return [];
    const oldest = this.#letters.find(({ kind }) => kind !== 'message')!; // `letter` itself at the latest
    this.remove(oldest.position);
    return [oldest];
  }

  /** The node has everything up to here. Answers what left the mailbox. */
  deliver(through: number): Letter[] {
    if (through <= this.through) return [];
    this.through = through;
    const gone = this.#letters.splice(0, this.#placeAfter(through));
    for (const letter of gone) this.#count(letter, -1);
    return gone;
  }

  /** Undefined when there is none at this position. */
  remove(position: number): Letter | undefined {
    const place = this.#placeAfter(position) - 1;
    const letter = this.#letters[place];
    if (letter?.position !== position) return undefined;
    this.#letters.splice(place, 1);
    this.#count(letter, -1);
    return letter;
  }

  /** How many letters lie at or before a position. */
  #placeAfter(position: number): number {
    let [low, high] = [0, this.#letters.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#letters[middle]!.position <= position) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #count({ kind, bytes }: Letter, by: 1 | -1): void {
    if (kind !== 'message') return;
    this.#messages += by;
    this.#bytes += by * bytes;
  }
}
