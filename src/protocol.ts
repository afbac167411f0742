/** What both sides of a socket agree on: the packets, their answers, and the text that a node signs to prove its key. */
import { createHash } from 'node:crypto';
import { type TSchema, Type } from 'typebox';
import { canonicalJson } from './canonical-json.ts';
import { Level } from './events/degradation.ts';
import { EntityId, EntityKind, EntityProfile } from './events/entity.ts';
import { AnnouncementLevel } from './events/federation.ts';
import { AlertLevel, AlertMeasure } from './events/health.ts';
import { Reading } from './events/heartbeat.ts';
import { LimitKind } from './events/limits.ts';
import { ModelClaims } from './events/model.ts';
import { NodeId, NodeProfile, NodeRole, PublicKey } from './events/node.ts';
import { EventFilter, EventPatterns } from './events/subscription.ts';
import { Backoff, Callback, Priority, Requirements, TaskError, TaskId, TaskType } from './events/task.ts';
import { filePushes } from './protocol/files.ts';
import { knowledgePackets, knowledgePushes } from './protocol/knowledge.ts';
import { messagePackets, messagePushes } from './protocol/messages.ts';
import { p2pPackets, p2pPushes } from './protocol/p2p.ts';
import { secretPushes } from './protocol/secrets.ts';
import { Bytes, closed, done, Position, Time } from './protocol/shapes.ts';
import type { Scope } from './rights.ts';
import type { ServiceName } from './tiers.ts';

export { closed } from './protocol/shapes.ts';

/** Raised when a change breaks older clients. The hub refuses what it does not speak with `protocol_unsupported`. */
export const PROTOCOL_VERSION = 1;

/** What a proof is for; a nonce for one purpose is worth nothing for another. */
export const Purpose = Type.Union([Type.Literal('register'), Type.Literal('session'), Type.Literal('rotate')], {
  description:
    'register: join, or come back with the profile as it is now. session: only open a session of a known node. rotate: change the key.',
});
export type Purpose = Type.Static<typeof Purpose>;

const Nonce = Type.String({ pattern: '^[A-Za-z0-9_-]{72}$' });
/** Ed25519 signature, 64 bytes in base64url without padding. */
const Signature = Type.String({ pattern: '^[A-Za-z0-9_-]{86}$' });
const nothing = closed(Type.Object({}));
const token = { token: Type.String(), expires_at: Time };

/** A node as others see it. */
export const PublicNode = Type.Object({
  node_id: NodeId,
  public_key: PublicKey,
  role: NodeRole,
  ...NodeProfile.properties,
});
export type PublicNode = Type.Static<typeof PublicNode>;

/** What an operator hands to a node so that it may join: shown once, `fhi_<id>_<secret>`. */
export const Invite = Type.String({ pattern: '^fhi_[a-z2-7]{8}_[A-Za-z0-9_-]{43}$' });

/** A session that is open now. What happens after `position` is pushed to it. */
const opened = {
  ...token,
  node: PublicNode,
  session_id: Type.String(),
  position: Position,
  heartbeat_ms: Type.Integer({ minimum: 1, description: 'How often to send a heartbeat' }),
  protocol_version: Type.Integer(),
};

/** An entity as others see it. */
export const PublicEntity = Type.Object({
  entity_id: EntityId,
  kind: EntityKind,
  node_id: Type.Union([NodeId, Type.Null()], {
    description: 'The node it belongs to; null: registered by an operator',
  }),
  ...EntityProfile.properties,
});
export type PublicEntity = Type.Static<typeof PublicEntity>;

/** What is handed in as a task. What is left out: no payload, priority 5, no requirements, three attempts, exponential backoff from 1 s to 5 min. */
export const TaskSubmission = Type.Object({
  type: TaskType,
  /** At most 256 KiB as JSON. */
  payload: Type.Optional(Type.Unknown()),
  /** Where the payload is when it is larger. */
  file: Type.Optional(Type.String({ minLength: 1, maxLength: 512 })),
  priority: Type.Optional(Priority),
  requirements: Type.Optional(Requirements),
  deadline: Type.Optional(Type.String({ format: 'date-time', description: 'ISO 8601' })),
  max_attempts: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
  backoff: Type.Optional(Backoff),
  callback: Type.Optional(Callback),
  /** Payload and result are kept encrypted, with a key that can be destroyed. */
  sensitive: Type.Optional(Type.Boolean()),
});
export type TaskSubmission = Type.Static<typeof TaskSubmission>;

