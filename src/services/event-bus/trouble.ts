/** How long is borne with a receiver that does not take its events: waits that grow, and an end. */

/** Failures in a row, as a job remembers them. */
export interface Trouble {
  readonly failures: number;
  /** When the first was, milliseconds since 1970. */
  readonly since: number;
}

const retry = { firstMs: 1_000, mostMs: 5 * 60_000 };
const giveUp = { failures: 100, ms: 24 * 3_600_000 };

/**
 * What one more failure means. `againMs`: so long to wait, not less than the receiver asked for; undefined: it is given up.
 * `chance` is in [0, 1).
 */
export function oneMore(
  before: Trouble | undefined,
  { now, chance, retryAfterMs = 0 }: { now: number; chance: number; retryAfterMs: number | undefined },
): { readonly trouble: Trouble; readonly againMs: number | undefined } {
  const trouble: Trouble = { failures: (before?.failures ?? 0) + 1, since: before?.since ?? now };
  const { failures, since } = trouble;
  if (failures >= giveUp.failures || now - since >= giveUp.ms) return { trouble, againMs: undefined };
  const backoffMs = Math.min(retry.mostMs, retry.firstMs * 2 ** (failures - 1)) * (0.75 + chance / 2);
  return { trouble, againMs: Math.round(Math.max(backoffMs, retryAfterMs)) };
}
