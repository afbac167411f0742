/** Taking back what was given: sessions of a node, its key, and the data keys of a subject. */
import { dismissThen } from '../../admins.ts';
import { wasDone } from '../../commands/command-id.ts';
import type { About, Executed } from '../../commands/execute.ts';
import { key, keyStream, retire } from '../../commands/key.ts';
import { announce, keyring, keyringStream, type Rotated, tellErased } from '../../commands/keyring.ts';
import { node, nodeStream } from '../../commands/node.ts';
import { keyThumbprint } from '../../ed25519.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import type { Sessions } from './sessions.ts';

export interface Revocation {
  /**
   * `sessions`: every token issued to the node so far is worth nothing, and its sockets are cut. `key`: besides, nobody may use
   * its key again; the node must be removed and join anew with another, and is no administrator. Refuses `not_found`, `last_admin`.
   */
  revoke(
    nodeId: string,
    what: 'sessions' | 'key',
    reason: string,
    about: About,
  ): Promise<Executed<undefined> | Refusal>;
  /** Publishes a new signing key of the hub, which signs half a minute later. */
  rotateHubKeys(about: About): Promise<Executed<Rotated> | Refusal>;
  /** Destroys the data keys of a subject for good; answers how many there were. */
  erase(subject: string, about: About): Promise<Executed<{ keys: number }> | Refusal>;
}

export function createRevocation(hub: Hub, sessions: Sessions): Revocation {
  const { executor, log, keyring: ring } = hub;

  /** The node may change its key in this very moment: whichever it has in the end is taken from it. */
  const revokeKey = async (nodeId: string, reason: string, about: About) => {
    const { command: _, ...ofItsOwn } = about; // the id of the command belongs to the last step
    let last: string | undefined;
    for (;;) {
      const known = await executor.state(nodeStream(nodeId), node);
      if (known.membership !== 'member') break;
      const thumbprint = keyThumbprint(known.publicKey);
      if (thumbprint === last) break; // a retired key signs for no other, so this ends
      const command = { thumbprint, nodeId, cause: 'revoked' } as const;
      const retired = await executor.execute(keyStream(thumbprint), key, retire, command, ofItsOwn);
      if (isRefusal(retired)) return retired;
      last = thumbprint;
    }
    return sessions.revokeAll(nodeId, reason, about);
  };

  return {
    async revoke(nodeId, what, reason, about) {
      // The node may have another key since: the same command sent again does not take that one as well.
      if (await wasDone(log, about)) return sessions.revokeAll(nodeId, reason, about);
      const { membership } = await executor.state(nodeStream(nodeId), node);
      if (membership !== 'member') return refuse('not_found', `there is no node ${nodeId}`);
      if (what === 'sessions') return sessions.revokeAll(nodeId, reason, about);
      return dismissThen(hub, `node:${nodeId}`, about, () => revokeKey(nodeId, reason, about));
    },

    async rotateHubKeys(about) {
      const made = (await wasDone(log, about)) ? { kid: '', activeAt: '' } : await ring.rotate();
      return executor.execute(keyringStream, keyring, announce, made, about);
    },

    async erase(subject, about) {
      const keys = (await wasDone(log, about)) ? 0 : await ring.erase(subject);
      return executor.execute(keyringStream, keyring, tellErased, { subject, keys }, about);
    },
  };
}
