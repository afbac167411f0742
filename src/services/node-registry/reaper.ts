/** Removes nodes that have been away for 72 hours, so that the directory does not fill with the dead. */
import { isRefusal } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { Lease } from '../../lease.ts';
import type { NodeRegistry } from '../node-registry.ts';

const reapAfterMs = 72 * 3_600_000;
const lookEveryMs = 60_000;

/** Starts looking, on the replica with the lease; what is returned stops it. */
export function reapTheDead(hub: Hub, lease: Lease, registry: Pick<NodeRegistry, 'remove'>): Cancel {
  return hub.kernel.every(lookEveryMs, () => void reap(hub, lease, registry));
}

async function reap({ kernel, live }: Hub, lease: Lease, registry: Pick<NodeRegistry, 'remove'>): Promise<void> {
  for (const row of live.nodes.values()) {
    if (!lease.held()) return;
    if (row.status !== 'offline' || kernel.now() - Date.parse(row.status_since) < reapAfterMs) continue;
    try {
      const removed = await registry.remove(row.node_id, 'reaped', { actor: 'hub' });
      if (!isRefusal(removed)) kernel.log.info({ nodeId: row.node_id, since: row.status_since }, 'node reaped');
    } catch (error) {
      kernel.log.warn({ err: error, nodeId: row.node_id }, 'a node could not be reaped; it is tried again');
    }
  }
}
