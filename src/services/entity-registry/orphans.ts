/**
 * Entities whose node was removed go with it. Every replica notes them as it hears of the removal; the one with the lease ends
 * their registrations, and another that takes the lease over has noted the same. Each half minute, and before the hub
 * listens, entities of nodes that are no members are looked for, so that a crash leaves none behind.
 */
import { bury, entity, entityStream, type Orphan } from '../../commands/entity.ts';
import { node, nodeStream } from '../../commands/node.ts';
import { Fault, isRefusal } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { Lease } from '../../lease.ts';
import type { Owned } from './owned.ts';

const lookEveryMs = 30_000;
/** Registrations that are ended side by side; they share their way to the disk. */
const together = 50;

export class Orphans {
  readonly #hub: Hub;
  readonly #owned: Owned;
  readonly #lease: Lease;
  readonly #stops: Cancel[];
  /** Noted and not yet gone, by entity; at most all entities there are. */
  readonly #noted = new Map<string, Orphan>();
  /** Position of the last removal of each node that the entities in memory may not have reached; forgotten by the half minute. */
  readonly #removals = new Map<string, number>();
  #burying: Promise<void> | undefined;
  #closed = false;

  /** Looks once, and starts to listen. */
  static async start(hub: Hub, owned: Owned): Promise<Orphans> {
    const orphans = new Orphans(hub, owned);
    await orphans.#look();
    return orphans;
  }

  private constructor(hub: Hub, owned: Owned) {
    this.#hub = hub;
    this.#owned = owned;
    this.#lease = hub.leases.acquire('entity-registry');
    const { nodes, entities } = hub.live;
    this.#stops = [
      nodes.onChange((nodeId, row, { position }) => {
        if (row) return;
        this.#removals.set(nodeId, position);
        this.#note(nodeId, position);
      }),
      entities.onChange((entityId, row) => {
        if (!row) this.#noted.delete(entityId);
        // The entities may be behind the nodes: one that a removed node had may only be heard of now.
        else if (row.node_id !== null && row.registered_position < (this.#removals.get(row.node_id) ?? 0)) {
          this.#note(row.node_id, this.#removals.get(row.node_id));
        }
      }),
      this.#lease.onChange(() => this.#buryAll()),
      hub.kernel.every(lookEveryMs, () => void this.#look()),
    ];
  }

  /**
   * When this entity is left of a node that this owner followed under its name, its registration is ended on return. Throws a
   * `Fault` when the log fails, or that is not known in time.
   */
  async settle(entityId: string, owner: string | null): Promise<void> {
    const removal = owner === null ? undefined : this.#removals.get(owner);
    if (removal !== undefined) await this.#hub.live.entities.waitFor(removal);
    const orphan = this.#noted.get(entityId);
    if (orphan) await this.#bury(orphan);
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const stop of this.#stops) stop();
    await this.#burying;
    await this.#lease.release();
  }

  /** Notes the entities that a node had at a position, and sees to them. */
  #note(nodeId: string, before = Number.POSITIVE_INFINITY): void {
    for (const entityId of this.#owned.of(nodeId)) {
      const row = this.#hub.live.entities.get(entityId);
      if (!row || row.registered_position > before) continue; // of a node of the same name that joined since
      this.#noted.set(entityId, { entityId, owner: nodeId, since: Date.parse(row.registered_at) });
    }
    this.#buryAll();
  }

  async #look(): Promise<void> {
    const { live, executor, kernel } = this.#hub;
    for (const [nodeId, removal] of this.#removals) {
      if (removal <= live.entities.position) this.#removals.delete(nodeId);
    }
    try {
      for (const nodeId of [...this.#owned.nodes()]) {
        if (live.nodes.get(nodeId)) continue;
        // The one map may be ahead of the other: the stream is the judge.
        const { membership } = await executor.state(nodeStream(nodeId), node);
        if (membership !== 'member' && !live.nodes.get(nodeId)) this.#note(nodeId);
      }
      this.#buryAll();
    } catch (error) {
      kernel.log.warn({ err: error }, 'entities of removed nodes could not be looked for; it is tried again');
    }
  }

  /** One at a time; what is noted meanwhile is seen to as well. */
  #buryAll(): void {
    if (!this.#burying && this.#mayBury()) this.#burying = this.#work();
  }

  #mayBury(): boolean {
    return this.#noted.size > 0 && !this.#closed && this.#lease.held();
  }

  async #work(): Promise<void> {
    while (this.#mayBury()) {
      const some = [...this.#noted.values()].slice(0, together);
      const done = await Promise.allSettled(some.map((orphan) => this.#bury(orphan)));
      const failed = done.find((end) => end.status === 'rejected');
      if (!failed) continue;
      const { log } = this.#hub.kernel;
      log.warn({ err: failed.reason }, 'entities of removed nodes are still there; they are tried again');
      break;
    }
    this.#burying = undefined; // in the same turn as the last look at what is noted
  }

  async #bury(orphan: Orphan): Promise<void> {
    const { executor } = this.#hub;
    const done = await executor.execute(entityStream(orphan.entityId), entity, bury, orphan, { actor: 'hub' });
    if (isRefusal(done)) throw new Fault(done.refused, done.detail);
    if (this.#noted.get(orphan.entityId) === orphan) this.#noted.delete(orphan.entityId);
  }
}
