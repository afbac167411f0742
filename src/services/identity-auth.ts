/** Who is who: nodes prove their Ed25519 keys and get sessions; operators show tokens. The identity guard of every door. */

import { commandId } from '../commands/command-id.ts';
import type { About } from '../commands/execute.ts';
import { keyRevoked } from '../commands/key.ts';
import { nodeIdTaken } from '../commands/node.ts';
import type { Transport } from '../commands/session.ts';
import { keyThumbprint } from '../ed25519.ts';
import { isRefusal, type Refusal, refuse } from '../errors.ts';
import type { NodeProfile } from '../events/node.ts';
import type { Hub } from '../hub.ts';
import { isoTime } from '../kernel.ts';
import type { SessionProof } from '../live-session.ts';
import {
  type Ack,
  type ClientPacket,
  PROTOCOL_VERSION,
  type PublicNode,
  type Purpose,
  profileOf,
} from '../protocol.ts';
import { bearer, createIdentityGuard } from './identity-auth/identify.ts';
import { followKeyring } from './identity-auth/keyring-duties.ts';
import { createNonces, type Nonces } from './identity-auth/nonce.ts';
import { createOperatorTokens, type OperatorTokens } from './identity-auth/operator-tokens.ts';
import { checkProof, type Proof } from './identity-auth/proof.ts';
import { createRevocation, type Revocation } from './identity-auth/revocation.ts';
import { createRotation, type Rotation } from './identity-auth/rotation.ts';
import { createSessionTokens, type SessionClaims, type SessionTokens } from './identity-auth/session-token.ts';
import { createSessions, nonceUsed, type OpenedSession } from './identity-auth/sessions.ts';
import { type NodeRegistry, nodeRegistry } from './node-registry.ts';
import { service } from './service.ts';
import { type SocketSession, type Waiting, websocketPool } from './websocket-pool.ts';

type Registering = ClientPacket<'federation:register'>;
/** Role and profile of a node that is in. */
type Joined = Omit<PublicNode, 'node_id' | 'public_key'> & {
  /** It was no member until now. */
  readonly joinedNow: boolean;
};

export type { OperatorTokens } from './identity-auth/operator-tokens.ts';

export interface IdentityAuth extends Revocation {
  /** A nonce to sign, good for a minute and one use. */
  challenge(nodeId: string, purpose: Purpose): Omit<Ack<'federation:challenge'>, 'ok'>;
  /** Checks the proof, makes the node a member (or, for purpose `session`, requires that it is one) and opens a session. */
  register(
    packet: Registering,
    transport: Transport,
    address: string,
    traceparent?: string,
  ): Promise<OpenedSession | Refusal>;
  /** Opens the session of a node whose proof was good, and which was admitted while it waited. */
  admit(packet: Registering, address: string): Promise<OpenedSession | Refusal>;
  /** Gives a node another key, for which both keys signed, and opens a session under it. */
  rotate(rotation: Rotation): Promise<OpenedSession | Refusal>;
  readonly operatorTokens: OperatorTokens;
  /** A new token for a session that goes on. Refuses `session_superseded`, and `token_expired` a day after the proof. */
  renew(
    claims: Pick<SessionClaims, keyof SessionProof | 'authTimeMs'>,
  ): Promise<{ token: string; expires_at: string } | Refusal>;
  /** Claims of a session token, without asking whether the session is still live. */
  readSessionToken(authorization: string | undefined): Promise<SessionClaims | Refusal>;
}

export const identityAuth = service({
  name: 'identity-auth',
  purpose: 'Ed25519 proofs of identity, session tokens and operator tokens',
  needs: { registry: nodeRegistry, sockets: websocketPool },
  async start(hub, { registry, sockets }) {
    const nonces = createNonces(hub.kernel, () => hub.keyring.nonceSecrets());
    const tokens = createSessionTokens(hub.kernel, hub.keyring, hub.federationId);
    const api = createIdentityAuth(hub, registry, nonces, tokens);
    const undo = [
      followKeyring(hub, await hub.log.head()),
      hub.doors.identity.fill(createIdentityGuard(hub, tokens, api.operatorTokens.used)),
      sockets.handle('federation:challenge', async (_client, { node_id, purpose }) => api.challenge(node_id, purpose)),
      sockets.handle('federation:register', async (client, packet) => {
        const opened = await api.register(packet, 'socket', client.address, client.traceparent);
        if (!isRefusal(opened)) {
          const { session, reply } = bindable(opened, hub.kernel.now());
          return { ...reply, position: client.bind(session) };
        }
        const waiting = waitingOf(api, hub.kernel, packet, client.address, opened);
        if (waiting) client.wait(waiting);
        return opened;
      }),
      sockets.handle('federation:rotate', async (client, packet) => {
        const { nodeId } = client.session!;
        const opened = await api.rotate({ nodeId, packet, transport: 'socket', address: client.address });
        if (isRefusal(opened)) return opened;
        const { session, reply } = bindable(opened, hub.kernel.now());
        return { ...reply, position: client.bind(session) };
      }),
      sockets.handle('federation:renew', async (client) => api.renew(client.session!)),
    ];
    return { api, stop: async () => void (await Promise.all(undo.map((take) => take()))) };
  },
});

