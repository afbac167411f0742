/** Places between items: where one range of a reconciliation ends and the next begins. */

/** A place in the order of items. It stands before every item that is not smaller than it. */
export interface Bound {
  /** Milliseconds, a safe integer; or Infinity, after all items. */
  readonly timestamp: number;
  /** As much of an id as is needed to tell two items of one timestamp apart, 0 to 32 bytes; the bytes left out count as 0. */
  readonly id: Uint8Array;
}

const none = new Uint8Array(0);

/** Before all items. */
export const origin: Bound = { timestamp: 0, id: none };
/** After all items. */
export const infinity: Bound = { timestamp: Number.POSITIVE_INFINITY, id: none };

/** Negative when `a` is before `b`, 0 when they are one place, positive when `a` is after it. */
export function compareBounds(a: Bound, b: Bound): number {
  if (a.timestamp !== b.timestamp) return a.timestamp < b.timestamp ? -1 : 1;
  return a.timestamp === Number.POSITIVE_INFINITY ? 0 : compareIds(a.id, b.id);
}

/** Compares ids or their beginnings byte by byte, as if both were filled up with zeros. */
function compareIds(a: Uint8Array, b: Uint8Array): number {
  const length = Math.max(a.length, b.length);
  for (let place = 0; place < length; place++) {
    const difference = (a[place] ?? 0) - (b[place] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** The earlier of two bounds. */
export const earlier = (a: Bound, b: Bound): Bound => (compareBounds(a, b) <= 0 ? a : b);
/** The later of two bounds. */
export const later = (a: Bound, b: Bound): Bound => (compareBounds(a, b) >= 0 ? a : b);

/** Bytes that a number takes on the wire, as base-128 digits. */
export function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) bytes++;
  return bytes;
}

/** Writes a number, its highest base-128 digit first, and answers the place after it. Takes safe integers from 0. */
export function writeVarint(bytes: Uint8Array, place: number, value: number): number {
  const end = place + varintBytes(value);
  let rest = value;
  for (let at = end - 1; at >= place; at--) {
    bytes[at] = (rest % 128) + (at === end - 1 ? 0 : 128);
    rest = Math.floor(rest / 128);
  }
  return end;
}
