/**
 * Whether a session still counts, by what this replica has read of the log. Asked wherever a session is used: of a token at each
 * request, of a socket when it is bound, at each packet and at each delivery.
 */
import { keyThumbprint } from './ed25519.ts';
import { type Refusal, refuse } from './errors.ts';
import type { Hub } from './hub.ts';

/** What a session is known by. */
export interface SessionProof {
  readonly nodeId: string;
  readonly sessionId: string;
  /** Revision of `session.opened`: of two sessions of a node, the higher is the live one. */
  readonly epoch: number;
  /** Thumbprint of the key that was proved: with another key the node is another, or its key was changed. */
  readonly keyId: string;
}

/**
 * Why a session counts no more; undefined while it does. Refuses `unauthenticated` when the node is no member, or has another key,
 * and `session_superseded` when it was ended or revoked, or a newer socket took over.
 */
export function sessionOver({ nodes, sessions }: Hub['live'], proof: SessionProof): Refusal | undefined {
  const { nodeId, sessionId, epoch, keyId } = proof;
  const node = nodes.get(nodeId);
  if (!node) return refuse('unauthenticated', 'the node is not a member any more');
  const revoked = sessions.get(`${nodeId}/all`);
  if (revoked && revoked.epoch > epoch) return refuse('session_superseded', 'all sessions of the node were ended');
  if (keyThumbprint(node.public_key) !== keyId) return refuse('unauthenticated', 'the node has another key now');
  const newest = sessions.get(`${nodeId}/${sessionId.slice(0, sessionId.indexOf('.'))}`);
  const over =
    newest?.session_id === sessionId
      ? newest.status === 'ended'
      : newest?.transport === 'socket' && newest.epoch > epoch;
  return over ? refuse('session_superseded', 'the session ended, or a newer one took over') : undefined;
}
