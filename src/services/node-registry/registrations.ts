/**
 * Finishes what a crash left between two streams: a key reserved but neither confirmed nor released, a key still held for a
 * node that is a member no more, a key that its node rotated away but that was not retired, a key of a member that nobody
 * holds. The replica with the lease looks every few seconds; each step is idempotent.
 */
import { confirm, key, keyStream, release, reservationMs, retire } from '../../commands/key.ts';
import { type NodeState, node, nodeStream } from '../../commands/node.ts';
import { revoke, session, sessionStream } from '../../commands/session.ts';
import { keyThumbprint } from '../../ed25519.ts';
import { isRefusal } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { Lease } from '../../lease.ts';
import type { KeyRow } from '../../projections/keys.ts';

const lookEveryMs = 5_000;

/** Starts looking; what is returned stops it. */
export function finishRegistrations(hub: Hub, lease: Lease): Cancel {
  return hub.kernel.every(lookEveryMs, () => {
    if (!lease.held()) return;
    const several = withSeveralKeys(hub);
    for (const row of hub.live.keys.values()) if (leftOpen(hub, row, several)) void finish(hub, row);
    for (const use of unheld(hub)) void finish(hub, use);
  });
}

/** Nodes that hold more keys than one: each is in the middle of a rotation, or was. */
function withSeveralKeys({ live }: Hub): Set<string> {
  const once = new Set<string>();
  const several = new Set<string>();
  for (const { node_id, status } of live.keys.values()) {
    if (status === 'retired') continue;
    if (once.has(node_id)) several.add(node_id);
    once.add(node_id);
  }
  return several;
}

/** Keys of members that are held for nobody: freed at the end of a membership by whoever did not see the next one begin. */
function unheld({ live }: Hub): Pick<KeyRow, 'thumbprint' | 'node_id'>[] {
  const holders = new Set<string>();
  for (const { node_id, status } of live.keys.values()) if (status !== 'retired') holders.add(node_id);
  const found = [];
  for (const { node_id, public_key } of live.nodes.values()) {
    if (holders.has(node_id)) continue;
    const thumbprint = keyThumbprint(public_key);
    if (!live.keys.get(thumbprint)) found.push({ thumbprint, node_id });
  }
  return found;
}

/** Whether nobody can be at work on this key any more, and it does not stand as it should. */
function leftOpen({ live, kernel }: Hub, row: KeyRow, several: ReadonlySet<string>): boolean {
  const old = ({ since }: KeyRow) => kernel.now() - Date.parse(since) >= reservationMs;
  if (row.status === 'retired') return false;
  const node = live.nodes.get(row.node_id);
  if (row.status === 'reserved' || !node) return old(row);
  if (!several.has(row.node_id)) return false;
  const newest = live.keys.get(keyThumbprint(node.public_key)); // a rotation under way has touched it just now
  return newest !== undefined && newest.thumbprint !== row.thumbprint && old(newest);
}

async function finish(
  { executor, kernel }: Hub,
  { thumbprint, node_id: nodeId }: Pick<KeyRow, 'thumbprint' | 'node_id'>,
): Promise<void> {
  const hub = { actor: 'hub' };
  try {
    const step = stepFor(await executor.state(nodeStream(nodeId), node), thumbprint);
    if (step !== 'retire') {
      const decide = step === 'confirm' ? confirm : release;
      await executor.execute(keyStream(thumbprint), key, decide, { thumbprint, nodeId }, hub);
      return;
    }
    // Sessions first: once the key is retired, nobody looks here again. The new key has not opened one: that is the last step.
    const reason = 'the key was rotated';
    const revoked = await executor.execute(sessionStream(nodeId), session, revoke, { nodeId, reason }, hub);
    if (isRefusal(revoked)) return;
    await executor.execute(keyStream(thumbprint), key, retire, { thumbprint, nodeId, cause: 'rotated' }, hub);
  } catch (error) {
    kernel.log.warn({ err: error, nodeId }, 'a registration could not be finished; it is tried again');
  }
}

/** What is to be done with a key, as the node that it is for stands now. */
function stepFor(state: NodeState, thumbprint: string): 'confirm' | 'release' | 'retire' {
  if (state.membership !== 'member') return 'release';
  if (keyThumbprint(state.publicKey) === thumbprint) return 'confirm';
  return state.formerKeys.some((former) => keyThumbprint(former) === thumbprint) ? 'retire' : 'release';
}
