/**
 * Takes from the allowances of whoever asks. Alone, each bucket is here and the answer is at hand. With Redis, the bucket is there and
 * what is known of it here is a lower bound: enough to refuse by, and for up to a fiftieth of the allowance and one second,
 * enough to let pass by; so replicas together never let more pass than the allowance and a fiftieth for each of them.
 */
import type { Allowance, Identity, LimitGuard, Passage } from '../../doors.ts';
import { whoOf } from '../../doors.ts';
import type { LimitKind, Limits } from '../../events/limits.ts';
import type { Kernel } from '../../kernel.ts';
import { networkOf } from '../../network.ts';
import { Accounts, type Count } from './accounts.ts';
import { add, leak, parts, waitFor } from './bucket.ts';

/** Megabytes are counted by the byte. */
export const unitsOf: Readonly<Record<LimitKind, number>> = { requests: 1, messages: 1, megabytes: 1_000_000 };

/** Buckets that replicas share. Asked only while `present`; neither method rejects. What they learn they write into the count. */
export interface SharedBuckets {
  readonly present: boolean;
  /** Takes so many units, or nothing; answers how long to wait, 0 when they were taken. */
  take(count: Count, amount: number): Promise<number>;
  /** Adds what was spent here already, even into debt, or less than nothing. Resolves when that is done or cannot be. */
  tell(count: Count, amount: number): Promise<void>;
}

export interface LimiterOptions {
  readonly kernel: Pick<Kernel, 'monotonicMs' | 'every'>;
  /** A minute's worth of someone who is known. */
  limitsOf(identity: Identity): Limits;
  /** Requests and packets a minute of a stranger, together. */
  readonly strangerLimit: number;
  readonly shared?: SharedBuckets | undefined;
  /** Four fifths of an allowance are used. */
  warn?(count: Count): void;
}

/** One unit of an allowance that is asked for. */
interface Draw {
  readonly count: Count;
  readonly amount: number;
  /** What the allowance is called towards whoever asks. */
  readonly limit: LimitKind;
}

export interface Usage {
  readonly who: string;
  readonly limit: LimitKind;
  /** Both in the unit of the limit, of a minute. */
  readonly used: number;
  readonly allowed: number;
}

/** What a replica may let pass before it asks Redis again: a part of the allowance, and a time. */
const shareOf = (allowed: number): number => Math.floor(allowed / 50);
const trustedMs = 1_000;
const warnAt = 0.8;
const warnEveryMs = 60_000;

export class Limiter implements LimitGuard {
  readonly accounts = new Accounts();
  readonly #options: LimiterOptions;
  /** Counts that Redis has to be told of; emptied each second, so never more than were asked in one. */
  readonly #untold = new Set<Count>();
  readonly #stop: () => void;

  constructor(options: LimiterOptions) {
    this.#options = options;
    this.#stop = options.shared ? options.kernel.every(trustedMs, () => this.tellAll()) : () => {};
  }

