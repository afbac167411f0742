/**
 * How nodes come to be admitted, and kept out: requests to join in `join-<node id>`, invites in `invite-<id>`, bans in
 * `ban-<node id>`, and the set of administrators in `admins`.
 */
import { Type } from 'typebox';
import { kept } from './define.ts';
import { NodeId, NodeProfile, NodeRole, PublicKey } from './node.ts';

const thumbprint = Type.String({ pattern: '^[A-Za-z0-9_-]{43}$' });
const node_id = NodeId;
const invite_id = Type.String({ pattern: '^[a-z2-7]{8}$' });
/** `node:<id>` or `operator:<prefix>`. */
const admin = Type.String();

export const admissionEvents = {
  /** A node that proved its key asks to be let in. Void at `expires_at`. */
  'join.requested': kept(
    Type.Object({
      node_id,
      public_key: PublicKey,
      profile: NodeProfile,
      address: Type.String(),
      expires_at: Type.String(),
    }),
  ),
  /** It asked again while its request waits. Writing it down uses up the nonce of its proof. */
  'join.repeated': kept(Type.Object({ node_id, address: Type.String() })),
  'join.approved': kept(Type.Object({ node_id, public_key: PublicKey, role: NodeRole })),
  'join.rejected': kept(Type.Object({ node_id, reason: Type.String() })),
  'join.expired': kept(Type.Object({ node_id })),
  /** The secret itself is nowhere: only the hash of the whole invite. */
  'invite.created': kept(
    Type.Object({
      invite_id,
      /** SHA-256 of the whole invite, hex. */
      hash: Type.String(),
      label: Type.String(),
      role: NodeRole,
      uses: Type.Integer({ minimum: 1 }),
      /** Only this node id may use it. */
      node_id: Type.Optional(NodeId),
      /** Only the holder of this key may use it. */
      public_key: Type.Optional(PublicKey),
      expires_at: Type.String(),
    }),
  ),
  /** One use is held for a node that is registering; void at `expires_at` unless used. */
  'invite.claimed': kept(Type.Object({ invite_id, node_id, thumbprint, expires_at: Type.String() })),
  'invite.used': kept(Type.Object({ invite_id, node_id })),
  /** The use that was held is free again: the node did not get in. */
  'invite.released': kept(Type.Object({ invite_id, node_id })),
  'invite.revoked': kept(Type.Object({ invite_id })),
  /** Of a node id, known or not, and of the key it had then. */
  'ban.imposed': kept(
    Type.Object({ node_id, thumbprint: Type.Union([thumbprint, Type.Null()]), reason: Type.String() }),
  ),
  'ban.lifted': kept(Type.Object({ node_id })),
  'admin.appointed': kept(Type.Object({ admin })),
  'admin.dismissed': kept(Type.Object({ admin })),
} as const;
