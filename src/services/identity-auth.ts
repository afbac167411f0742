/** Who is who: nodes prove their Ed25519 keys and get sessions; operators show tokens. The identity guard of every door. */

import { commandId } from '../commands/command-id.ts';
import type { About } from '../commands/execute.ts';
import { open, renew, session, sessionStream, type Transport } from '../commands/session.ts';
import type { Identity } from '../doors.ts';
import { anonymous } from '../doors.ts';
import { isRefusal, type Refusal, refuse } from '../errors.ts';
import type { NodeProfile } from '../events/node.ts';
import type { Hub } from '../hub.ts';
import { isoTime } from '../kernel.ts';
import { parseOperatorToken, sameHash } from '../operator-token.ts';
import { type Ack, type ClientPacket, PROTOCOL_VERSION, type Purpose, profileOf } from '../protocol.ts';
import { createNonces, type Nonces } from './identity-auth/nonce.ts';
import { checkProof, type Proof } from './identity-auth/proof.ts';
import {
  createSessionTokens,
  type SessionClaims,
  type SessionTokens,
  sessionLifetimeMs,
} from './identity-auth/session-token.ts';
import { type NodeRegistry, nodeRegistry } from './node-registry.ts';
import { service } from './service.ts';
import { websocketPool } from './websocket-pool.ts';

/** A session may be renewed for a day; then the key is proved again. */
const longestSessionMs = 24 * 3_600_000;

type Registering = ClientPacket<'federation:register'>;

/** A session that was opened, with what the node needs to use it. */
export interface OpenedSession extends Omit<Ack<'federation:register'>, 'ok'> {
  readonly epoch: number;
}

export interface IdentityAuth {
  /** A nonce to sign, good for a minute and one use. */
  challenge(nodeId: string, purpose: Purpose): Omit<Ack<'federation:challenge'>, 'ok'>;
  /** Checks the proof, makes the node a member (or, for purpose `session`, requires that it is one) and opens a session. */
  register(packet: Registering, transport: Transport, address: string): Promise<OpenedSession | Refusal>;
  /** A new token for a session that goes on. Refuses `session_superseded`, and `token_expired` a day after the proof. */
  renew(
    claims: Pick<SessionClaims, 'nodeId' | 'sessionId' | 'epoch' | 'authTimeMs'>,
  ): Promise<{ token: string; expires_at: string } | Refusal>;
  /** Claims of a session token, without asking whether the session is still live. */
  readSessionToken(authorization: string | undefined): Promise<SessionClaims | Refusal>;
}

export const identityAuth = service({
  name: 'identity-auth',
  tier: 'P2',
  purpose: 'Ed25519 proofs of identity, session tokens and operator tokens',
  needs: { registry: nodeRegistry, sockets: websocketPool },
  async start(hub, { registry, sockets }) {
    const nonces = createNonces(hub.kernel, hub.keyring.nonceSecret());
    const tokens = createSessionTokens(hub.kernel, hub.keyring, hub.federationId);
    const api = createIdentityAuth(hub, registry, nonces, tokens);
    const undo = [
      hub.doors.identity.fill((authorization) => identify(hub, tokens, authorization)),
      sockets.handle('federation:challenge', 'anyone', async (_client, { node_id, purpose }) =>
        api.challenge(node_id, purpose),
      ),
      sockets.handle('federation:register', 'anyone', async (client, packet) => {
        const opened = await api.register(packet, 'socket', client.address);
        if (isRefusal(opened)) return opened;
        const { epoch, ...reply } = opened;
        const session = { nodeId: packet.node_id, sessionId: reply.session_id, epoch, authTimeMs: hub.kernel.now() };
        return { ...reply, position: client.bind(session) };
      }),
      sockets.handle('federation:renew', 'node', async (client) => api.renew(client.session!)),
    ];
    return { api, stop: async () => undo.forEach((take) => void take()) };
  },
});

