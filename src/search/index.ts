/** The index as a replica has it: questions go to its thread, and the one replica that holds the lease fills it. */
import { Fault, isRefusal, type Refusal } from '../errors.ts';
import type { Cancel, Kernel } from '../kernel.ts';
import type { Lease } from '../lease.ts';
import type { SearchIndex, SearchOptions, SearchPage, SearchQuery } from '../search.ts';
import { Thread } from '../thread.ts';
import { type IndexedStore, Indexer } from './indexer.ts';
import type { SearchApi, SearchThreadData } from './search-thread.ts';

const startMs = 1_000;
const reachedMs = 2_000;
/** How often it is looked whether a position was reached: here, and by asking the database. */
const lookMs = { here: 10, there: 100 };

export class LocalSearchIndex implements SearchIndex {
  readonly #options: SearchOptions;
  readonly #kernel: Kernel;
  readonly #cancelStart: Cancel;
  /** Of a log that nobody else writes, as it was opened: with that, an index of before it was restored is known by being further. */
  #head: Promise<number> | undefined;
  #thread: Thread<SearchApi> | undefined;
  #lease: Lease | undefined;
  #indexer: Indexer | undefined;
  /** What began or ended filling last: the next waits for it. */
  #turn: Promise<void> = Promise.resolve();
  /** As it was last told where another replica fills it. */
  #known = 0;
  #closed = false;

  constructor(options: SearchOptions) {
    this.#options = options;
    this.#kernel = options.kernel;
    this.#head = options.url.startsWith('sqlite:') ? options.log.head() : undefined;
    this.#head?.catch(() => {}); // whoever awaits it is told
    this.#cancelStart = this.#kernel.after(startMs, () => this.#start());
  }

  get position(): number {
    return this.#indexer ? this.#indexer.position : this.#known;
  }

  get fault(): string | null {
    return this.#indexer?.fault ?? null;
  }

  async find(query: SearchQuery): Promise<SearchPage | Refusal> {
    this.#start();
    await this.#turn;
    await this.#indexer?.begun;
    const here = this.#indexer?.position ?? 0;
    const page = await this.#ask((thread) => thread.call('find', query));
    if (isRefusal(page)) return page;
    this.#known = Math.max(page.position, here);
    return { ...page, position: this.#known };
  }

  async reached(position: number): Promise<boolean> {
    this.#start();
    const until = this.#kernel.monotonicMs() + reachedMs;
    for (;;) {
      if ((await this.#look()) >= position) return true;
      if (this.#closed || this.#kernel.monotonicMs() >= until) return false;
      this.#indexer?.hurry();
      await this.#kernel.sleep(this.#indexer ? lookMs.here : lookMs.there);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelStart();
    await this.#lease?.release();
    this.#fill(false);
    await this.#turn;
    const thread = this.#thread;
    this.#thread = undefined;
    if (thread && !thread.dead) await thread.call('close').catch(() => {}); // it ends, whatever it says
    await thread?.end();
  }

  #start(): void {
    if (this.#lease || this.#closed) return;
    this.#cancelStart();
    this.#lease = this.#options.leases.acquire('search-index');
    this.#lease.onChange((held) => this.#fill(held));
    if (this.#lease.held()) this.#fill(true);
  }

  #fill(wanted: boolean): void {
    this.#turn = this.#turn.then(async () => {
      if (wanted && !this.#closed) {
        const { log, keyring, kernel, slowly = () => false } = this.#options;
        const head = () => this.#headNow();
        this.#indexer ??= new Indexer({ store: this.#indexed(), log, head, keyring, kernel, slowly });
      } else {
        this.#known = this.position;
        await this.#indexer?.close();
        this.#indexer = undefined;
      }
    });
  }

  async #headNow(): Promise<number> {
    const opened = this.#head;
    this.#head = undefined;
    return opened ?? this.#options.log.head();
  }

  /** The store, behind the thread that there is at the time. */
  #indexed(): IndexedStore {
    return {
      begin: (head) => this.#living().call('begin', head),
      apply: (documents, from, to) => this.#living().call('apply', documents, from, to),
      remove: (what, most) => this.#living().call('remove', what, most),
      settle: () => this.#living().call('settle'),
    };
  }

  async #look(): Promise<number> {
    if (!this.#indexer) {
      const found = await this.#ask((thread) => thread.call('position')).catch(() => undefined); // away: not reached
      this.#known = found ?? 0;
    }
    return this.position;
  }

  async #ask<T>(question: (thread: Thread<SearchApi>) => Promise<T>): Promise<T> {
    try {
      return await question(this.#living());
    } catch (error) {
      const defect = error instanceof Error && error.name === 'TypeError';
      if (defect || error instanceof Fault) throw error;
      throw new Fault('views_unavailable', 'the search index cannot be read now', error);
    }
  }

  /** Starts a thread when there is none, or when it died. */
  #living(): Thread<SearchApi> {
    if (!this.#thread || this.#thread.dead) {
      if (this.#closed) throw new Fault('views_unavailable', 'the search index was closed');
      const { url, log } = this.#options;
      const data: SearchThreadData = { url, logId: log.id };
      this.#thread = new Thread<SearchApi>('search/search-thread', data);
    }
    return this.#thread;
  }
}
