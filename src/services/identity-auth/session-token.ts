/** Session tokens: EdDSA JWTs (RFC 7519, RFC 8725) that a node shows after it proved its key. */
import { errors, type JWTPayload, jwtVerify, SignJWT } from 'jose';
import { LRUCache } from 'lru-cache';
import { Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { type Refusal, refuse } from '../../errors.ts';
import type { Kernel } from '../../kernel.ts';
import type { Keyring } from '../../keyring.ts';
import type { SessionProof } from '../../live-session.ts';

export const sessionLifetimeMs = 15 * 60_000;

/** Keeps these apart from any other JWT the hub's key may sign. */
const tokenType = 'fedhub-session+jwt';

/** Whose session it is. Times are milliseconds since 1970, cut to whole seconds. */
export interface SessionClaims extends SessionProof {
  /** When the key was last proved; renewal keeps it. */
  readonly authTimeMs: number;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
}

export interface SessionTokens {
  /** A token good for 15 minutes. Without `authTimeMs` the key was proved just now. */
  issue(session: {
    nodeId: string;
    sessionId: string;
    epoch: number;
    keyId: string;
    authTimeMs?: number;
  }): Promise<{ token: string; expiresAtMs: number }>;
  /**
   * Refuses `token_expired`, or `unauthenticated` for anything that this federation did not issue. Whether the session was
   * superseded or revoked since is not in the token: the caller asks that.
   */
  verify(token: string): Promise<SessionClaims | Refusal>;
}

const Payload = Compile(
  Type.Object({
    sub: Type.String(),
    sid: Type.String(),
    epoch: Type.Integer(),
    iat: Type.Integer(),
    exp: Type.Integer(),
    auth_time: Type.Integer(),
    /** RFC 7800: the key that the session was proved with, by its thumbprint (RFC 9449). */
    cnf: Type.Object({ jkt: Type.String() }),
  }),
);

export function createSessionTokens(kernel: Kernel, keyring: Keyring, federationId: string): SessionTokens {
  // Tokens verified before, so that a busy caller costs one signature in 15 minutes. Expiry and kid are judged each time.
  const verified = new LRUCache<string, { claims: SessionClaims; kid: string }>({ max: 10_000 });

  const read = async (token: string): Promise<{ claims: SessionClaims; kid: string } | Refusal> => {
    try {
      let kid = '';
      const keyFor = async (header: { kid?: string }) => {
        kid = header.kid ?? '';
        if (!keyring.verifyKeys().has(kid)) await keyring.reload(); // another replica may have rotated just now
        const key = keyring.verifyKeys().get(kid);
        if (!key) throw new errors.JWKSNoMatchingKey();
        return key;
      };
      const { payload } = await jwtVerify(token, keyFor, {
        algorithms: ['EdDSA'],
        typ: tokenType,
        issuer: federationId,
        currentDate: new Date(kernel.now()),
      });
      const claims = claimsOf(payload);
      return claims ? { claims, kid } : refuse('unauthenticated', 'The session token lacks claims');
    } catch (error) {
      if (error instanceof errors.JWTExpired) return expired();
      if (error instanceof errors.JOSEError) return refuse('unauthenticated', 'The session token was not issued here');
      throw error;
    }
  };

  return {
    async issue({ nodeId, sessionId, epoch, keyId, authTimeMs }) {
      const { kid, privateKey } = keyring.signingKey();
      const issuedAt = Math.floor(kernel.now() / 1000);
      const expiresAt = issuedAt + sessionLifetimeMs / 1000;
      const authTime = authTimeMs === undefined ? issuedAt : Math.floor(authTimeMs / 1000);
      const token = await new SignJWT({ sid: sessionId, epoch, auth_time: authTime, cnf: { jkt: keyId } })
        .setProtectedHeader({ alg: 'EdDSA', typ: tokenType, kid })
        .setIssuer(federationId)
        .setSubject(nodeId)
        .setIssuedAt(issuedAt)
        .setExpirationTime(expiresAt)
        .sign(privateKey);
      return { token, expiresAtMs: expiresAt * 1000 };
    },
    async verify(token) {
      if (token.length > 2048) return refuse('unauthenticated', 'The session token is longer than any issued here');
      const known = verified.get(token);
      if (known && keyring.verifyKeys().has(known.kid))
        return known.claims.expiresAtMs > kernel.now() ? known.claims : expired();
      const fresh = await read(token);
      if ('refused' in fresh) return fresh;
      verified.set(token, fresh);
      return fresh.claims;
    },
  };
}

function claimsOf(payload: JWTPayload): SessionClaims | undefined {
  if (!Payload.Check(payload)) return undefined;
  const { sub, sid, epoch, iat, exp, auth_time, cnf } = payload;
  const times = { authTimeMs: auth_time * 1000, issuedAtMs: iat * 1000, expiresAtMs: exp * 1000 };
  return { nodeId: sub, sessionId: sid, epoch, keyId: cnf.jkt, ...times };
}

function expired(): Refusal {
  return refuse('token_expired', 'The session token has expired: prove the key again');
}