/** The fencing token: what is said of a task under an older one is refused. */
const Lease = Type.Integer({ minimum: 1, description: 'Fencing token of this assignment' });

/** A task as the node gets it that is to do it. */
export const AssignedTask = Type.Object({
  task_id: TaskId,
  type: TaskType,
  payload: Type.Optional(Type.Unknown()),
  file: Type.Optional(Type.String()),
  priority: Priority,
  lease: Lease,
  /** How often it was begun before. */
  attempt: Type.Integer({ minimum: 1 }),
  deadline: Type.Optional(Type.String()),
  ack_by: Type.String(),
  /** What handing it in belongs to, where a trace was named: W3C Trace Context. */
  traceparent: Type.Optional(Type.String()),
});
export type AssignedTask = Type.Static<typeof AssignedTask>;

const held = { task_id: TaskId, lease: Lease };

/** An event as it leaves the hub: CloudEvents 1.0. `sequence` is the position, in digits that sort as text. */
export const CloudEvent = Type.Object({
  specversion: Type.Literal('1.0'),
  id: Type.String(),
  source: Type.String(),
  type: Type.String(),
  subject: Type.Optional(Type.String()),
  time: Type.String(),
  datacontenttype: Type.Literal('application/json'),
  sequence: Type.String(),
  position: Position,
  traceparent: Type.Optional(Type.String()),
  data: Type.Unknown(),
});
export type CloudEvent = Type.Static<typeof CloudEvent>;

/** By their names in small letters; one that came more than once has a list. */
const HttpHeaders = Type.Record(
  Type.String({ pattern: "^[!#$%&'*+.^_`|~0-9a-z-]{1,128}$" }),
  Type.Union([Type.String({ maxLength: 16_384 }), Type.Array(Type.String({ maxLength: 16_384 }), { maxItems: 64 })]),
);

/** A part of a routed call: its head first, then its bytes in order, then its end. */
const CallId = Type.String({ minLength: 1, maxLength: 128, description: 'The routed call that this is a part of' });
const Sequence = Type.Integer({ minimum: 0, description: 'Place among the parts of the call that go this way' });
const chunk = Type.Optional(Bytes);
const end = Type.Optional(Type.Literal(true));

/**
 * Client to hub. Packets are closed, at every depth: an unknown member is refused. Answers may grow. `service` takes it; `who` may send it:
 * anyone, any node with a session, or a node with the right.
 */
