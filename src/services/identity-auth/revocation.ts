/** Taking back what was given: sessions of a node, its key, and the data keys of a subject. */
import type { About, Executed } from '../../commands/execute.ts';
import { key, keyStream, retire } from '../../commands/key.ts';
import { announce, keyring, keyringStream, type Rotated, tellErased } from '../../commands/keyring.ts';
import { keyThumbprint } from '../../ed25519.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import type { Sessions } from './sessions.ts';

export interface Revocation {
  /**
   * `sessions`: every token issued to the node so far is worth nothing, and its sockets are cut. `key`: besides, nobody may use
   * its key again; the node must be removed and join anew with another. Refuses `not_found`.
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

export function createRevocation({ executor, live, log, keyring: ring }: Hub, sessions: Sessions): Revocation {
  const wasDone = async ({ command }: About) =>
    command !== undefined && (await log.findCommand(command.id)) !== undefined;

  return {
    async revoke(nodeId, what, reason, about) {
      const node = live.nodes.get(nodeId);
      if (!node) return refuse('not_found', `there is no node ${nodeId}`);
      if (what === 'key') {
        const thumbprint = keyThumbprint(node.public_key);
        const { command: _, ...ofItsOwn } = about; // the id of the command belongs to the last step
        const command = { thumbprint, nodeId, cause: 'revoked' } as const;
        const retired = await executor.execute(keyStream(thumbprint), key, retire, command, ofItsOwn);
        if (isRefusal(retired)) return retired;
      }
      return sessions.revokeAll(nodeId, reason, about);
    },

    async rotateHubKeys(about) {
      const made = (await wasDone(about)) ? { kid: '', activeAt: '' } : await ring.rotate();
      return executor.execute(keyringStream, keyring, announce, made, about);
    },

    async erase(subject, about) {
      const keys = (await wasDone(about)) ? 0 : await ring.erase(subject);
      return executor.execute(keyringStream, keyring, tellErased, { subject, keys }, about);
    },
  };
}
