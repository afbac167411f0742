/** How much an identity may ask of the hub, in the stream `limits-<node id>`; warnings in `limit-warnings`. */
import { Type } from 'typebox';
import { kept } from './define.ts';
import { NodeId } from './node.ts';

export const LimitKind = Type.Union([Type.Literal('requests'), Type.Literal('megabytes'), Type.Literal('messages')]);
export type LimitKind = Type.Static<typeof LimitKind>;

/** Each a minute: HTTP requests, megabytes (10^6 bytes) in both directions, packets over the socket. */
export const Limits = Type.Object({
  requests: Type.Integer({ minimum: 1, maximum: 10_000_000 }),
  megabytes: Type.Integer({ minimum: 1, maximum: 10_000_000 }),
  messages: Type.Integer({ minimum: 1, maximum: 10_000_000 }),
});
export type Limits = Type.Static<typeof Limits>;

export const limitEvents = {
  /** The node's own limits, all of them as they are from now on; what is left out is the default. */
  'limits.set': kept(Type.Object({ node_id: NodeId, limits: Type.Partial(Limits) })),
  /** Four fifths of a limit are used. At most once a minute an identity and limit. */
  'limits.warned': kept(
    Type.Object({
      /** `node:<id>`, `operator:<prefix>` or `address:<ip>`. */
      who: Type.String(),
      limit: LimitKind,
      used: Type.Number(),
      allowed: Type.Integer(),
    }),
  ),
} as const;
