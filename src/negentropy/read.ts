/** Messages of Negentropy v1 as they come in: read whole, checked whole, before anything is done about them. */
import { type Bound, compareBounds, infinity, origin } from './bound.ts';
import { fingerprintBytes, idBytes, latestTimestamp } from './item-set.ts';

/** The first byte of every message: version 1. */
export const version = 0x61;

/** The bytes are no message of this protocol, or one that no honest peer sends: whoever sent it made a mistake or means ill. */
export class BadFrame extends TypeError {
  override readonly name = 'BadFrame';
}

/** What the other side says of the items from `lower` up to `upper`. */
export type Range = { readonly lower: Bound; readonly upper: Bound } & (
  | { readonly mode: 'skip' }
  | { readonly mode: 'fingerprint'; readonly fingerprint: Uint8Array }
  /** The ids, 32 bytes each, one after the other: a view of the message. */
  | { readonly mode: 'ids'; readonly ids: Uint8Array }
);

/**
 * The ranges of a message, in order, without gaps, from the first item to the last: at most one for three bytes of it.
 * Answers `other_version` for a message of a version of this protocol that is not 1. Throws BadFrame.
 */
export function readMessage(message: Uint8Array, mostBytes: number): readonly Range[] | 'other_version' {
  if (message.length > mostBytes) throw new BadFrame(`A message of ${message.length} bytes, of ${mostBytes} at most`);
  const reader = new Reader(message);
  const first = reader.bytes(1)[0]!;
  if (first !== version) {
    if (first < 0x60 || first > 0x6f) throw new BadFrame('The first byte is no version of the protocol');
    return 'other_version';
  }
  const ranges: Range[] = [];
  let lower = origin;
  while (!reader.isAtEnd) {
    if (lower.timestamp === Number.POSITIVE_INFINITY) throw new BadFrame('More bytes after the last range');
    const upper = readBound(reader, lower.timestamp);
    if (compareBounds(upper, lower) < 0) throw new BadFrame('A range ends before it begins');
    ranges.push(readRange(reader, lower, upper));
    lower = upper;
  }
  if (lower.timestamp !== Number.POSITIVE_INFINITY) ranges.push({ lower, upper: infinity, mode: 'skip' });
  return ranges;
}

function readBound(reader: Reader, timestampBefore: number): Bound {
  const encoded = reader.varint();
  const length = reader.varint();
  if (length > idBytes) throw new BadFrame('The id of a bound is longer than 32 bytes');
  const id = reader.bytes(length).slice(); // who asks keeps bounds; the message is a buffer of someone else
  if (encoded === 0) return infinity; // what id is given does not matter
  const timestamp = timestampBefore + encoded - 1;
  if (timestamp > latestTimestamp) throw new BadFrame('A timestamp is too late');
  return { timestamp, id };
}

function readRange(reader: Reader, lower: Bound, upper: Bound): Range {
  const mode = reader.varint();
  if (mode === 0) return { lower, upper, mode: 'skip' };
  if (mode === 1) return { lower, upper, mode: 'fingerprint', fingerprint: reader.bytes(fingerprintBytes) };
  if (mode === 2) return { lower, upper, mode: 'ids', ids: reader.bytes(reader.varint() * idBytes) };
  throw new BadFrame('A range of unknown mode');
}

class Reader {
  readonly #message: Uint8Array;
  #place = 0;

  constructor(message: Uint8Array) {
    this.#message = message;
  }

  get isAtEnd(): boolean {
    return this.#place === this.#message.length;
  }

  /** The next bytes, as a view. Asking for more than there are costs nothing: it is refused. */
  bytes(length: number): Uint8Array {
    const end = this.#place + length;
    if (end > this.#message.length) throw new BadFrame('The message ends too early');
    const bytes = this.#message.subarray(this.#place, end);
    this.#place = end;
    return bytes;
  }

  /** A number in base-128 digits, highest first, no zero before it; at most 2^53 - 1, so at most eight digits. */
  varint(): number {
    let value = 0;
    for (let digits = 1; digits <= 8; digits++) {
      const byte = this.bytes(1)[0]!;
      if (digits === 1 && byte === 128) throw new BadFrame('A number begins with a zero');
      value = value * 128 + (byte & 127);
      if (byte < 128) {
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
    }
    throw new BadFrame('A number is beyond 2^53');
  }
}