function createIdentityAuth(hub: Hub, registry: NodeRegistry, nonces: Nonces, tokens: SessionTokens): IdentityAuth {
  const { kernel, federationId } = hub;
  const sessions = createSessions(hub, tokens);

  /** The nonce is the id of the command that opens the session: single use, over all replicas and for ever. */
  const openSession = async (
    { nodeId, publicKey, nonce, signature }: Proof,
    { joinedNow, ...joined }: Joined,
    transport: Transport,
    address: string,
    about: About,
  ): Promise<OpenedSession | Refusal> => {
    const node = { node_id: nodeId, public_key: publicKey, ...joined };
    const anew = joinedNow ? 'the node joined anew' : undefined; // another node may have had the name
    const command = { id: commandId(about.actor, 'session', nonce), bodyHash: signature };
    const opened = await sessions.open({ node, transport, address, anew, command }, about);
    if (!isRefusal(opened)) registry.heard(nodeId);
    return opened;
  };

  return {
    challenge(nodeId, purpose) {
      const { nonce, expiresAtMs } = nonces.issue({ nodeId, purpose, federationId });
      return { nonce, federation_id: federationId, expires_at: isoTime(expiresAtMs) };
    },

    async register(packet, transport, address, traceparent) {
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
      const trace = traceparent !== undefined && { traceparent };
      const about = { actor: `node:${nodeId}`, address, correlation: kernel.uuid(), ...trace };
      if (await hub.log.findCommand(commandId(about.actor, 'session', nonce))) return nonceUsed;
      const joined = await join(hub, registry, proof, packet.invite, about);
      if (isRefusal(joined)) return joined;
      return openSession(proof, joined, transport, address, about);
    },

    async admit(packet, address) {
      const { node_id: nodeId, public_key: publicKey, nonce, signature } = packet;
      const profile = profileOf(packet);
      const judged = hub.doors.judge({ kind: 'node', nodeId, sessionId: '', role: 'observer', publicKey });
      if (judged) return judged;
      const about = { actor: `node:${nodeId}`, address, correlation: kernel.uuid() };
      // It was approved as it was when it asked first; now it is as it says it is.
      const registered = await registry.register({ nodeId, publicKey, profile, grant: undefined }, about);
      if (isRefusal(registered)) return registered;
      // The nonce itself was used up by the request to join.
      const proof: Proof = { purpose: 'register', nodeId, publicKey, nonce: `${nonce}:admitted`, profile, signature };
      const joined = { role: registered.reply.role, joinedNow: true, ...profile };
      return openSession(proof, joined, 'socket', address, about);
    },

    rotate: createRotation(hub, nonces, sessions),
    renew: sessions.renew,
    ...createRevocation(hub, sessions),
    operatorTokens: createOperatorTokens(hub),

    async readSessionToken(authorization) {
      const token = bearer(authorization);
      return token === undefined ? refuse('unauthenticated', 'a session token is needed') : tokens.verify(token);
    },
  };
}

/** A session as the socket is bound to it, and as the node is told of it. */
function bindable({ epoch, ...reply }: OpenedSession, authTimeMs: number) {
  const { node_id: nodeId, public_key: publicKey } = reply.node;
  const keyId = keyThumbprint(publicKey);
  const session: SocketSession = { nodeId, sessionId: reply.session_id, epoch, keyId, authTimeMs };
  return { session, reply };
}

/** A node whose request waits, as its connection remembers it; undefined when it was refused otherwise. The key counts as proved now. */
function waitingOf(
  api: Pick<IdentityAuth, 'admit'>,
  kernel: Hub['kernel'],
  packet: Registering,
  address: string,
  { extra }: Refusal,
): Waiting | undefined {
  if (extra?.waiting !== true || typeof extra.position !== 'number') return undefined;
  const provedAt = kernel.now();
  return {
    position: extra.position,
    nodeId: packet.node_id,
    publicKey: packet.public_key,
    async open() {
      const opened = await api.admit(packet, address);
      return isRefusal(opened) ? opened : bindable(opened, provedAt);
    },
  };
}

/**
 * Registers, or for a mere session requires a member with this key. Answers role and profile. The guards of bans, block list
 * and admission are asked first, for members too.
 */
async function join(
  { doors, live }: Hub,
  registry: NodeRegistry,
  proof: Proof,
  invite: string | undefined,
  about: About & { readonly address: string },
): Promise<Joined | Refusal> {
  const { purpose, nodeId, publicKey, profile } = proof;
  const known = live.nodes.get(nodeId);
  if (purpose === 'session') {
    if (!known) return refuse('not_found', `there is no node ${nodeId}`);
    if (known.public_key !== publicKey) return refuse('signature_invalid', 'this is not the key of the node');
  }
  if (live.keys.get(keyThumbprint(publicKey))?.status === 'retired') return keyRevoked;
  if (known && known.public_key !== publicKey) return nodeIdTaken(nodeId);
  const judged = doors.judge({ kind: 'node', nodeId, sessionId: '', role: known?.role ?? 'observer', publicKey });
  if (judged) return judged;
  const guard = doors.admission.get();
  if (isRefusal(guard)) return guard;
  const thumbprint = keyThumbprint(publicKey);
  const candidate = { nodeId, publicKey, thumbprint, profile, member: known !== undefined, invite };
  // A request to join uses up the nonce of the proof, as opening a session does.
  const command = { id: commandId(about.actor, 'session', proof.nonce), bodyHash: proof.signature, once: true };
  const grant = await guard({ ...candidate, address: about.address }, { ...about, command });
  if (isRefusal(grant)) return grant;
  if (known && purpose === 'session') return { role: known.role, joinedNow: false, ...known.profile };
  const registered = await registry.register({ nodeId, publicKey, profile, grant: known ? undefined : grant }, about);
  await grant.settle(!isRefusal(registered));
  if (isRefusal(registered)) return registered;
  return { role: registered.reply.role, joinedNow: !registered.reply.known, ...profile };
}
