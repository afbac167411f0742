/** Facts of a node's sessions, in the stream `session-<node id>`. The revision of `session.opened` is the session's epoch. */
import { Type } from 'typebox';
import { kept } from './define.ts';
import { NodeId } from './node.ts';

export const sessionEvents = {
  /** The node proved possession of its key. A newer socket session takes over from an older one. */
  'session.opened': kept(
    Type.Object({
      node_id: NodeId,
      session_id: Type.String(),
      transport: Type.Union([Type.Literal('socket'), Type.Literal('http')]),
      address: Type.String(),
    }),
  ),
  'session.renewed': kept(Type.Object({ node_id: NodeId, session_id: Type.String(), expires_at: Type.String() })),
  /** All sessions of the node are over, whoever holds them. */
  'session.revoked': kept(Type.Object({ node_id: NodeId, reason: Type.String() })),
  'session.ended': kept(Type.Object({ node_id: NodeId, session_id: Type.String(), cause: Type.String() })),
} as const;
