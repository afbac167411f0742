/**
 * Syncs that nobody serves any more: their replica was killed, or the node never heard that they were begun. One replica, by lease, lets
 * them rest; a node that goes on with one is not kept from it.
 */
import { pauseSync, sync, syncStream } from '../../commands/sync.ts';
import type { Hub } from '../../hub.ts';
import { type Cancel, isoTime } from '../../kernel.ts';
import type { Lease } from '../../lease.ts';
import { findStragglers } from '../../projections/syncs.ts';

const lookEveryMs = 60_000;
/** Whoever serves a sync lets it rest after half of this. */
const forgottenMs = 600_000;
const most = 100;

export class Stragglers {
  readonly #hub: Pick<Hub, 'views' | 'leases' | 'kernel' | 'executor'>;
  readonly #lease: Lease;
  readonly #stop: Cancel;

  constructor(hub: Pick<Hub, 'views' | 'leases' | 'kernel' | 'executor'>) {
    this.#hub = hub;
    this.#lease = hub.leases.acquire('knowledge-syncs');
    this.#stop = hub.kernel.every(lookEveryMs, () => {
      this.#look().catch((error: unknown) =>
        hub.kernel.log.warn({ err: error }, 'syncs that nobody serves could not be looked for'),
      );
    });
  }

  async close(): Promise<void> {
    this.#stop();
    await this.#lease.release();
  }

  async #look(): Promise<void> {
    if (!this.#lease.held()) return;
    const { views, kernel, executor } = this.#hub;
    const before = isoTime(kernel.now() - forgottenMs);
    for (const syncId of await findStragglers(views.db, before, most)) {
      const command = { syncId, nodeId: undefined, cause: 'node_gone' as const };
      await executor.execute(syncStream(syncId), sync, pauseSync, command, { actor: 'hub' });
    }
  }
}