function createIdentityAuth(hub: Hub, registry: NodeRegistry, nonces: Nonces, tokens: SessionTokens): IdentityAuth {
  const { executor, kernel, federationId, config, live } = hub;

  /** Records the nonce as the id of the command that opens the session: single use, over all replicas and for ever. */
  const openSession = async (proof: Proof, transport: Transport, address: string, about: About) => {
    const id = commandId(about.actor, 'session', proof.nonce);
    const opening = { nodeId: proof.nodeId, transport, address };
    const command = { id, bodyHash: proof.signature, once: true };
    const opened = await executor.execute(sessionStream(proof.nodeId), session, open, opening, { ...about, command });
    return isRefusal(opened) && opened.refused === 'already_done' ? nonceUsed : opened;
  };

  return {
    challenge(nodeId, purpose) {
      const { nonce, expiresAtMs } = nonces.issue({ nodeId, purpose, federationId });
      return { nonce, federation_id: federationId, expires_at: isoTime(expiresAtMs) };
    },

    async register(packet, transport, address) {
      if (packet.protocol_version !== PROTOCOL_VERSION) {
        return refuse('protocol_unsupported', `this hub speaks version ${PROTOCOL_VERSION}`, {
          supported: [PROTOCOL_VERSION],
        });
      }
      const { node_id: nodeId, public_key: publicKey, nonce, signature } = packet;
      const purpose = packet.purpose ?? 'register';
      const profile: NodeProfile = profileOf(packet);
      const proof: Proof = { purpose, nodeId, publicKey, nonce, profile, signature };
      const refused = checkProof(proof, federationId, nonces);
      if (refused) return refused;
      const about: About = { actor: `node:${nodeId}`, correlation: kernel.uuid() };
      if (await hub.log.findCommand(commandId(about.actor, 'session', nonce))) return nonceUsed;
      const joined = await join(registry, live.nodes.get(nodeId), proof, about);
      if (isRefusal(joined)) return joined;
      const opened = await openSession(proof, transport, address, about);
      if (isRefusal(opened)) return opened;
      registry.heard(nodeId);
      const { sessionId, epoch } = opened.reply;
      const { token, expiresAtMs } = await tokens.issue({ nodeId, sessionId, epoch });
      return {
        node: { node_id: nodeId, public_key: publicKey, ...joined },
        token,
        expires_at: isoTime(expiresAtMs),
        session_id: sessionId,
        epoch,
        position: opened.position,
        heartbeat_ms: config.heartbeatMs,
        protocol_version: PROTOCOL_VERSION,
      };
    },

    async renew({ nodeId, sessionId, epoch, authTimeMs }) {
      if (kernel.now() - authTimeMs > longestSessionMs)
        return refuse('token_expired', 'prove the key again: the session is a day old');
      const expiresAt = isoTime(kernel.now() + sessionLifetimeMs);
      const renewal = { nodeId, sessionId, expiresAt };
      const renewed = await executor.execute(sessionStream(nodeId), session, renew, renewal, {
        actor: `node:${nodeId}`,
      });
      if (isRefusal(renewed)) return renewed;
      const { token, expiresAtMs } = await tokens.issue({ nodeId, sessionId, epoch, authTimeMs });
      return { token, expires_at: isoTime(expiresAtMs) };
    },

    async readSessionToken(authorization) {
      const token = bearer(authorization);
      return token === undefined ? refuse('unauthenticated', 'a session token is needed') : tokens.verify(token);
    },
  };
}

const nonceUsed = refuse('nonce_used', 'ask for a new challenge: this nonce was used');

/** Registers, or for a mere session requires a member with this key. Answers role and profile. */
async function join(
  registry: NodeRegistry,
  known: { public_key: string; role: Ack<'federation:register'>['node']['role']; profile: NodeProfile } | undefined,
  { purpose, nodeId, publicKey, profile }: Proof,
  about: About,
) {
  if (purpose === 'session') {
    if (!known) return refuse('not_found', `there is no node ${nodeId}`);
    if (known.public_key !== publicKey) return refuse('signature_invalid', 'this is not the key of the node');
    return { role: known.role, ...known.profile };
  }
  const registered = await registry.register({ nodeId, publicKey, profile }, about);
  return isRefusal(registered) ? registered : { role: registered.reply.role, ...profile };
}

/** Who shows this `Authorization` header. */
async function identify(
  hub: Hub,
  tokens: SessionTokens,
  authorization: string | undefined,
): Promise<Identity | Refusal> {
  if (authorization === undefined) return anonymous;
  const token = bearer(authorization);
  if (token === undefined) return refuse('unauthenticated', 'the Authorization header takes: Bearer <token>');
  return token.startsWith('fht_') ? operator(hub, token) : nodeSession(hub, await tokens.verify(token));
}

function operator({ live }: Hub, token: string): Identity | Refusal {
  const shown = parseOperatorToken(token);
  const known = shown && live.operatorTokens.get(shown.prefix);
  if (!known || !sameHash(shown.hash, known.hash)) return refuse('unauthenticated', 'there is no such operator token');
  return { kind: 'operator', prefix: known.prefix, scopes: known.scopes };
}

/** A token is worth something only while the node is a member and no newer socket session took over. */
function nodeSession({ live }: Hub, claims: SessionClaims | Refusal): Identity | Refusal {
  if (isRefusal(claims)) return claims;
  const { nodeId, sessionId, epoch } = claims;
  const node = live.nodes.get(nodeId);
  if (!node) return refuse('unauthenticated', 'the node is not a member any more');
  const newest = live.sessions.get(`${nodeId}/${sessionId.slice(0, sessionId.indexOf('.'))}`);
  const over =
    newest?.session_id === sessionId
      ? newest.status === 'ended'
      : newest?.transport === 'socket' && newest.epoch > epoch;
  if (over) return refuse('session_superseded', 'the session ended, or a newer one took over');
  return { kind: 'node', nodeId, sessionId, role: node.role };
}

function bearer(authorization: string | undefined): string | undefined {
  return /^Bearer ([\x21-\x7e]+)$/i.exec(authorization ?? '')?.[1];
}
