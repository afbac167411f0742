/**
 * Facts of knowledge that moves: one sync in the stream `sync-<sync id>`, who holds copies in `holdings-<holder>`, other hubs in
 * `peer-<peer id>`.
 */
import { Type } from 'typebox';
import { kept } from './define.ts';
import { Category, MemoryId, Tags, VersionId } from './memory.ts';
import { NodeId } from './node.ts';

export const SyncId = Type.String({ format: 'uuid', description: 'Name of a sync, given by the hub' });

/** What of all that may move is to: everything; what changed since a position of the log; or what this names. */
export const SyncScope = Type.Union([
  Type.Object({ mode: Type.Literal('full') }),
  Type.Object({ mode: Type.Literal('incremental'), since: Type.Integer({ minimum: 0 }) }),
  Type.Object({
    mode: Type.Literal('targeted'),
    categories: Type.Optional(Type.Array(Category, { minItems: 1, maxItems: 64 })),
    tags: Type.Optional(Tags),
    ids: Type.Optional(Type.Array(MemoryId, { minItems: 1, maxItems: 1_000 })),
    query: Type.Optional(Type.String({ minLength: 1, maxLength: 512 })),
  }),
]);
export type SyncScope = Type.Static<typeof SyncScope>;

/** As the node sees it: it pulls from the hub, pushes to it, or both. */
export const SyncDirection = Type.Union([Type.Literal('pull'), Type.Literal('push'), Type.Literal('both')]);
export type SyncDirection = Type.Static<typeof SyncDirection>;

/** So far. */
const progress = {
  /** Frames of fingerprints, both ways counted once. */
  rounds: Type.Integer({ minimum: 0 }),
  pulled: Type.Integer({ minimum: 0 }),
  pushed: Type.Integer({ minimum: 0 }),
  /** What was pushed and not taken. */
  refused: Type.Integer({ minimum: 0 }),
  bytes: Type.Integer({ minimum: 0 }),
};
export const SyncProgress = Type.Object(progress);
export type SyncProgress = Type.Static<typeof SyncProgress>;

const sync = { sync_id: SyncId, node_id: NodeId };

/** A copy, and the rule that let it go where it is. */
export const Holding = Type.Object({
  memory_id: MemoryId,
  version: VersionId,
  /** Whose policy: a node or `@federation`. */
  subject: Type.String(),
  /** Of the policy. */
  rule: Type.String(),
  policy_version: Type.Integer(),
  pass_on: Type.Boolean(),
  /** Until when it may be kept; ISO 8601. */
  until: Type.Optional(Type.String()),
});
export type Holding = Type.Static<typeof Holding>;

export const Holder = Type.String({
  pattern: '^(?:peer:)?[A-Za-z0-9][A-Za-z0-9._-]{0,63}$',
  description: 'Who has copies: a node, or `peer:<peer id>`, another hub that this one is a member of',
});

/** Documents one event names at most. */
export const mostMoved = 256;

export const knowledgeEvents = {
  'knowledge.sync-started': kept(Type.Object({ ...sync, direction: SyncDirection, scope: SyncScope })),
  /** At most once a second. */
  'knowledge.sync-progressed': kept(Type.Object({ ...sync, ...progress })),
  'knowledge.sync-paused': kept(
    Type.Object({ ...sync, cause: Type.Union([Type.Literal('asked'), Type.Literal('node_gone')]) }),
  ),
  'knowledge.sync-resumed': kept(Type.Object(sync)),
  'knowledge.sync-ended': kept(
    Type.Object({
      ...sync,
      ...progress,
      outcome: Type.Union([Type.Literal('completed'), Type.Literal('failed'), Type.Literal('cancelled')]),
      error: Type.Optional(Type.String({ maxLength: 512 })),
      /** Position up to which the node knows everything now: where the next incremental sync begins. */
      cursor: Type.Optional(Type.Integer({ minimum: 0 })),
    }),
  ),
  /** Copies went to a holder, each by the rule that is named. */
  'knowledge.moved': kept(
    Type.Object({
      holder: Holder,
      sync_id: Type.Optional(SyncId),
      items: Type.Array(Holding, { minItems: 1, maxItems: mostMoved }),
    }),
  ),
  /** No rule allows these copies any more: the holder is asked to let go of them. */
  'knowledge.withdrawal-asked': kept(
    Type.Object({
      holder: Holder,
      memory_ids: Type.Array(MemoryId, { minItems: 1, maxItems: mostMoved }),
      cause: Type.Union([
        Type.Literal('policy'),
        Type.Literal('deleted'),
        Type.Literal('kept_long_enough'),
        Type.Literal('erased'),
      ]),
    }),
  ),
  /** What became of it: the holder let go of them, would not, or is no member any more. */
  'knowledge.withdrawn': kept(
    Type.Object({
      holder: Holder,
      memory_ids: Type.Array(MemoryId, { minItems: 1, maxItems: mostMoved }),
      outcome: Type.Union([Type.Literal('honoured'), Type.Literal('declined'), Type.Literal('unreachable')]),
      /** It is about copies that went there by this position; of those that went later it says nothing. */
      through: Type.Optional(Type.Integer({ minimum: 0 })),
    }),
  ),
  /** This hub is a member of another federation from now on, and syncs with it. */
  'peer.joined': kept(
    Type.Object({
      peer_id: Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$' }),
      url: Type.String({ maxLength: 2_048 }),
      /** As what this hub is known there. */
      node_id: NodeId,
      scope: SyncScope,
      direction: SyncDirection,
      /** Seconds between syncs. */
      every_seconds: Type.Integer({ minimum: 1, maximum: 86_400 }),
    }),
  ),
  'peer.left': kept(Type.Object({ peer_id: Type.String() })),
  /** What came of a sync with another hub. */
  'peer.synced': kept(
    Type.Object({
      peer_id: Type.String(),
      ...progress,
      outcome: Type.Union([Type.Literal('completed'), Type.Literal('failed')]),
      error: Type.Optional(Type.String({ maxLength: 512 })),
    }),
  ),
} as const;
