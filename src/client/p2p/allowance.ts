/** How much of what other nodes bring is looked at: so many envelopes a second of each, so that one that floods harms nobody else. */
import type { NodeClock } from '../clock.ts';

/** Envelopes of one node, a second, and at once after a rest. Two signatures and a seal each: some milliseconds. */
export const envelopesInSecond = 100;
const envelopesAtOnce = 1_000;

export class Allowance {
  readonly #clock: Pick<NodeClock, 'monotonicMs'>;
  /** What is left, and when that was so. Two a member at most: what it wrote, and what it carries. */
  readonly #left = new Map<string, { readonly count: number; readonly atMs: number }>();

  constructor(clock: Pick<NodeClock, 'monotonicMs'>) {
    this.#clock = clock;
  }

  /** Whether so many more of it may be looked at now; then they count. */
  take(name: string, count: number): boolean {
    const atMs = this.#clock.monotonicMs();
    const known = this.#left.get(name) ?? { count: envelopesAtOnce, atMs };
    const left = Math.min(envelopesAtOnce, known.count + ((atMs - known.atMs) / 1_000) * envelopesInSecond);
    const fits = count <= left;
    this.#left.set(name, { count: fits ? left - count : left, atMs });
    return fits;
  }
}
