/** Minutes of the wall clock, by which refusals and reads are counted. */

/** The minute that a moment lies in, counted from 1970. */
export function minuteOf(ms: number): number {
  return Math.floor(ms / 60_000);
}
