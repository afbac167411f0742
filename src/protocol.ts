/** What both sides of a socket agree on: the packets, their answers, and the text that a node signs to prove its key. */
import { createHash } from 'node:crypto';
import { type TSchema, Type } from 'typebox';
import { canonicalJson } from './canonical-json.ts';
import { AlertLevel, AlertMeasure } from './events/health.ts';
import { Reading } from './events/heartbeat.ts';
import { NodeId, NodeProfile, NodeRole, PublicKey } from './events/node.ts';

/** Raised when a change breaks older clients. The hub refuses what it does not speak with `protocol_unsupported`. */
export const PROTOCOL_VERSION = 1;

/** What a proof is for; a nonce for one purpose is worth nothing for another. */
export const Purpose = Type.Union([Type.Literal('register'), Type.Literal('session')], {
  description:
    'register: join, or come back with the profile as it is now. session: only open a session of a known node.',
});
export type Purpose = Type.Static<typeof Purpose>;

const Position = Type.Integer({ minimum: 0, description: 'Place in the log' });
const Time = Type.String({ description: 'ISO 8601 UTC' });
const Nonce = Type.String({ pattern: '^[A-Za-z0-9_-]{72}$' });
/** Ed25519 signature, 64 bytes in base64url without padding. */
const Signature = Type.String({ pattern: '^[A-Za-z0-9_-]{86}$' });
const nothing = closed(Type.Object({}));
const done = { ok: Type.Literal(true) };
const token = { token: Type.String(), expires_at: Time };

/** A node as others see it. */
export const PublicNode = Type.Object({
  node_id: NodeId,
  public_key: PublicKey,
  role: NodeRole,
  ...NodeProfile.properties,
});
export type PublicNode = Type.Static<typeof PublicNode>;

/** Client to hub. Packets are closed, at every depth: an unknown member is refused. Answers may grow. */
export const clientPackets = {
  'federation:challenge': {
    packet: closed(Type.Object({ node_id: NodeId, purpose: Purpose })),
    ack: Type.Object({ ...done, nonce: Nonce, federation_id: Type.String(), expires_at: Time }),
  },
  /** The profile's members lie flat beside the proof. `purpose` is `register` unless it says `session`, which takes no profile. */
  'federation:register': {
    packet: closed(
      Type.Object({
        protocol_version: Type.Integer(),
        node_id: NodeId,
        public_key: PublicKey,
        nonce: Nonce,
        signature: Signature,
        purpose: Type.Optional(Purpose),
        ...NodeProfile.properties,
      }),
    ),
    /** What happens after `position` is pushed to this session. */
    ack: Type.Object({
      ...done,
      ...token,
      node: PublicNode,
      session_id: Type.String(),
      position: Position,
      heartbeat_ms: Type.Integer({ minimum: 1, description: 'How often to send a heartbeat' }),
      protocol_version: Type.Integer(),
    }),
  },
  'federation:heartbeat': {
    packet: closed(Type.Object({ node_id: NodeId, ...Reading.properties })),
    ack: Type.Object({ ...done, position: Position }),
  },
  'federation:renew': { packet: nothing, ack: Type.Object({ ...done, ...token }) },
  /** Pushes what happened after `position`, in order; the answer, sent after those, says up to where. */
  'federation:resume': {
    packet: closed(Type.Object({ position: Position })),
    ack: Type.Object({ ...done, position: Position }),
  },
  /** Goodbye: the node counts as gone at once, not after a silence. */
  'federation:leave': { packet: nothing, ack: Type.Object(done) },
} as const;

const pushed = { position: Position, time: Time, node_id: NodeId };

/** Hub to client. What comes from the log carries its position. Packets may grow: clients overlook what they do not know. */
export const hubPackets = {
  /** The first packet of a connection, before anyone proved anything. */
  'federation:connected': Type.Object({ protocol_version: Type.Integer(), federation_id: Type.String() }),
  'federation:node-joined': Type.Object({
    ...pushed,
    cause: Type.Union([Type.Literal('registered'), Type.Literal('returned')]),
    node: Type.Optional(PublicNode),
  }),
  'federation:node-left': Type.Object({
    ...pushed,
    cause: Type.Union([Type.Literal('left'), Type.Literal('lost'), Type.Literal('removed')]),
  }),
  'federation:health-alert': Type.Object({
    ...pushed,
    status: Type.Union([Type.Literal('opened'), Type.Literal('changed'), Type.Literal('closed')]),
    measure: AlertMeasure,
    level: Type.Optional(AlertLevel),
    percent: Type.Union([Type.Number(), Type.Null()]),
    threshold: Type.Optional(Type.Number()),
  }),
  /** The hub does less than it should. With reason `draining`, this replica goes: come back after `retry_after_ms`. */
  'federation:degraded': Type.Object({
    reason: Type.String(),
    retry_after_ms: Type.Optional(Type.Integer({ minimum: 0 })),
  }),
  /** This session is over and trying again would not help. Sent before the hub cuts the socket. */
  'federation:revoked': Type.Object({ reason: Type.String(), detail: Type.Optional(Type.String()) }),
  'federation:error': Type.Object({ code: Type.String(), message: Type.String() }),
} as const;

/** The answer of a packet that was refused or failed; members such as `retry_after_ms` come beside the code. */
export const FailureAck = Type.Object({
  ok: Type.Literal(false),
  error: Type.Object({ code: Type.String(), message: Type.String() }),
});
export type FailureAck = Type.Static<typeof FailureAck>;

export type ClientPacketName = keyof typeof clientPackets;
export type ClientPacket<N extends ClientPacketName> = Type.Static<(typeof clientPackets)[N]['packet']>;
export type Ack<N extends ClientPacketName> = Type.Static<(typeof clientPackets)[N]['ack']>;
export type HubPacketName = keyof typeof hubPackets;
export type HubPacket<N extends HubPacketName> = Type.Static<(typeof hubPackets)[N]>;

/** The members of a `federation:register` packet that make up the profile: what the proof is about besides the key. */
export function profileOf(packet: ClientPacket<'federation:register'>): NodeProfile {
  const { protocol_version, node_id, public_key, nonce, signature, purpose, ...profile } = packet;
  return profile;
}

/**
 * The text that a node signs, as UTF-8, to prove that it holds its key. It names the federation, the node, the purpose and
 * the hub's nonce, so that the signature is good for one use at one place; and the profile, so that no one in between
 * changes it. `profile` is `{}` for a session.
 */
export function proofText(proof: {
  purpose: Purpose;
  federationId: string;
  nodeId: string;
  publicKey: string;
  nonce: string;
  profile: NodeProfile;
}): string {
  const { purpose, federationId, nodeId, publicKey, nonce, profile } = proof;
  const digest = createHash('sha256').update(canonicalJson(profile)).digest('hex');
  return ['federation-hub proof v1', purpose, federationId, nodeId, publicKey, nonce, digest].join('\n');
}

/** The same schema with every object and record in it closed to members it does not name. */
export function closed<S extends TSchema>(schema: S): S {
  return close(schema) as S; // only `additionalProperties` was added, which changes no static type
}

function close(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(close);
  if (typeof schema !== 'object' || schema === null) return schema;
  // Descriptors, because TypeBox keeps its own marks (kind, optional) as members that do not enumerate.
  const copy = Object.defineProperties({}, Object.getOwnPropertyDescriptors(schema));
  for (const [name, member] of Object.entries(schema)) Reflect.set(copy, name, close(member));
  const isObject = 'properties' in schema || 'patternProperties' in schema;
  if (isObject) Reflect.set(copy, 'additionalProperties', false);
  return copy;
}
