/** Registration, directory and heartbeats of nodes; knows who is alive, and removes who has long been gone. */

import { dismissThen } from '../admins.ts';
import { wasDone } from '../commands/command-id.ts';
import type { About, Executed } from '../commands/execute.ts';
import { confirm, key, keyStream, release, reserve } from '../commands/key.ts';
import {
  heartbeat,
  heartbeatStream,
  leave,
  node,
  nodeIdTaken,
  nodeStream,
  type Registered,
  type Registration,
  type RemovalCause,
  register,
  remove,
  update,
} from '../commands/node.ts';
import { revoke, session, sessionStream } from '../commands/session.ts';
import { keyThumbprint } from '../ed25519.ts';
import { isRefusal, type Refusal } from '../errors.ts';
import type { Reading } from '../events/heartbeat.ts';
import type { NodeProfile } from '../events/node.ts';
import type { Hub } from '../hub.ts';
import { FailureDetector } from './node-registry/failure-detector.ts';
import { reapTheDead } from './node-registry/reaper.ts';
import { finishRegistrations } from './node-registry/registrations.ts';
import { service } from './service.ts';

export interface NodeRegistry {
  /**
   * Makes a node a member, or brings a known one up to date. The caller has checked that it holds the key, and that it may.
   * Refuses `key_taken`, `key_revoked`, `node_id_taken`.
   */
  register(registration: Registration, about: About): Promise<Executed<Registered> | Refusal>;
  update(nodeId: string, changes: NodeProfile, about: About): Promise<Executed<NodeProfile> | Refusal>;
  heartbeat(nodeId: string, reading: Reading, about: About): Promise<Executed<{ presence: string }> | Refusal>;
  leave(nodeId: string, about: About): Promise<Executed<{ changed: boolean }> | Refusal>;
  /** Ends a membership and frees its key. Refuses `not_found`, `node_removed`, `last_admin`. */
  remove(nodeId: string, cause: RemovalCause, about: About): Promise<Executed<{ publicKey: string }> | Refusal>;
  /** Phi and silence of a node, as this replica hears it. */
  suspicion(nodeId: string): { phi: number; silent_ms: number } | undefined;
  /** A node proved itself by other means than a heartbeat. */
  heard(nodeId: string): void;
}

export const nodeRegistry = service({
  name: 'node-registry',
  purpose: 'Node registration, discovery and heartbeats: a live directory of the federation',
  needs: {},
  async start(hub) {
    const lease = hub.leases.acquire('node-registry');
    const detector = new FailureDetector(hub, lease, await hub.log.head());
    const registry = createRegistry(hub, detector);
    const cancels = [finishRegistrations(hub, lease), reapTheDead(hub, lease, registry)];
    return {
      api: registry,
      async stop() {
        for (const cancel of cancels) cancel();
        await detector.close();
        await lease.release();
      },
    };
  },
});

function createRegistry({ executor, live, log }: Hub, detector: FailureDetector): NodeRegistry {
  return {
    async register({ nodeId, publicKey, profile, grant }, about) {
      // What is refused anyway must not reserve a key first: strangers could fill the log with reservations.
      const known = live.nodes.get(nodeId);
      if (known && known.public_key !== publicKey) return nodeIdTaken(nodeId);
      const use = { thumbprint: keyThumbprint(publicKey), nodeId };
      const reserved = await executor.execute(keyStream(use.thumbprint), key, reserve, use, about);
      if (isRefusal(reserved)) return reserved;
      const command = { nodeId, publicKey, profile, grant };
      const registered = await executor.execute(nodeStream(nodeId), node, register, command, about);
      const settle = isRefusal(registered) ? release : confirm;
      if (!reserved.reply.confirmed) await executor.execute(keyStream(use.thumbprint), key, settle, use, about);
      if (!isRefusal(registered)) detector.heard(nodeId);
      return registered;
    },
    update: (nodeId, changes, about) => executor.execute(nodeStream(nodeId), node, update, { nodeId, changes }, about),
    heartbeat: (nodeId, reading, about) =>
      executor.record(nodeStream(nodeId), node, heartbeat, { nodeId, reading }, heartbeatStream(nodeId), about),
    leave: (nodeId, about) => executor.execute(nodeStream(nodeId), node, leave, { nodeId }, about),
    async remove(nodeId, cause, about) {
      const doneBefore = await wasDone(log, about);
      const removed = await dismissThen({ executor, log }, `node:${nodeId}`, about, () =>
        executor.execute(nodeStream(nodeId), node, remove, { nodeId, cause }, about),
      );
      if (isRefusal(removed) || doneBefore) return removed; // the key may be in use again by now
      const { actor } = about;
      // Who takes the name next is another: no token of this one counts again.
      await executor.execute(sessionStream(nodeId), session, revoke, { nodeId, reason: cause }, { actor });
      const thumbprint = keyThumbprint(removed.reply.publicKey);
      const now = await executor.state(nodeStream(nodeId), node);
      if (now.membership === 'member' && keyThumbprint(now.publicKey) === thumbprint) return removed; // it joined anew
      // The key is freed in a second step, which a crash would leave to `finishRegistrations`.
      await executor.execute(keyStream(thumbprint), key, release, { thumbprint, nodeId }, { actor });
      return removed;
    },
    suspicion: (nodeId) => detector.suspicion(nodeId),
    heard: (nodeId) => detector.heard(nodeId),
  };
}
