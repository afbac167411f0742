/** Messages of Negentropy v1 as they go out: range after range, as long as they fit the frame. */
import { type Bound, compareBounds, infinity, origin, varintBytes, writeVarint } from './bound.ts';
import { fingerprintBytes, type ItemSet, idBytes } from './item-set.ts';
import { version } from './read.ts';

/** A range of the space of items, and the places of our own items that lie in it, `from` up to `to`. */
export interface Piece {
  readonly lower: Bound;
  readonly upper: Bound;
  readonly from: number;
  readonly to: number;
}

/** The most that a bound takes: a safe integer, the length of an id, an id. */
const boundBytes = 8 + 1 + idBytes;
/** The most that is needed to skip to a bound. */
const skipBytes = boundBytes + 1;
/** What `close` needs: a skip, and a fingerprint up to infinity, whose bound is two zeros. */
const closeBytes = skipBytes + 2 + 1 + fingerprintBytes;

/** In a frame of so many bytes there is always room for a fingerprint or for a list of one id, and to close it. */
export const leastFrameBytes = 256;

/** A message in the making. What lies between the pieces that are put in is skipped, as is what follows the last one. */
export class Frame {
  readonly #bytes: Uint8Array;
  readonly #spare: number;
  #length = 1;
  /** Where the range ends that was written last. */
  #at = origin;

  /** `closable`: keeps room for `close`. */
  constructor(mostBytes: number, closable: boolean) {
    this.#bytes = new Uint8Array(mostBytes);
    this.#bytes[0] = version;
    this.#spare = closable ? closeBytes : 0;
  }

  /** Puts in the fingerprint of a piece; answers what did not fit of it, which is nothing or all. */
  fingerprint(set: ItemSet, piece: Piece): Piece | undefined {
    if (this.#headBytes(piece.lower, piece.upper) + fingerprintBytes > this.#room) return piece;
    this.#head(piece.lower, piece.upper, 1);
    this.#append(set.fingerprint(piece.from, piece.to));
    return undefined;
  }

  /** Puts in the ids of a piece, as many as fit; answers the rest of the piece. */
  ids(set: ItemSet, piece: Piece): Piece | undefined {
    const count = piece.to - piece.from;
    const bytes = this.#headBytes(piece.lower, piece.upper) + varintBytes(count) + count * idBytes;
    if (bytes <= this.#room) {
      this.#list(set, piece);
      return undefined;
    }
    const fitting = Math.floor((this.#room - skipBytes - boundBytes - 1 - varintBytes(count)) / idBytes);
    if (fitting < 1 || count < 2) return piece;
    const to = piece.from + Math.min(fitting, count - 1);
    const upper = set.boundBefore(to);
    this.#list(set, { ...piece, to, upper });
    return { ...piece, from: to, lower: upper };
  }

  /** Ends the message with one fingerprint of all from `lower` on: it will be unlike the other side's, who then asks on. */
  close(lower: Bound, fingerprint: Uint8Array): void {
    this.#head(lower, infinity, 1);
    this.#append(fingerprint);
  }

  /** The message, in bytes of its own. */
  message(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  get #room(): number {
    return this.#bytes.length - this.#spare - this.#length;
  }

  #list(set: ItemSet, { lower, upper, from, to }: Piece): void {
    this.#head(lower, upper, 2);
    this.#length = writeVarint(this.#bytes, this.#length, to - from);
    this.#append(set.ids(from, to));
  }

  /** Bytes of a range without what it holds, and of the skip to it. */
  #headBytes(lower: Bound, upper: Bound): number {
    const skip = compareBounds(this.#at, lower) < 0 ? bytesOf(lower, this.#at.timestamp) + 1 : 0;
    return skip + bytesOf(upper, lower.timestamp) + 1;
  }

  #head(lower: Bound, upper: Bound, mode: number): void {
    if (compareBounds(this.#at, lower) < 0) this.#range(lower, 0);
    this.#range(upper, mode);
  }

  #range(upper: Bound, mode: number): void {
    const { timestamp, id } = upper;
    const encoded = encodedTimestamp(timestamp, this.#at.timestamp);
    this.#length = writeVarint(this.#bytes, this.#length, encoded);
    this.#length = writeVarint(this.#bytes, this.#length, id.length);
    this.#append(id);
    this.#length = writeVarint(this.#bytes, this.#length, mode);
    this.#at = upper;
  }

  #append(bytes: Uint8Array): void {
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }
}

const bytesOf = ({ timestamp, id }: Bound, timestampBefore: number): number =>
  varintBytes(encodedTimestamp(timestamp, timestampBefore)) + 1 + id.length;

const encodedTimestamp = (timestamp: number, timestampBefore: number): number =>
  timestamp === Number.POSITIVE_INFINITY ? 0 : timestamp - timestampBefore + 1;
