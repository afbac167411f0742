/** What an identity is worth now: asked at each delivery, however long ago it was at the door. */
import type { Identity } from '../../doors.ts';
import { type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { type SessionProof, sessionOver } from '../../live-session.ts';

/** Who it is, with the rights of this moment; or why nothing is told to it any more. */
export type Standing = () => Identity | Refusal;

/** The session that a token stands for. */
export interface TokenProof extends SessionProof {
  /** Milliseconds since 1970. */
  readonly expiresAtMs: number;
}

type Known = Pick<Hub, 'live' | 'doors' | 'kernel'>;

/** Of one who came through the door of HTTP. `proof`: of a node that showed a token; the others signed. */
export function standingOf(hub: Known, identity: Identity, proof: TokenProof | undefined): Standing {
  if (identity.kind === 'operator') return () => operator(hub, identity.prefix);
  if (identity.kind !== 'node') return () => refuse('unauthenticated', 'events are told to those who are known');
  const { nodeId, sessionId } = identity;
  if (proof) {
    return () => {
      if (proof.expiresAtMs <= hub.kernel.now()) return refuse('token_expired', 'the session token expired');
      return sessionOver(hub.live, proof) ?? node(hub, nodeId, sessionId);
    };
  }
  const key = hub.live.nodes.get(nodeId)?.public_key; // it signed its request with it
  return () =>
    hub.live.nodes.get(nodeId)?.public_key === key
      ? node(hub, nodeId, sessionId)
      : refuse('unauthenticated', 'the node has another key now');
}

/** Of an owner by name, `node:<id>` or `operator:<prefix>`, session or not. */
export function standingOfOwner(hub: Known, owner: string): Identity | Refusal {
  const [, kind, name] = /^(node|operator):(.*)$/s.exec(owner) ?? [];
  if (name === undefined) return refuse('unauthenticated', `${owner} is nobody`);
  return kind === 'node' ? node(hub, name, '') : operator(hub, name);
}

function node({ live, doors }: Known, nodeId: string, sessionId: string): Identity | Refusal {
  const row = live.nodes.get(nodeId);
  if (!row) return refuse('unauthenticated', 'the node is not a member any more');
  const identity: Identity = { kind: 'node', nodeId, sessionId, role: row.role };
  return doors.judge(identity) ?? identity;
}

function operator({ live, doors, kernel }: Known, prefix: string): Identity | Refusal {
  const row = live.operatorTokens.get(prefix);
  if (!row || row.revoked_at !== null) return refuse('unauthenticated', 'there is no such operator token');
  if (row.expires_at !== null && Date.parse(row.expires_at) <= kernel.now()) {
    return refuse('token_expired', `the operator token expired at ${row.expires_at}`);
  }
  const identity: Identity = { kind: 'operator', prefix, scopes: row.scopes };
  return doors.judge(identity) ?? identity;
}
