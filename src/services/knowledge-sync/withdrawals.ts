/**
 * Copies that no rule allows any more are asked back. One replica does it, by lease: it notes what may have changed (rules, members,
 * memories, times) as it hears of it, and judges the copies that this touches against the rules as they are. All of it follows from the
 * views, and asking twice is the same as once: what a crash left out, the walk over all copies finds, with which every tenure begins.
 */
import { LRUCache } from 'lru-cache';
import { decode } from '../../events/decode.ts';
import type { Holding } from '../../events/knowledge.ts';
import type { Recorded, Subscription } from '../../events/log.ts';
import type { Hub } from '../../hub.ts';
import { type Cancel, isoTime } from '../../kernel.ts';
import { subjectOf } from '../../knowledge.ts';
import type { Lease } from '../../lease.ts';
import { findHoldings, findOverdue, type HoldingFilter } from '../../projections/holdings.ts';
import { isPutAside } from '../../shedding.ts';
import { keySubject } from './content.ts';
import { Copies } from './copies.ts';
import { type Lapsed, Lapses, sweepEveryMs } from './lapses.ts';
import type { Members } from './standing.ts';

/** What it needs of the hub. */
type Ground = Pick<Hub, 'executor' | 'views' | 'leases' | 'kernel' | 'log' | 'keyring'> & {
  readonly live: Pick<Hub['live'], 'sovereignty'>;
  readonly doors?: Hub['doors'];
};

/** All copies are looked at so often, for what was missed. */
const walkEveryMs = 3_600_000;
const pageRows = 500;
/** Noted memories, and those that changed lately; beyond the first, all copies are looked at. */
const mostNoted = 10_000;
const lately = 10_000;
const gatherMs = 250;
const retryMs = 1_000;
const keyPrefix = keySubject('');

export class Withdrawals {
  readonly #hub: Ground;
  readonly #members: Members;
  readonly #copies: Copies;
  readonly #lapses: Lapses;
  readonly #lease: Lease;
  readonly #stops: Cancel[];
  readonly #subscription: Subscription;
  /** Subjects whose rules, holders whose standing, and memories whose versions may allow less than they did. */
  readonly #subjects = new Set<string>();
  readonly #holders = new Set<string>();
  readonly #memories = new Set<string>();
  /** What changed last: a copy that was judged before it may be told of after. */
  readonly #changed = new LRUCache<string, true>({ max: lately, ttl: 60_000 });
  #walk = true;
  #overdue = true;
  #soon: Cancel | undefined;
  #walkedAt = Number.NEGATIVE_INFINITY;
  /** What was written up to here is to be in the views before they are asked. */
  #position: number;
  #working: Promise<void> | undefined;
  #closed = false;

