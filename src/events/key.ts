/** Facts of one public key, in the stream `key-<thumbprint>`: one key, one node, decided by reserve, confirm, release. */
import { Type } from 'typebox';
import { kept } from './define.ts';
import { NodeId } from './node.ts';

/** RFC 7638 thumbprint of the key: SHA-256 of its JWK, base64url. */
const thumbprint = Type.String({ pattern: '^[A-Za-z0-9_-]{43}$' });

export const keyEvents = {
  /** Held for a node that is registering; void at `expires_at` unless confirmed. */
  'key.reserved': kept(Type.Object({ thumbprint, node_id: NodeId, expires_at: Type.String() })),
  'key.confirmed': kept(Type.Object({ thumbprint, node_id: NodeId })),
  /** Never again anyone's: its node has a newer one, or it fell into wrong hands. */
  'key.retired': kept(
    Type.Object({
      thumbprint,
      node_id: NodeId,
      cause: Type.Union([Type.Literal('rotated'), Type.Literal('revoked')]),
    }),
  ),
  'key.released': kept(Type.Object({ thumbprint, node_id: NodeId })),
} as const;
