/** The law of an allowance in words, counted in whole numbers of any size: what the bucket here and the one in Redis are held against. */
import fc from 'fast-check';

/** What may happen to a bucket: so many milliseconds pass, and then something is taken, spent or given back. */
export const steps = fc.array(
  fc.record({
    passMs: fc.oneof(fc.nat(50), fc.nat(5_000), fc.nat(200_000)),
    what: fc.constantFrom('take', 'take', 'take', 'spend', 'give back'),
    amount: fc.oneof(fc.nat(3), fc.nat(200)),
  }),
  { maxLength: 60 },
);
type Step = typeof steps extends fc.Arbitrary<(infer S)[]> ? S : never;

/** The same law in words: so much is used, `allowed` of it leaks in a minute, evenly. */
export class Model {
  #used = 0n; // in 1/60000
  readonly #allowed: bigint;

  constructor(allowed: number) {
    this.#allowed = BigInt(allowed);
  }

  /** Answers how long to wait; 0 when it was done. */
  step({ passMs, what, amount }: Step): number {
    const [whole, most] = [this.#allowed * 60_000n, 2n * this.#allowed * 60_000n];
    this.#used = larger(0n, this.#used - BigInt(passMs) * this.#allowed);
    const units = BigInt(amount) * 60_000n;
    if (what === 'give back') this.#used = larger(0n, this.#used - units);
    else if (what === 'spend') this.#used = this.#used + units > most ? most : this.#used + units;
    else if (this.#used + units > whole) {
      const over = this.#used + units - whole;
      return Number((over + this.#allowed - 1n) / this.#allowed);
    } else this.#used += units;
    return 0;
  }

  get level(): number {
    return Number(this.#used);
  }
}

const larger = (a: bigint, b: bigint) => (a > b ? a : b);
