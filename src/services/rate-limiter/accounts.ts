/** What each identity and each stranger used, as this replica knows it: one account each, three buckets in it, bounded. */
import { LRUCache } from 'lru-cache';
import type { LimitKind } from '../../events/limits.ts';
import type { Bucket } from './bucket.ts';

/** One bucket, and what only this replica knows of it. */
export interface Count extends Bucket {
  /** Names it in Redis, under its kind. */
  readonly who: string;
  readonly kind: LimitKind;
  /** A minute's worth in the unit that is counted, as it was when it was last asked. */
  allowed: number;
  /** Units in `level` that Redis is not being told of yet. */
  untold: number;
  /** Units that Redis is being told of. */
  telling: number;
  /** When Redis last said how full it is. */
  toldMs: number;
  /** When a warning was last given. */
  warnedMs: number;
}

type Account = Partial<Record<LimitKind, Count>>;

/** Of each sort; who was longest away is forgotten first, whose bucket has most likely run empty. */
const mostAccounts = 50_000;

/** Strangers lie apart: a flood of them pushes out strangers only. */
export class Accounts {
  readonly #known = new LRUCache<string, Account>({ max: mostAccounts });
  readonly #strangers = new LRUCache<string, Account>({ max: mostAccounts });

  get size(): { known: number; strangers: number } {
    return { known: this.#known.size, strangers: this.#strangers.size };
  }

  /** The bucket of someone, made when it is not there. */
  count(who: string, stranger: boolean, kind: LimitKind, allowed: number): Count {
    const accounts = stranger ? this.#strangers : this.#known;
    let account = accounts.get(who);
    if (!account) {
      account = {};
      accounts.set(who, account);
    }
    const count = account[kind];
    if (count) {
      count.allowed = allowed;
      return count;
    }
    const made: Count = {
      who,
      kind,
      allowed,
      level: 0,
      atMs: 0,
      untold: 0,
      telling: 0,
      toldMs: Number.NEGATIVE_INFINITY,
      warnedMs: Number.NEGATIVE_INFINITY,
    };
    account[kind] = made;
    return made;
  }

  /** Looks without counting as a use. */
  peek(who: string, kind: LimitKind): Count | undefined {
    return this.#known.peek(who)?.[kind];
  }

  *all(): IterableIterator<Count> {
    for (const accounts of [this.#known, this.#strangers]) {
      for (const account of accounts.values()) yield* Object.values(account);
    }
  }
}