export const clientPackets = {
  'federation:challenge': {
    service: 'identity-auth',
    who: 'anyone',
    packet: closed(Type.Object({ node_id: NodeId, purpose: Purpose })),
    ack: Type.Object({ ...done, nonce: Nonce, federation_id: Type.String(), expires_at: Time }),
  },
  /** The profile's members lie flat beside the proof. `purpose` is `register` unless it says `session`, which takes no profile. */
  'federation:register': {
    service: 'identity-auth',
    who: 'anyone',
    packet: closed(
      Type.Object({
        protocol_version: Type.Integer(),
        node_id: NodeId,
        public_key: PublicKey,
        nonce: Nonce,
        signature: Signature,
        purpose: Type.Optional(Type.Union([Type.Literal('register'), Type.Literal('session')])),
        invite: Type.Optional(Invite),
        ...NodeProfile.properties,
      }),
    ),
    ack: Type.Object({ ...done, ...opened }),
  },
  /**
   * Changes the key of the session's node. `nonce` is one for the purpose `rotate`; both keys sign `rotationText`. Every other
   * session of the node is over; this one goes on under the new key.
   */
  'federation:rotate': {
    service: 'identity-auth',
    who: 'node',
    packet: closed(
      Type.Object({ public_key: PublicKey, nonce: Nonce, signature: Signature, new_signature: Signature }),
    ),
    ack: Type.Object({ ...done, ...opened }),
  },
  'federation:heartbeat': {
    service: 'node-registry',
    who: 'node',
    packet: closed(Type.Object({ node_id: NodeId, ...Reading.properties })),
    ack: Type.Object({ ...done, position: Position }),
  },
  'federation:renew': {
    service: 'identity-auth',
    who: 'node',
    packet: nothing,
    ack: Type.Object({ ...done, ...token }),
  },
  /** Pushes what happened after `position`, in order; the answer, sent after those, says up to where. */
  'federation:resume': {
    service: 'websocket-pool',
    who: 'node',
    packet: closed(Type.Object({ position: Position })),
    ack: Type.Object({ ...done, position: Position }),
  },
  /** Goodbye: the node counts as gone at once, not after a silence. */
  'federation:leave': { service: 'node-registry', who: 'node', packet: nothing, ack: Type.Object(done) },
  /** Registers an entity of this node, or brings it up to date. */
  'entity:register': {
    service: 'entity-registry',
    who: 'act',
    packet: closed(Type.Object({ entity_id: EntityId, kind: EntityKind, ...EntityProfile.properties })),
    ack: Type.Object({ ...done, entity: PublicEntity, position: Position }),
  },
  /** Asks for events as they happen, and before that those after a position. At most 64 a connection. */
  'federation:subscribe': {
    service: 'event-bus',
    who: 'read',
    packet: closed(
      Type.Object({
        patterns: EventPatterns,
        filter: Type.Optional(EventFilter),
        after: Type.Optional(Position),
      }),
    ),
    ack: Type.Object({ ...done, subscription: Type.String(), position: Position }),
  },
  'federation:unsubscribe': {
    service: 'event-bus',
    who: 'read',
    packet: closed(Type.Object({ subscription: Type.String({ maxLength: 64 }) })),
    ack: Type.Object(done),
  },
  /** Hands in a task. `key` makes it known: sent again, it is the same task. */
  'federation:task:submit': {
    service: 'task-queue',
    who: 'act',
    packet: closed(
      Type.Object({
        ...TaskSubmission.properties,
        key: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
      }),
    ),
    ack: Type.Object({ ...done, task_id: TaskId, position: Position }),
  },
  /** Asks for a task that this node can do, for as long as it says. None in that time: `task` is null. */
  'federation:task:claim': {
    service: 'task-queue',
    who: 'act',
    packet: closed(
      Type.Object({
        types: Type.Optional(Type.Array(TaskType, { minItems: 1, maxItems: 64, uniqueItems: true })),
        wait_ms: Type.Optional(Type.Integer({ minimum: 0, maximum: 30_000 })),
      }),
    ),
    ack: Type.Object({ ...done, task: Type.Union([AssignedTask, Type.Null()]) }),
  },
  /** Says that the work has begun: within 10 s, unless it is done by then. */
  'federation:task:started': {
    service: 'task-queue',
    who: 'act',
    packet: closed(Type.Object(held)),
    ack: Type.Object({ ...done, position: Position }),
  },
  'federation:task:progress': {
    service: 'task-queue',
    who: 'act',
    packet: closed(
      Type.Object({
        ...held,
        percent: Type.Optional(Type.Number({ minimum: 0, maximum: 100 })),
        message: Type.Optional(Type.String({ maxLength: 512 })),
      }),
    ),
    ack: Type.Object({ ...done, recorded: Type.Boolean() }),
  },
  'federation:task:complete': {
    service: 'task-queue',
    who: 'act',
    packet: closed(Type.Object({ ...held, result: Type.Optional(Type.Unknown()) })),
    ack: Type.Object({ ...done, position: Position }),
  },
  /** `declined`: the work was never begun here, and is to go elsewhere. */
  'federation:task:fail': {
    service: 'task-queue',
    who: 'act',
    packet: closed(
      Type.Object({
        ...held,
        error: TaskError,
        retryable: Type.Optional(Type.Boolean()),
        declined: Type.Optional(Type.Boolean()),
      }),
    ),
    ack: Type.Object({ ...done, status: Type.String(), position: Position }),
  },
  ...messagePackets,
  ...knowledgePackets,
  ...p2pPackets,
  /** All models of this node, as it is from now on. */
  'federation:models': {
    service: 'model-registry',
    who: 'act',
    packet: closed(Type.Object({ models: ModelClaims })),
    ack: Type.Object({ ...done, position: Position }),
  },
  /**
   * A part of the answer to a routed call that came as `federation:request`: `head`, `chunk`s, `end`; or `error`. The
   * acknowledgement comes when there is room for the next; with `open: false` nobody waits for more.
   */
  'federation:response': {
    service: 'service-router',
    who: 'node',
    packet: closed(
      Type.Object({
        call: CallId,
        seq: Sequence,
        head: Type.Optional(
          Type.Object({ status: Type.Integer({ minimum: 200, maximum: 599 }), headers: HttpHeaders }),
        ),
        chunk,
        end,
        error: Type.Optional(Type.String({ maxLength: 512 })),
      }),
    ),
    ack: Type.Object({ ...done, open: Type.Boolean() }),
  },
} as const satisfies Record<
  string,
  { service: ServiceName; who: 'anyone' | 'node' | Scope; packet: TSchema; ack: TSchema }