  /** @param head of the log, from where it is followed. */
  constructor(hub: Ground, members: Members, head: number) {
    this.#hub = hub;
    this.#members = members;
    this.#copies = new Copies(hub, members);
    this.#lapses = new Lapses(hub, members, (lapsed) => this.#noteLapsed(lapsed));
    this.#position = head;
    this.#lease = hub.leases.acquire('knowledge-withdrawals');
    this.#subscription = hub.log.subscribe(head, ({ events, through }) => this.#follow(events, through), {
      types: ['memory.stored', 'memory.deleted', 'memory.let-go', 'knowledge.moved', 'keyring.subject-erased'],
    });
    this.#stops = [
      members.onChange((subject) => {
        this.#changed.set(`party ${subject}`, true);
        this.#subjects.add(subject);
        this.#holders.add(subject);
        this.#work();
      }),
      this.#lease.onChange((held) => {
        this.#walk ||= held;
        this.#work();
      }),
    ];
    this.#work();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#soon?.();
    this.#lapses.close();
    for (const stop of this.#stops) stop();
    await this.#subscription.close();
    await this.#working;
    await this.#lease.release();
  }

  #follow(events: readonly Recorded[], through: number): void {
    for (const recorded of events) this.#note(recorded);
    this.#position = Math.max(this.#position, through);
    if (this.#memories.size > mostNoted) {
      this.#memories.clear();
      this.#walk = true;
    }
    // Memories may change by the thousand: they are looked at together.
    if (events.length === 0 || this.#soon || this.#closed) return;
    this.#soon = this.#hub.kernel.after(gatherMs, () => {
      this.#soon = undefined;
      this.#work();
    });
  }

  #note(recorded: Recorded): void {
    const { type, data } = decode(recorded);
    if (type === 'memory.stored' || type === 'memory.deleted' || type === 'memory.let-go') {
      this.#changed.set(`memory ${data.memory_id}`, true);
      this.#memories.add(data.memory_id);
    } else if (type === 'knowledge.moved') {
      for (const item of data.items) this.#noteMoved(data.holder, item);
    } else if (type === 'keyring.subject-erased' && data.subject.startsWith(keyPrefix)) {
      this.#hub.keyring.forget(data.subject); // this replica may be told of it a moment later
      const owner = data.subject.slice(keyPrefix.length);
      if (owner.includes('@'))
        this.#walk = true; // whoever brought it
      else this.#subjects.add(subjectOf(owner));
    }
  }

  #noteMoved(holder: string, { memory_id, subject, policy_version, until }: Holding): void {
    if (until !== undefined) this.#lapses.at(Date.parse(until));
    const stands = this.#members.policy(subject)?.policy_version === policy_version;
    const touched = [`memory ${memory_id}`, `party ${subject}`, `party ${holder}`];
    if (!stands || touched.some((what) => this.#changed.has(what))) this.#memories.add(memory_id);
  }

  #noteLapsed({ sharers, takers }: Lapsed): void {
    for (const subject of sharers) this.#subjects.add(subject);
    for (const holder of takers) this.#holders.add(holder);
    this.#overdue = true;
    this.#walk ||= this.#hub.kernel.monotonicMs() - this.#walkedAt > walkEveryMs;
    this.#work();
  }

  get #pending(): boolean {
    return this.#walk || this.#overdue || this.#subjects.size + this.#holders.size + this.#memories.size > 0;
  }

  get #mayWork(): boolean {
    return !this.#closed && this.#lease.held();
  }

  /** One at a time; what is noted meanwhile is seen to as well. */
  #work(): void {
    if (this.#working || !this.#mayWork || !this.#pending) return;
    this.#working = this.#run()
      .catch((error: unknown) => {
        this.#hub.kernel.log.warn({ err: error }, 'copies could not be judged; it is tried again');
        this.#walk = true;
        return this.#hub.kernel.sleep(retryMs);
      })
      .then(() => {
        this.#working = undefined;
        this.#work();
      });
  }

  async #run(): Promise<void> {
    const held = ['held'] as const;
    const open = ['held', 'asked'] as const;
    while (this.#pending && this.#mayWork) {
      if (this.#walk) {
        for (const noted of [this.#subjects, this.#holders, this.#memories]) noted.clear();
        this.#walk = false;
        this.#walkedAt = this.#hub.kernel.monotonicMs();
        await this.#judge({ states: open }, true);
      }
      if (this.#overdue) {
        this.#overdue = false;
        await this.#seeToOverdue();
      }
      const memoryIds = taken(this.#memories, pageRows);
      if (memoryIds.length > 0) await this.#judge({ memoryIds, states: held });
      for (const holder of taken(this.#holders, 1)) await this.#judge({ holder, states: open });
      for (const subject of taken(this.#subjects, 1)) await this.#judge({ subject, states: held });
    }
  }

  /** Page by page, so that others who read the views wait for one page at most. */
  async #judge(filter: HoldingFilter, walk = false): Promise<void> {
    for (let after = ''; this.#mayWork; ) {
      const page = await this.#read((db) => findHoldings(db, filter, after, pageRows));
      this.#wrote(await this.#copies.judge(page));
      if (page.length < pageRows) return;
      after = page.at(-1)!.holding; // it is full
      // What was not missed before may be found a little later; what is known to have changed is not kept waiting.
      if (walk && isPutAside('knowledge-sync', this.#hub.doors?.load.find()?.level))
        await this.#hub.kernel.sleep(retryMs);
    }
  }

  async #seeToOverdue(): Promise<void> {
    const seen = new Set<string>();
    while (this.#mayWork) {
      const now = this.#hub.kernel.now();
      const ending = await this.#read((db) => findOverdue(db, isoTime(now + sweepEveryMs), pageRows));
      const coming = ending.find(({ until }) => Date.parse(until!) > now); // found by that column
      if (coming) this.#lapses.at(Date.parse(coming.until!));
      const over = ending.filter(({ until, holding }) => Date.parse(until!) <= now && !seen.has(holding));
      if (over.length === 0) return; // none is left, or the view is parked
      for (const { holding } of over) seen.add(holding);
      this.#wrote(await this.#copies.end(over));
    }
  }

  async #read<T>(query: (db: Hub['views']['db']) => Promise<T>): Promise<T> {
    const { value, stale } = await this.#hub.views.read(this.#position, query);
    if (stale) throw new Error('the views are behind');
    return value;
  }

  #wrote(position: number): void {
    this.#position = Math.max(this.#position, position);
  }
}

function taken(noted: Set<string>, most: number): string[] {
  const some = [...noted].slice(0, most);
  for (const one of some) noted.delete(one);
  return some;
}
