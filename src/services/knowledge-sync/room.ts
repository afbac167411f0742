/** Whether there is room for one more memory. Counted in the views every ten seconds, and here in between. */
import { LRUCache } from 'lru-cache';
import { type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { countMemories } from '../../projections/memory-queries.ts';

/** Memories that are not deleted, of a hub and of one owner. What replicas store in the same ten seconds may go beyond it. */
const mostMemories = 200_000;
const mostOfOwner = 100_000;

const countEveryMs = 10_000;
const countedOwners = 10_000;

interface Count {
  readonly at: number;
  all: number;
  ofOwner: number;
}

export class Room {
  readonly #hub: Pick<Hub, 'views' | 'kernel'>;
  readonly #counts = new LRUCache<string, Promise<Count>>({ max: countedOwners });

  constructor(hub: Pick<Hub, 'views' | 'kernel'>) {
    this.#hub = hub;
  }

  /** Why there is no room for `more` memories of an owner; when there is, they are counted. Throws a `Fault` when the views cannot be read. */
  async take(owner: string, more = 1): Promise<Refusal | undefined> {
    const count = await this.#countOf(owner);
    if (count.all + more > mostMemories) return refuse('limit_reached', `a hub has ${mostMemories} memories at most`);
    if (count.ofOwner + more > mostOfOwner) return refuse('limit_reached', `${owner} may have ${mostOfOwner} memories`);
    count.all += more;
    count.ofOwner += more;
    return undefined;
  }

  async #countOf(owner: string): Promise<Count> {
    const known = this.#counts.get(owner);
    const count = await known?.catch(() => undefined);
    const at = this.#hub.kernel.monotonicMs();
    if (count && at - count.at < countEveryMs) return count;
    if (known === this.#counts.get(owner)) {
      const counting = countMemories(this.#hub.views.db, owner).then((counted) => ({ at, ...counted }));
      this.#counts.set(owner, counting);
      return counting;
    }
    return this.#countOf(owner);
  }
}
