/** Who stands at a door: by a session token, an operator token, or a signature over the request. */
import { anonymous, type Credentials, type Identity, type IdentityGuard } from '../../doors.ts';
import { keyThumbprint } from '../../ed25519.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { sessionOver } from '../../live-session.ts';
import { type OperatorTokenName, parseOperatorToken, sameHash } from '../../operator-token.ts';
import { createCatchUp } from './catch-up.ts';
import { createNonceMemory } from './nonce-memory.ts';
import type { SessionClaims, SessionTokens } from './session-token.ts';
import { isGood, isSigned, readClaims, signatureCountsMs, targetsOf } from './signed-request.ts';

/** Told of each operator token that was shown and taken, and from where. */
export type OnUse = (prefix: string, address: string) => void;

/** The identity guard of every door. */
export function createIdentityGuard(hub: Hub, tokens: SessionTokens, onUse: OnUse): IdentityGuard {
  const catchUp = createCatchUp(hub);
  const signed = createSignedGuard(hub, catchUp);
  return async (shown, address) => {
    if (isSigned(shown)) return signed(shown);
    const { authorization } = shown.headers;
    if (authorization === undefined) return anonymous;
    const token = bearer(authorization);
    if (token === undefined) return refuse('unauthenticated', 'the Authorization header takes: Bearer <token>');
    if (token.startsWith('fht_')) {
      const name = parseOperatorToken(token);
      if (name && !hub.live.operatorTokens.get(name.prefix)) await catchUp(); // it may have been made at another replica just now
      return operator(hub, name, (used) => onUse(used, address));
    }
    const claims = await tokens.verify(token);
    if (isRefusal(claims)) return claims;
    // It may have joined, or changed its key, at another replica just now.
    if (keyOf(hub, claims.nodeId) !== claims.keyId) await catchUp();
    return nodeSession(hub, claims);
  };
}

/** The token of an `Authorization` header; undefined when it holds none. */
export function bearer(authorization: string | undefined): string | undefined {
  return /^Bearer ([\x21-\x7e]+)$/i.exec(authorization ?? '')?.[1];
}

function operator(
  { live, kernel }: Hub,
  shown: OperatorTokenName | undefined,
  onUse: (prefix: string) => void,
): Identity | Refusal {
  const known = shown && live.operatorTokens.get(shown.prefix);
  if (!known || !sameHash(shown.hash, known.hash) || known.revoked_at !== null)
    return refuse('unauthenticated', 'there is no such operator token');
  if (known.expires_at !== null && Date.parse(known.expires_at) <= kernel.now())
    return refuse('token_expired', `the operator token expired at ${known.expires_at}`);
  onUse(known.prefix);
  return { kind: 'operator', prefix: known.prefix, scopes: known.scopes };
}

/** A token is worth something only while its session counts. */
function nodeSession({ live }: Hub, claims: SessionClaims): Identity | Refusal {
  const { nodeId, sessionId } = claims;
  const node = live.nodes.get(nodeId);
  const ban = node && live.bans.get(nodeId);
  if (ban) return refuse('banned', ban.reason); // says more than that its sessions are over
  const over = sessionOver(live, claims);
  return over ?? { kind: 'node', nodeId, sessionId, role: node!.role }; // there, or it would be over
}

function keyOf({ live }: Hub, nodeId: string): string | undefined {
  const node = live.nodes.get(nodeId);
  return node && keyThumbprint(node.public_key);
}

function createSignedGuard(
  { kernel, live, config, federationId }: Hub,
  catchUp: () => Promise<void>,
): (shown: Credentials) => Promise<Identity | Refusal> {
  const nonces = createNonceMemory(kernel, signatureCountsMs);
  return async (shown) => {
    const claimed = readClaims(shown, federationId, kernel.now());
    if (isRefusal(claimed)) return claimed;
    const { keyId, nonce } = claimed;
    if (!live.keys.get(keyId)) await catchUp(); // its node may have joined at another replica just now
    const key = live.keys.get(keyId);
    if (key?.status === 'retired') return refuse('key_revoked', 'this key was rotated away or revoked');
    const node = key && live.nodes.get(key.node_id);
    if (!node || keyThumbprint(node.public_key) !== keyId)
      return refuse('unauthenticated', 'no member has the key that keyid names');
    if (!(await isGood(shown, targetsOf(config, shown.headers.host ?? ''), node.public_key)))
      return refuse('signature_invalid', 'the signature is not over this request, or was not made with this key');
    // Only now: strangers must not use up the nonces of others.
    const used = nonces.use(keyId, nonce);
    if (used) return used;
    return { kind: 'node', nodeId: node.node_id, sessionId: `signed:${nonce}`, role: node.role, signedWith: nonce };
  };
}
