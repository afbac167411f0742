/** Opening, renewing and ending the sessions of nodes. */
import type { About, Executed } from '../../commands/execute.ts';
import { open, renew, revoke, session, sessionStream, type Transport } from '../../commands/session.ts';
import { keyThumbprint } from '../../ed25519.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { isoTime } from '../../kernel.ts';
import { type SessionProof, sessionOver } from '../../live-session.ts';
import { type Ack, PROTOCOL_VERSION, type PublicNode } from '../../protocol.ts';
import { type SessionClaims, type SessionTokens, sessionLifetimeMs } from './session-token.ts';

/** A session may be renewed for a day; then the key is proved again. */
const longestSessionMs = 24 * 3_600_000;

/** A session that was opened, with what the node needs to use it. */
export interface OpenedSession extends Omit<Ack<'federation:register'>, 'ok'> {
  readonly epoch: number;
}

export interface OpeningSession {
  /** As it is now. */
  readonly node: PublicNode;
  readonly transport: Transport;
  readonly address: string;
  /** Why all earlier sessions are over, if they are; see `open` in commands/session.ts. */
  readonly anew?: string | undefined;
  /** Makes the opening happen once, over all replicas: an id made of the nonce that was signed, and the signature. */
  readonly command: { readonly id: string; readonly bodyHash: string };
}

export interface Sessions {
  /** Opens a session and issues its token. Refuses `nonce_used` when its command was done before, and `key_revoked`. */
  open(opening: OpeningSession, about: About): Promise<OpenedSession | Refusal>;
  /** A new token for a session that goes on. Refuses `session_superseded`, and `token_expired` a day after the proof. */
  renew(
    claims: Pick<SessionClaims, keyof SessionProof | 'authTimeMs'>,
  ): Promise<{ token: string; expires_at: string } | Refusal>;
  /** Ends all sessions of a node, at every replica. */
  revokeAll(nodeId: string, reason: string, about: About): Promise<Executed<undefined> | Refusal>;
}

export const nonceUsed = refuse('nonce_used', 'ask for a new challenge: this nonce was used');

export function createSessions({ executor, kernel, config, live }: Hub, tokens: SessionTokens): Sessions {
  /** A key may be retired while a session is opened with it: asked again of what was written before the session. */
  const retiredMeanwhile = async (publicKey: string, position: number): Promise<boolean> => {
    await live.keys.waitFor(position);
    return live.keys.get(keyThumbprint(publicKey))?.status === 'retired';
  };

  return {
    async open({ node, transport, address, anew, command }, about) {
      const { node_id: nodeId, public_key: publicKey } = node;
      const opened = await executor.execute(
        sessionStream(nodeId),
        session,
        open,
        { nodeId, transport, address, anew },
        { ...about, command: { ...command, once: true } },
      );
      if (isRefusal(opened)) return opened.refused === 'already_done' ? nonceUsed : opened;
      const { sessionId, epoch } = opened.reply;
      if (await retiredMeanwhile(publicKey, opened.position))
        return refuse('key_revoked', 'this key was rotated away or revoked just now');
      const keyId = keyThumbprint(publicKey);
      const { token, expiresAtMs } = await tokens.issue({ nodeId, sessionId, epoch, keyId });
      return {
        node,
        token,
        expires_at: isoTime(expiresAtMs),
        session_id: sessionId,
        epoch,
        position: opened.position,
        heartbeat_ms: config.heartbeatMs,
        protocol_version: PROTOCOL_VERSION,
      };
    },

    async renew(claims) {
      const { nodeId, sessionId, epoch, keyId, authTimeMs } = claims;
      const over = sessionOver(live, claims);
      if (over) return over;
      if (kernel.now() - authTimeMs > longestSessionMs)
        return refuse('token_expired', 'prove the key again: the session is a day old');
      const expiresAt = isoTime(kernel.now() + sessionLifetimeMs);
      const renewal = { nodeId, sessionId, expiresAt };
      const about = { actor: `node:${nodeId}` };
      const renewed = await executor.execute(sessionStream(nodeId), session, renew, renewal, about);
      if (isRefusal(renewed)) return renewed;
      const { token, expiresAtMs } = await tokens.issue({ nodeId, sessionId, epoch, keyId, authTimeMs });
      return { token, expires_at: isoTime(expiresAtMs) };
    },

    revokeAll: (nodeId, reason, about) =>
      executor.execute(sessionStream(nodeId), session, revoke, { nodeId, reason }, about),
  };
}
