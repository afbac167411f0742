/**
 * Suspicion by phi accrual (Hayashibara et al., 2004): how unlikely is a silence this long, given the rhythm a node has shown?
 * Phi 1 means one in ten, phi 8 one in a hundred million. Pure arithmetic over times that the caller gives.
 */

/** Intervals remembered of each node. */
const window = 64;

export interface Rhythm {
  /** Expected interval before a node has shown its own, milliseconds. */
  readonly intervalMs: number;
  /** Silence forgiven on top of the rhythm: pauses of garbage collectors, networks and this hub. */
  readonly pauseMs: number;
}

export class PhiAccrual {
  readonly #rhythm: Rhythm;
  readonly #intervals: number[] = [];
  #next = 0;
  #sum = 0;
  #squares = 0;
  #last: number;

  /** @param now on a clock that never goes back, like all times given here */
  constructor(rhythm: Rhythm, now: number) {
    this.#rhythm = rhythm;
    this.#last = now;
  }

  /** When it was heard last. */
  get last(): number {
    return this.#last;
  }

  /** It was heard. */
  heard(now: number): void {
    const interval = Math.max(0, now - this.#last);
    this.#last = now;
    // A long absence says nothing of the rhythm.
    if (interval > this.#rhythm.intervalMs * 4 + this.#rhythm.pauseMs) return;
    const forgotten = this.#intervals[this.#next] ?? 0;
    this.#intervals[this.#next] = interval;
    this.#next = (this.#next + 1) % window;
    this.#sum += interval - forgotten;
    this.#squares += interval ** 2 - forgotten ** 2;
  }

  /** Starts to wait anew from `now`, keeping the rhythm. */
  forgive(now: number): void {
    this.#last = now;
  }

  /** Suspicion at `now`, 0 to 300. */
  phi(now: number): number {
    const { mean, deviation } = this.#shape();
    const late = now - this.#last - mean - this.#rhythm.pauseMs;
    return Math.min(300, -log10Tail(late / deviation));
  }

  /** Mean and deviation, with the expected interval counted in as a few observations so that a young rhythm is not trusted. */
  #shape(): { mean: number; deviation: number } {
    const prior = 4;
    const { intervalMs } = this.#rhythm;
    const count = this.#intervals.length + prior;
    const mean = (this.#sum + prior * intervalMs) / count;
    const variance = (this.#squares + prior * intervalMs ** 2) / count - mean ** 2;
    return { mean, deviation: Math.max(Math.sqrt(Math.max(0, variance)), intervalMs * 0.15) };
  }
}

/** log10 of the upper tail of the standard normal distribution: exact enough near 0, asymptotic far out. */
function log10Tail(z: number): number {
  if (z <= 0) return Math.log10(1 - 0.5 * erfc(-z / Math.SQRT2));
  if (z < 5) return Math.log10(0.5 * erfc(z / Math.SQRT2));
  // Q(z) ~ φ(z)/z: erfc underflows out there, its logarithm does not.
  return (-(z ** 2) / 2 - Math.log(z * Math.sqrt(2 * Math.PI))) / Math.LN10;
}

/** Complementary error function for x ≥ 0 (Abramowitz and Stegun 7.1.26 with a relative form), good to 1e-7. */
function erfc(x: number): number {
  const t = 1 / (1 + 0.5 * x);
  const poly =
    -1.26551223 +
    t *
      (1.00002368 +
        t *
          (0.37409196 +
            t *
              (0.09678418 +
                t *
                  (-0.18628806 +
                    t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277))))))));
  return t * Math.exp(-x * x + poly);
}