  enter(identity: Identity, address: string, kind: 'requests' | 'messages', bytes: number): Passage | Promise<Passage> {
    const [one, data] = this.#countsOf(identity, address, kind);
    // More than a minute's worth at once passes when nothing else is used; what it cannot pay now it would never pay.
    const first: Draw = { count: one, amount: 1, limit: kind };
    const second: Draw = { count: data, amount: Math.min(bytes, data.allowed), limit: 'megabytes' };
    const nowMs = this.#nowMs();
    const [waitFirst, waitSecond] = [waitHere(first, nowMs), waitHere(second, nowMs)];
    if (waitFirst > 0 || waitSecond > 0) return this.#passage(first, waitFirst, second, waitSecond);
    const { shared } = this.#options;
    if (shared?.present && !(this.#isSure(first, nowMs) && this.#isSure(second, nowMs)))
      return this.#ask(shared, first, second);
    this.#take(first);
    this.#take(second);
    return this.#passage(first, 0, second, 0);
  }

  spend(identity: Identity, address: string, bytes: number): void {
    const { limits, who, stranger } = this.#asker(identity, address);
    const count = this.accounts.count(who, stranger, 'megabytes', limits.megabytes * unitsOf.megabytes);
    leak(count, count.allowed, this.#nowMs());
    this.#take({ count, amount: bytes, limit: 'megabytes' });
  }

  pass(identity: Identity, address: string, bytes: number): number | Promise<number> {
    const { limits, who, stranger } = this.#asker(identity, address);
    const count = this.accounts.count(who, stranger, 'megabytes', limits.megabytes * unitsOf.megabytes);
    const draw: Draw = { count, amount: Math.min(bytes, count.allowed), limit: 'megabytes' };
    const nowMs = this.#nowMs();
    const waitMs = waitHere(draw, nowMs);
    if (waitMs > 0) return waitMs;
    const { shared } = this.#options;
    if (!shared?.present || this.#isSure(draw, nowMs)) {
      this.#take(draw);
      return 0;
    }
    this.#tell(count); // sent before what follows
    return shared.take(count, draw.amount);
  }

  /** What one who is known used of each allowance by now; asks Redis when it is there. */
  async usageOf(identity: Identity): Promise<Usage[]> {
    const { shared } = this.#options;
    const { limits, who, stranger } = this.#asker(identity, '');
    const kinds = Object.keys(unitsOf) as LimitKind[]; // these are its keys
    return Promise.all(
      kinds.map(async (kind) => {
        const count = this.accounts.count(who, stranger, kind, limits[kind] * unitsOf[kind]);
        if (shared?.present) {
          this.#tell(count);
          await shared.take(count, 0);
        }
        return this.#usage(count);
      }),
    );
  }

  /** Whoever used most of an allowance, as far as this replica saw: at most so many, the busiest first. */
  busiest(most: number): Usage[] {
    return [...this.accounts.all()]
      .map((count) => this.#usage(count))
      .filter(({ used }) => used > 0)
      .sort((a, b) => b.used / b.allowed - a.used / a.allowed)
      .slice(0, most);
  }

  /** Tells Redis of everything that was let pass here since. While it is away, each count is told of when it is asked next. */
  tellAll(): void {
    for (const count of this.#untold) this.#tell(count);
    this.#untold.clear();
  }

  close(): void {
    this.#stop();
    this.tellAll();
  }

  /** Asks Redis for both; when one is short, the other is given back. */
  async #ask(shared: SharedBuckets, first: Draw, second: Draw): Promise<Passage> {
    for (const { count } of [first, second]) this.#tell(count); // sent before what follows
    const [waitFirst, waitSecond] = await Promise.all([
      shared.take(first.count, first.amount),
      shared.take(second.count, second.amount),
    ]);
    if (waitFirst > 0 && waitSecond === 0) this.#giveBack(shared, second);
    if (waitSecond > 0 && waitFirst === 0) this.#giveBack(shared, first);
    if (waitFirst === 0 && waitSecond === 0) for (const { count } of [first, second]) this.#warn(count);
    return this.#passage(first, waitFirst, second, waitSecond);
  }

  #giveBack(shared: SharedBuckets, { count, amount }: Draw): void {
    if (amount === 0) return;
    add(count, -amount, count.allowed);
    if (shared.present) void shared.tell(count, -amount);
  }

  /** Whether what is known here is enough to let it pass. */
  #isSure({ count, amount }: Draw, nowMs: number): boolean {
    return nowMs - count.toldMs <= trustedMs && count.untold + count.telling + amount <= shareOf(count.allowed);
  }

  #take({ count, amount }: Draw): void {
    add(count, amount, count.allowed);
    if (this.#options.shared && amount > 0) {
      count.untold += amount;
      if (count.untold > shareOf(count.allowed) / 2) this.#tell(count);
      else this.#untold.add(count);
    }
    this.#warn(count);
  }

  #tell(count: Count): void {
    const { shared } = this.#options;
    if (!shared?.present) return;
    this.#untold.delete(count);
    const level = leak(count, count.allowed, this.#nowMs());
    const amount = Math.min(count.untold, Math.ceil(level / parts)); // the rest leaked, while Redis was away
    count.untold = 0;
    if (amount === 0) return;
    count.telling += amount;
    const told = () => {
      count.telling -= amount;
    };
    void shared.tell(count, amount).then(told, told);
  }

  #warn(count: Count): void {
    if (count.level < warnAt * count.allowed * parts) return;
    const nowMs = this.#nowMs();
    if (nowMs - count.warnedMs < warnEveryMs) return;
    count.warnedMs = nowMs;
    this.#options.warn?.(count);
  }

  #asker(identity: Identity, address: string): { who: string; stranger: boolean; limits: Limits } {
    const limits = this.#options.limitsOf(identity);
    if (identity.kind !== 'anonymous') return { who: whoOf(identity, ''), stranger: false, limits };
    return { who: whoOf(identity, networkOf(address)), stranger: true, limits };
  }

  #countsOf(identity: Identity, address: string, kind: 'requests' | 'messages'): [Count, Count] {
    const { who, stranger, limits } = this.#asker(identity, address);
    const one = stranger
      ? this.accounts.count(who, true, 'requests', this.#options.strangerLimit)
      : this.accounts.count(who, false, kind, limits[kind]);
    return [one, this.accounts.count(who, stranger, 'megabytes', limits.megabytes * unitsOf.megabytes)];
  }

  #passage(first: Draw, waitFirst: number, second: Draw, waitSecond: number): Passage {
    const allowances = [allowanceOf(first, waitFirst), allowanceOf(second, waitSecond)];
    if (waitFirst === 0 && waitSecond === 0) return { allowances, short: undefined };
    return { allowances, short: allowances[waitFirst >= waitSecond ? 0 : 1] };
  }

  #usage(count: Count): Usage {
    const unit = unitsOf[count.kind];
    const used = leak(count, count.allowed, this.#nowMs()) / parts / unit;
    return { who: count.who, limit: count.kind, used: Math.round(used * 1e3) / 1e3, allowed: count.allowed / unit };
  }

  #nowMs(): number {
    return Math.floor(this.#options.kernel.monotonicMs());
  }
}

/** How long it would have to wait by what is known here. */
function waitHere({ count, amount }: Draw, nowMs: number): number {
  return waitFor(leak(count, count.allowed, nowMs), amount, count.allowed);
}

function allowanceOf({ count, limit }: Draw, waitMs: number): Allowance {
  const unit = unitsOf[limit];
  const { level, allowed } = count;
  return {
    limit,
    allowed: allowed / unit,
    remaining: Math.max(0, allowed - level / parts) / unit,
    resetMs: Math.ceil(level / allowed),
    retryAfterMs: waitMs > 0 ? waitMs : undefined,
  };
}
