/** What came from another federation goes when its time there is over. One replica, by lease, lets go of it; from its end on it is hidden anyway. */
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import { foreignEnd } from '../../knowledge.ts';
import type { Lease } from '../../lease.ts';
import { findEnded } from '../../projections/memory-queries.ts';
import type { Memories } from './memories.ts';

const lookEveryMs = 30_000;
const pageRows = 100;

type Ground = Pick<Hub, 'views' | 'leases' | 'kernel' | 'log'>;

export class Endings {
  readonly #hub: Ground;
  readonly #memories: Pick<Memories, 'letGo'>;
  readonly #lease: Lease;
  readonly #stop: Cancel;
  #looking: Promise<void> | undefined;
  #closed = false;

  constructor(hub: Ground, memories: Pick<Memories, 'letGo'>) {
    this.#hub = hub;
    this.#memories = memories;
    this.#lease = hub.leases.acquire('knowledge-endings');
    this.#stop = hub.kernel.every(lookEveryMs, () => this.look());
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stop();
    await this.#looking;
    await this.#lease.release();
  }

  /** Lets go of all that is over by now. One at a time. */
  look(): Promise<void> {
    this.#looking ??= this.#look()
      .catch((error: unknown) =>
        this.#hub.kernel.log.warn({ err: error }, 'memories whose time is over were not looked for; they are soon'),
      )
      .finally(() => {
        this.#looking = undefined;
      });
    return this.#looking;
  }

  async #look(): Promise<void> {
    const { views, log, kernel } = this.#hub;
    const now = kernel.now();
    const isOver = ({ foreign }: { readonly foreign?: { readonly until?: string } }) => {
      const end = foreignEnd(foreign);
      return end !== undefined && end <= now;
    };
    while (this.#lease.held() && !this.#closed) {
      const { value: ids, stale } = await views.read(await log.head(), (db) => findEnded(db, now, pageRows));
      let gone = 0;
      for (const memoryId of ids) {
        const when = (heads: readonly { readonly foreign?: { readonly until?: string } }[]) => heads.every(isOver);
        if (await this.#memories.letGo({ memoryId, cause: 'kept_long_enough', when })) gone++;
      }
      if (stale || gone === 0) return;
    }
  }
}
