/**
 * Finishes what a crash left between two streams: a key reserved but neither confirmed nor released, a key still held for a
 * node that is a member no more. The replica with the lease looks every few seconds; each step is idempotent.
 */
import { confirm, key, keyStream, release, reservationMs } from '../../commands/key.ts';
import { node, nodeStream } from '../../commands/node.ts';
import { keyThumbprint } from '../../ed25519.ts';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { Lease } from '../../lease.ts';
import type { KeyRow } from '../../projections/keys.ts';

const lookEveryMs = 5_000;

/** Starts looking; what is returned stops it. */
export function finishRegistrations(hub: Hub, lease: Lease): Cancel {
  return hub.kernel.every(lookEveryMs, () => {
    if (!lease.held()) return;
    for (const row of hub.live.keys.values()) if (leftOpen(hub, row)) void finish(hub, row);
  });
}

/** Whether nobody can be at work on this key any more, and it does not stand as it should. */
function leftOpen({ live, kernel }: Hub, row: KeyRow): boolean {
  if (kernel.now() - Date.parse(row.since) < reservationMs) return false;
  return row.status === 'reserved' || live.nodes.get(row.node_id) === undefined;
}

async function finish({ executor, kernel }: Hub, { thumbprint, node_id: nodeId }: KeyRow): Promise<void> {
  try {
    const state = await executor.state(nodeStream(nodeId), node);
    const holds = state.membership === 'member' && keyThumbprint(state.publicKey) === thumbprint;
    await executor.execute(
      keyStream(thumbprint),
      key,
      holds ? confirm : release,
      { thumbprint, nodeId },
      { actor: 'hub' },
    );
  } catch (error) {
    kernel.log.warn({ err: error, nodeId }, 'a registration could not be finished; it is tried again');
  }
}
