/** Which bytes of a file are asked for: `Range` and `If-Range` of RFC 9110, one range at most. */
import { type Refusal, refuse } from '../../errors.ts';

export interface ByteRange {
  readonly start: number;
  /** Included. */
  readonly end: number;
}

/**
 * Undefined: all of it, also for what is no range of bytes and for several ranges, which may be asked for to have the same bytes sent many
 * times. Refuses `range_not_satisfiable` for what begins beyond the end.
 */
export function rangeOf(header: string | undefined, size: number): ByteRange | Refusal | undefined {
  const [, first = '', last = ''] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '') ?? [];
  if (first === '' && last === '') return undefined;
  if (first === '') return Number(last) === 0 ? beyond(size) : kept(Math.max(0, size - Number(last)), size - 1, size);
  if (last !== '' && Number(last) < Number(first)) return undefined; // no range by RFC 9110, 14.1.1
  return kept(Number(first), last === '' ? size - 1 : Number(last), size);
}

/** Whether `If-Range` holds: the very tag, as weak ones and dates prove nothing of bytes. */
export function ifRangeHolds(header: string, etag: string): boolean {
  return header.trim() === etag;
}

/** Whether `If-None-Match` names what would be sent. */
export function isKnown(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header.split(',').some((tag) => tag.trim() === '*' || tag.trim().replace(/^W\//, '') === etag);
}

function kept(start: number, end: number, size: number): ByteRange | Refusal {
  return start >= size ? beyond(size) : { start, end: Math.min(end, size - 1) };
}

function beyond(size: number): Refusal {
  return refuse('range_not_satisfiable', `the file has ${size} bytes`);
}
