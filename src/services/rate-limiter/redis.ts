/**
 * The buckets that replicas share, in Redis. While it does not answer, each replica counts alone, at once and without an error, and goes
 * back to sharing when it answers again.
 */
import { Redis } from 'ioredis';
import { LRUCache } from 'lru-cache';
import { RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import type { Cancel, Kernel } from '../../kernel.ts';
import type { Count } from './accounts.ts';
import { parts, windowMs } from './bucket.ts';
import { Insurance, Insured } from './insurance.ts';
import type { SharedBuckets } from './limiter.ts';
import { bucketScript } from './script.ts';

/** One limiter for each kind and allowance; allowances of nodes' own make more than three of them. */
const mostLimiters = 500;
const windowSeconds = windowMs / 1000;
const commandTimeoutMs = 100;
const longestReconnectMs = 2_000;
/** How often a Redis that stopped answering is asked whether it does again. */
const probeMs = 1_000;

export class RedisBuckets implements SharedBuckets {
  readonly #redis: Redis;
  readonly #kernel: Kernel;
  readonly #tell: (present: boolean) => void;
  readonly #prefix: string;
  readonly #limiters = new LRUCache<string, RateLimiterRedis>({ max: mostLimiters });
  readonly #insurance: Insurance;
  readonly #stopProbing: Cancel;
  /** Undefined until it is known. */
  #present: boolean | undefined;
  #closed = false;

  /** Starts to connect, and waits for nothing. Keys start with `fedhub:{<federation id>}:`. `tell` hears whether Redis is there. */
  constructor(url: string, federationId: string, kernel: Kernel, tell: (present: boolean) => void = () => {}) {
    this.#tell = tell;
    this.#kernel = kernel;
    this.#prefix = `fedhub:{${federationId}}`;
    this.#insurance = new Insurance(
      () => this.#nowMs(),
      () => this.#become(false),
    );
    this.#redis = new Redis(url, {
      enableAutoPipelining: true,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 1,
      commandTimeout: commandTimeoutMs,
      connectTimeout: longestReconnectMs,
      retryStrategy: (times) => Math.min(times * 100, longestReconnectMs) * (0.5 + kernel.random() / 2),
    });
    this.#redis.on('error', () => {}); // what it means is told by `close`
    this.#redis.on('close', () => this.#become(false));
    this.#redis.on('ready', () => this.#become(true));
    this.#stopProbing = kernel.every(probeMs, () => this.#probe());
  }

  get present(): boolean {
    return this.#present === true;
  }

  async take(count: Count, amount: number): Promise<number> {
    const sentMs = this.#nowMs();
    const { allowed } = count;
    try {
      const taken = await this.#limiterOf(count).consume(count.who, amount, { count });
      learn(count, taken, (taken.msBeforeNext - 1) * allowed, sentMs);
      return 0;
    } catch (short) {
      if (!(short instanceof RateLimiterRes)) throw short;
      learn(count, short, (allowed - amount) * parts + (short.msBeforeNext - 1) * allowed, sentMs);
      return Math.max(1, short.msBeforeNext);
    }
  }

  async tell(count: Count, amount: number): Promise<void> {
    const sentMs = this.#nowMs();
    const { allowed } = count;
    const limiter = this.#limiterOf(count);
    const options = { count, customDuration: 2 * windowSeconds }; // into debt; see script.ts
    const told = amount > 0 ? limiter.penalty(count.who, amount, options) : limiter.reward(count.who, -amount, options);
    const answer = await told;
    learn(count, answer, (answer.msBeforeNext - 1) * allowed, sentMs);
  }

  /** True for the first replica that asks in so many milliseconds; true also when Redis cannot say. */
  async isFirst(name: string, ms: number): Promise<boolean> {
    if (!this.present) return true;
    const set = this.#redis.set(`${this.#prefix}:first:${name}`, '1', 'PX', ms, 'NX');
    return (await set.catch(() => 'OK')) === 'OK';
  }

  close(): void {
    this.#closed = true;
    this.#stopProbing();
    this.#redis.quit().catch(() => this.#redis.disconnect());
  }

  #limiterOf({ kind, allowed }: Count): RateLimiterRedis {
    const name = `${kind} ${allowed}`;
    let limiter = this.#limiters.get(name);
    if (!limiter) {
      limiter = new RateLimiterRedis({
        storeClient: this.#redis,
        keyPrefix: `${this.#prefix}:${kind}`,
        points: allowed,
        duration: windowSeconds,
        customIncrTtlLuaScript: bucketScript(),
        rejectIfRedisNotReady: true,
        insuranceLimiter: this.#insurance,
      });
      this.#limiters.set(name, limiter);
    }
    return limiter;
  }

  /** It may be connected and not answer; then its connection says nothing when it does again. */
  #probe(): void {
    if (this.present || this.#redis.status !== 'ready') return;
    this.#redis.ping().then(
      () => this.#become(true),
      () => {},
    );
  }

  /** Says so in the log, once each way. */
  #become(present: boolean): void {
    if (this.#present === present || this.#closed) return;
    this.#present = present;
    this.#tell(present);
    if (present) this.#kernel.log.info({}, 'limits are counted in Redis, over all replicas');
    else this.#kernel.log.warn({}, 'Redis does not answer: limits are counted at this replica alone');
  }

  #nowMs(): number {
    return Math.floor(this.#kernel.monotonicMs());
  }
}

/**
 * Writes down what Redis said. Its answer is rounded up to a millisecond, and was given some time after it was asked: both are turned so
 * that what is known here is never more than the truth, for it is refused by.
 */
function learn(count: Count, answer: RateLimiterRes, level: number, sentMs: number): void {
  if (answer instanceof Insured) return; // it came from this very count
  count.level = Math.max(0, level) + count.untold * parts;
  count.atMs = sentMs;
  count.toldMs = sentMs;
}
