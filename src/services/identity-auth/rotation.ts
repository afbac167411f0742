/**
 * A node changes its key: the old one and the new one sign for it. The old key is retired for ever, and every session but the
 * one that is opened now is over.
 *
 * The steps lie in three streams. A crash between them is finished by node-registry: what is left to do is told by the node,
 * whose stream says which key is the one now.
 */
import { commandId } from '../../commands/command-id.ts';
import type { About } from '../../commands/execute.ts';
import { confirm, key, keyRevoked, keyStream, release, reserve, retire } from '../../commands/key.ts';
import { node, nodeStream, rotateKey } from '../../commands/node.ts';
import type { Transport } from '../../commands/session.ts';
import { checkKey, keyThumbprint, verify } from '../../ed25519.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { type ClientPacket, rotationText } from '../../protocol.ts';
import type { Nonces } from './nonce.ts';
import { nonceUsed, type OpenedSession, type Sessions } from './sessions.ts';

export interface Rotation {
  readonly nodeId: string;
  readonly packet: ClientPacket<'federation:rotate'>;
  readonly transport: Transport;
  readonly address: string;
}

/**
 * Gives a node another key and opens a session under it. Refuses `nonce_invalid`, `nonce_expired`, `nonce_used`, `key_invalid`,
 * `key_taken`, `key_revoked`, `signature_invalid`, `conflict` and what admission may have against the new key.
 */
export function createRotation(
  hub: Hub,
  nonces: Nonces,
  sessions: Sessions,
): (rotation: Rotation) => Promise<OpenedSession | Refusal> {
  const { executor, live, kernel, federationId, log } = hub;

  return async ({ nodeId, packet, transport, address }) => {
    const { public_key: publicKey, nonce, signature } = packet;
    const known = live.nodes.get(nodeId);
    if (!known) return refuse('not_found', `there is no node ${nodeId}`);
    const previous = known.public_key;
    const refused = checkRotation({ ...packet, nodeId, previous, federationId }, nonces);
    if (refused) return refused;
    const about = { actor: `node:${nodeId}`, address, correlation: kernel.uuid() };
    const once = (step: string) => ({ id: commandId(about.actor, step, nonce), bodyHash: signature });
    if (await log.findCommand(once('rotate').id)) return nonceUsed;
    const barred = await admit(hub, { nodeId, publicKey, address }, about);
    if (barred) return barred;
    const oldStream = keyStream(keyThumbprint(previous));
    if ((await executor.state(oldStream, key)).held === 'retired') return keyRevoked; // it may sign nothing any more
    const use = { thumbprint: keyThumbprint(publicKey), nodeId };
    const reserved = await executor.execute(keyStream(use.thumbprint), key, reserve, use, about);
    if (isRefusal(reserved)) return reserved;
    const rotated = await executor.execute(
      nodeStream(nodeId),
      node,
      rotateKey,
      { nodeId, publicKey, previous },
      { ...about, command: { ...once('rotate'), once: true } },
    );
    if (isRefusal(rotated)) {
      if (rotated.refused === 'already_done') return nonceUsed;
      if (!reserved.reply.confirmed) await executor.execute(keyStream(use.thumbprint), key, release, use, about);
      return rotated;
    }
    await executor.execute(keyStream(use.thumbprint), key, confirm, use, about);
    const old = { thumbprint: keyThumbprint(previous), nodeId, cause: 'rotated' } as const;
    await executor.execute(oldStream, key, retire, old, about);
    const end = await executor.state(oldStream, key);
    if (end.held === 'retired' && end.cause === 'revoked') {
      // Revoked while it signed for its successor: what came of it goes the same way.
      await executor.execute(keyStream(use.thumbprint), key, retire, { ...use, cause: 'revoked' }, about);
      await sessions.revokeAll(nodeId, 'the key was revoked', about);
      return keyRevoked;
    }
    const { role, profile } = known;
    return sessions.open(
      {
        node: { node_id: nodeId, public_key: publicKey, role, ...profile },
        transport,
        address,
        anew: 'the key was rotated',
        command: once('session'),
      },
      about,
    );
  };
}

/** Whether both keys signed for this, here and now. */
function checkRotation(
  rotation: ClientPacket<'federation:rotate'> & { nodeId: string; previous: string; federationId: string },
  nonces: Nonces,
): Refusal | undefined {
  const { nodeId, previous, federationId, public_key: publicKey, nonce } = rotation;
  const refused = nonces.check(nonce, { purpose: 'rotate', nodeId, federationId }) ?? checkKey(publicKey);
  if (refused) return refused;
  if (publicKey === previous) return refuse('key_taken', 'this is the key that the node has');
  const text = Buffer.from(rotationText({ federationId, nodeId, publicKey: previous, newPublicKey: publicKey, nonce }));
  if (!verify(previous, text, rotation.signature))
    return refuse('signature_invalid', 'the old key did not sign this rotation');
  if (!verify(publicKey, text, rotation.new_signature))
    return refuse('signature_invalid', 'the new key did not sign this rotation');
  return undefined;
}

/** Keys may be banned: what would not be let in with this key does not get it either. */
async function admit(
  { doors, live }: Hub,
  { nodeId, publicKey, address }: { nodeId: string; publicKey: string; address: string },
  about: About,
): Promise<Refusal | undefined> {
  const guard = doors.admission.get();
  if (isRefusal(guard)) return guard;
  const thumbprint = keyThumbprint(publicKey);
  const profile = live.nodes.get(nodeId)?.profile ?? {};
  const grant = await guard(
    { nodeId, publicKey, thumbprint, profile, member: true, invite: undefined, address },
    about,
  );
  return isRefusal(grant) ? grant : undefined;
}
