/** Entities by their owner, kept in memory beside the live view: for the limits, and to find what a removed node leaves. */
import { type Refusal, refuse } from '../../errors.ts';
import type { Cancel } from '../../kernel.ts';
import type { EntityRow } from '../../projections/entities.ts';
import type { LiveView } from '../../projections/live.ts';

/** Entities of one node, and of all operators together, at most. Replicas that count at the same moment may pass it by a few. */
const mostOfNode = 1_000;
const mostOfOperators = 10_000;

/** Gives a place back once the promise settles: then it is counted, or not needed. */
export type Place = (counted: Promise<void>) => void;

export class Owned {
  readonly #owners = new Map<string, string | null>();
  readonly #ids = new Map<string | null, Set<string>>();
  /** Places of registrations that are not in the live view yet. */
  readonly #reserved = new Map<string | null, number>();
  readonly #stop: Cancel;

  constructor(live: LiveView<EntityRow>) {
    for (const { entity_id, node_id } of live.values()) this.#put(entity_id, node_id);
    this.#stop = live.onChange((id, row) => (row ? this.#put(id, row.node_id) : this.#drop(id)));
  }

  /** Ids of the entities of a node; null: of the operators. */
  of(owner: string | null): Iterable<string> {
    return this.#ids.get(owner) ?? [];
  }

  /** The nodes that own any. */
  *nodes(): Generator<string> {
    for (const owner of this.#ids.keys()) if (owner !== null) yield owner;
  }

  /** A place for one more. Refuses `limit_reached`. */
  reserve(owner: string | null): Place | Refusal {
    const most = owner === null ? mostOfOperators : mostOfNode;
    const reserved = this.#reserved.get(owner) ?? 0;
    if ((this.#ids.get(owner)?.size ?? 0) + reserved >= most) {
      return refuse('limit_reached', `${owner ?? 'the operators'} may have ${most} entities at most`);
    }
    this.#reserved.set(owner, reserved + 1);
    return (counted) => void counted.catch(() => {}).then(() => this.#free(owner)); // late is counted as well as never
  }

  close(): void {
    this.#stop();
  }

  #free(owner: string | null): void {
    const left = (this.#reserved.get(owner) ?? 1) - 1;
    if (left > 0) this.#reserved.set(owner, left);
    else this.#reserved.delete(owner);
  }

  #put(id: string, owner: string | null): void {
    if (this.#owners.get(id) === owner) return;
    this.#drop(id);
    this.#owners.set(id, owner);
    let ids = this.#ids.get(owner);
    if (!ids) {
      ids = new Set();
      this.#ids.set(owner, ids);
    }
    ids.add(id);
  }

  #drop(id: string): void {
    const owner = this.#owners.get(id);
    if (owner === undefined) return;
    this.#owners.delete(id);
    const ids = this.#ids.get(owner);
    ids?.delete(id);
    if (ids?.size === 0) this.#ids.delete(owner);
  }
}
