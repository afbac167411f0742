/**
 * The law of an allowance, a token bucket: what was used leaks away evenly, a minute's allowance a minute; what does not fit is
 * not taken, and waits.
 *
 * Levels are counted in 1/60000 of a unit, of which exactly `allowed` leak in a millisecond: whole numbers, so the law is exact
 * here as in Redis (`script.ts`), up to 75 GB a minute.
 */

/** The window of every allowance. */
export const windowMs = 60_000;

/** Parts of a unit that a level counts in: as many as the window has milliseconds. */
export const parts = 60_000;

export interface Bucket {
  /** What is used and has not leaked yet, in parts. */
  level: number;
  /** The moment that `level` is of; whole milliseconds of a clock that does not go back. */
  atMs: number;
}

/** Lets leak what is due by now; answers the level. More than two minutes' worth is forgotten, as after a cut allowance. */
export function leak(bucket: Bucket, allowed: number, nowMs: number): number {
  const elapsedMs = nowMs - bucket.atMs;
  const most = 2 * allowed * parts;
  if (elapsedMs > 0) {
    bucket.level = Math.max(0, Math.min(bucket.level, most) - elapsedMs * allowed);
    bucket.atMs = nowMs;
  } else if (bucket.level > most) bucket.level = most;
  return bucket.level;
}

/** Milliseconds until so many units fit; 0 when they fit now. */
export function waitFor(level: number, amount: number, allowed: number): number {
  const over = level + amount * parts - allowed * parts;
  return over > 0 ? Math.ceil(over / allowed) : 0;
}

/** Adds to the level, or takes from it; never below nothing, never above two minutes' worth: a minute of debt. */
export function add(bucket: Bucket, amount: number, allowed: number): void {
  bucket.level = Math.max(0, Math.min(bucket.level + amount * parts, 2 * allowed * parts));
}
