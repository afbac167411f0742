/** Facts of one node's membership, in the stream `node-<node id>`. */
import { Type } from 'typebox';
import { kept } from './define.ts';

/** 1 to 64 of letters, digits, `.`, `_`, `-`; ASCII only, so that no two ids look alike. */
export const NodeId = Type.String({
  pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$',
  description: 'Name of a node, its own choice, unique in the federation',
});

/** Ed25519 public key, 32 bytes, base64url without padding. */
export const PublicKey = Type.String({
  pattern: '^[A-Za-z0-9_-]{43}$',
  description: 'Ed25519 public key, 32 bytes in base64url',
});

const Name = Type.String({ minLength: 1, maxLength: 128 });
const Label = Type.String({ minLength: 1, maxLength: 64 });
/** Keys of a record are held to a pattern alone: TypeBox overlooks their other limits. */
const LabelKey = Type.String({ pattern: '^.{1,64}$' });

/** What a node says of each of its services. */
const ServiceClaim = Type.Object({
  status: Type.Optional(Type.Union([Type.Literal('running'), Type.Literal('degraded'), Type.Literal('stopped')])),
  version: Type.Optional(Type.String({ maxLength: 64 })),
  port: Type.Optional(Type.Integer({ minimum: 1, maximum: 65535 })),
});
export type ServiceClaim = Type.Static<typeof ServiceClaim>;
export const ServiceClaims = Type.Record(LabelKey, ServiceClaim, { maxProperties: 64 });

/** What tasks a node takes. */
const Work = Type.Object({
  /** Tasks at once. */
  capacity: Type.Integer({ minimum: 1, maximum: 1_000 }),
  /** Whether the hub pushes tasks to it, as long as it has a socket, or it claims them when it likes. Unsaid: pushed. */
  mode: Type.Optional(Type.Union([Type.Literal('push'), Type.Literal('claim')])),
  /** Types of tasks; unsaid: any. */
  types: Type.Optional(Type.Array(Label, { maxItems: 256, uniqueItems: true })),
});

/** What a node says of itself. Every member is optional, and what is left out is unknown, not empty. */
export const NodeProfile = Type.Object({
  display_name: Type.Optional(Name),
  owner: Type.Optional(Name),
  network: Type.Optional(
    Type.Object({
      public_url: Type.Optional(Type.String({ maxLength: 2048, pattern: '^https?://' })),
      ip_address: Type.Optional(Type.String({ maxLength: 45 })),
      port: Type.Optional(Type.Integer({ minimum: 1, maximum: 65535 })),
      /** Where it listens for other nodes while the hub is silent. */
      p2p_url: Type.Optional(Type.String({ maxLength: 512, pattern: '^https?://' })),
    }),
  ),
  services: Type.Optional(ServiceClaims),
  capabilities: Type.Optional(Type.Array(Label, { maxItems: 64, uniqueItems: true })),
  models: Type.Optional(Type.Array(Name, { maxItems: 256, uniqueItems: true })),
  hardware: Type.Optional(
    Type.Object({
      cpu_cores: Type.Optional(Type.Integer({ minimum: 1, maximum: 65536 })),
      memory_gb: Type.Optional(Type.Number({ minimum: 0 })),
      gpu: Type.Optional(Type.Union([Type.Boolean(), Type.String({ maxLength: 128 })])),
    }),
  ),
  /** Free words by name, that tasks may ask for. */
  labels: Type.Optional(Type.Record(LabelKey, Label, { maxProperties: 32 })),
  /** The node takes tasks. */
  work: Type.Optional(Work),
  sovereignty: Type.Optional(Type.Record(LabelKey, Type.Unknown(), { maxProperties: 64 })),
});
export type NodeProfile = Type.Static<typeof NodeProfile>;

export const NodeRole = Type.Union([Type.Literal('admin'), Type.Literal('member'), Type.Literal('observer')]);
export type NodeRole = Type.Static<typeof NodeRole>;

/** How a node got in. */
export const Admission = Type.Object({
  by: Type.Union([Type.Literal('open'), Type.Literal('approval'), Type.Literal('invite'), Type.Literal('allow_list')]),
  invite_id: Type.Optional(Type.String()),
});
export type Admission = Type.Static<typeof Admission>;

/** How sure the hub is that a silent node is gone: phi of the accrual detector, and milliseconds since it was last heard. */
const Suspicion = { node_id: NodeId, phi: Type.Number(), silent_ms: Type.Number() };

export const nodeEvents = {
  'node.registered': kept(
    Type.Object({
      node_id: NodeId,
      public_key: PublicKey,
      role: NodeRole,
      profile: NodeProfile,
      admission: Type.Optional(Admission),
    }),
  ),
  'node.role-changed': kept(Type.Object({ node_id: NodeId, role: NodeRole, previous: NodeRole })),
  /** Signed by the old key, and by the new one. The old key is retired: nobody may use it again. */
  'node.key-rotated': kept(Type.Object({ node_id: NodeId, public_key: PublicKey, previous: PublicKey })),
  /** The whole profile, as it is from now on. */
  'node.updated': kept(Type.Object({ node_id: NodeId, profile: NodeProfile })),
  /** Its heartbeats are late enough to doubt it; it is still counted as a member that may answer. */
  'node.suspected': kept(Type.Object(Suspicion)),
  /** The doubt is over: it was heard again. */
  'node.cleared': kept(Type.Object({ node_id: NodeId })),
  /** Taken as gone: by suspicion, or because it was silent for the hard limit. */
  'node.lost': kept(
    Type.Object({ ...Suspicion, cause: Type.Union([Type.Literal('suspicion'), Type.Literal('hard_limit')]) }),
  ),
  /** It said goodbye. */
  'node.left': kept(Type.Object({ node_id: NodeId })),
  /** A node that was away is heard steadily again, or opened a session. */
  'node.returned': kept(Type.Object({ node_id: NodeId, away_ms: Type.Number() })),
  /** Its membership ended; its key is free again. */
  'node.removed': kept(
    Type.Object({
      node_id: NodeId,
      cause: Type.Union([Type.Literal('itself'), Type.Literal('operator'), Type.Literal('reaped')]),
    }),
  ),
} as const;