>;

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
  /** The request to join was approved: this connection has a session now, as if it had registered just now. */
  'federation:admitted': Type.Object(opened),
  /** The request to join was rejected or lapsed. Sent before the hub cuts the socket. */
  'federation:rejected': Type.Object({ code: Type.String(), reason: Type.String() }),
  'federation:role-changed': Type.Object({ ...pushed, role: NodeRole, previous: NodeRole }),
  'federation:announcement': Type.Object({
    position: Position,
    time: Time,
    announcement_id: Type.String(),
    message: Type.String(),
    level: AnnouncementLevel,
  }),
  'federation:entity-registered': Type.Object({ position: Position, time: Time, entity: PublicEntity }),
  'federation:entity-unregistered': Type.Object({
    position: Position,
    time: Time,
    entity_id: EntityId,
    cause: Type.String(),
  }),
  /** Four fifths of a limit are used; at most once a minute a limit. */
  'federation:limit-warning': Type.Object({
    limit: LimitKind,
    used: Type.Number(),
    allowed: Type.Integer(),
    window_seconds: Type.Integer(),
  }),
  'federation:task:assigned': Type.Object({ position: Position, time: Time, task: AssignedTask }),
  /** The task is not this node's any more: it was cancelled, or its deadline passed, or its lease went to another. */
  'federation:task:cancelled': Type.Object({
    position: Position,
    time: Time,
    task_id: TaskId,
    lease: Lease,
    reason: Type.String(),
  }),
  /** A task that this node handed in is over. */
  'federation:task:finished': Type.Object({
    position: Position,
    time: Time,
    task_id: TaskId,
    status: Type.Union([Type.Literal('completed'), Type.Literal('failed'), Type.Literal('cancelled')]),
    result: Type.Optional(Type.Unknown()),
    error: Type.Optional(TaskError),
  }),
  ...messagePushes,
  ...knowledgePushes,
  ...secretPushes,
  ...p2pPushes,
  ...filePushes,
  /** An event that this connection subscribed to. */
  'federation:event': Type.Object({ subscription: Type.String(), event: CloudEvent }),
  /**
   * A part of a routed call to a service of this node: `head`, and when it has a body, `chunk`s and `end`. Each wants an
   * acknowledgement: `{ ok: true }` when there is room for the next. `cancel`: the caller is gone.
   */
  'federation:request': Type.Object({
    call: CallId,
    seq: Sequence,
    head: Type.Optional(
      Type.Object({
        /** '': any service of the node. */
        service: Type.String(),
        method: Type.String(),
        /** Path and query under the service. */
        path: Type.String(),
        headers: HttpHeaders,
        body: Type.Boolean(),
      }),
    ),
    chunk,
    end,
    cancel: Type.Optional(Type.String()),
  }),
  'federation:health-alert': Type.Object({
    ...pushed,
    status: Type.Union([Type.Literal('opened'), Type.Literal('changed'), Type.Literal('closed')]),
    measure: AlertMeasure,
    level: Type.Optional(AlertLevel),
    percent: Type.Union([Type.Number(), Type.Null()]),
    threshold: Type.Optional(Type.Number()),
  }),
  /**
   * How much this replica puts aside from now on: `level`, and the services of which it does. `reason`: `load`, `order`, or `restored` at
   * level normal. Without a level, with `draining` or `cut_off`, this replica goes: come back after `retry_after_ms`.
   */
  'federation:degraded': Type.Object({
    reason: Type.String(),
    level: Type.Optional(Level),
    sheds: Type.Optional(Type.Array(Type.String())),
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
  const { protocol_version, node_id, public_key, nonce, signature, purpose, invite, ...profile } = packet;
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

/** The text that both keys sign, as UTF-8, when a node changes its key. */
export function rotationText(rotation: {
  federationId: string;
  nodeId: string;
  publicKey: string;
  newPublicKey: string;
  nonce: string;
}): string {
  const { federationId, nodeId, publicKey, newPublicKey, nonce } = rotation;
  return ['federation-hub rotation v1', federationId, nodeId, publicKey, newPublicKey, nonce].join('\n');
}

/** The `tag` of requests that are signed (RFC 9421): a signature for one federation is worth nothing at another. */
export function signatureTag(federationId: string): string {
  return `federation-hub;${federationId}`;
}
