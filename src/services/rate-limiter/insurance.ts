/** What rate-limiter-flexible asks when Redis fails under it: the bucket that is here. */
import { RateLimiterCompatibleAbstract, RateLimiterRes } from 'rate-limiter-flexible';
import type { Count } from './accounts.ts';
import { add, leak, parts, waitFor } from './bucket.ts';

/** An answer out of the bucket that is here. */
export class Insured extends RateLimiterRes {}

interface Options {
  readonly [option: string]: unknown;
  readonly count?: Count;
}

export class Insurance extends RateLimiterCompatibleAbstract {
  override readonly keyPrefix = '';
  override blockDuration = 0;
  override execEvenly = false;
  readonly #nowMs: () => number;
  readonly #used: () => void;

  /** `used` is told each time that it stands in. */
  constructor(nowMs: () => number, used: () => void) {
    super();
    this.#nowMs = nowMs;
    this.#used = used;
  }

  override async consume(_key: string | number, points = 1, options: Options = {}): Promise<RateLimiterRes> {
    const count = this.#countOf(options);
    const waitMs = waitFor(count.level, points, count.allowed);
    if (waitMs > 0) throw new Insured(0, waitMs, Math.ceil(count.level / parts) + points);
    add(count, points, count.allowed);
    count.untold += points;
    return answerOf(count);
  }

  /** It was spent from the bucket here already. */
  override async penalty(_key: string | number, _points = 1, options: Options = {}): Promise<RateLimiterRes> {
    return answerOf(this.#countOf(options));
  }

  /** It was given back to the bucket here already. */
  override reward(key: string | number, points = 1, options: Options = {}): Promise<RateLimiterRes> {
    return this.penalty(key, points, options);
  }

  #countOf({ count }: Options): Count {
    if (!count) throw new TypeError('a bucket was asked for without its count');
    this.#used();
    leak(count, count.allowed, this.#nowMs());
    return count;
  }
}

function answerOf({ level, allowed }: Count): RateLimiterRes {
  const used = Math.ceil(level / parts);
  return new Insured(Math.max(0, allowed - used), Math.ceil(level / allowed), used);
}
