/** Packets of knowledge that is brought to the same state on both sides: fingerprints first, then the documents that differ. */
import { Type } from 'typebox';
import { SyncDirection, SyncId, SyncScope } from '../events/knowledge.ts';
import { Category, Clock, Foreign, MemoryId, Provenance, Tag, Tags, VersionId } from '../events/memory.ts';
import { Bytes, closed, done, Position, Time } from './shapes.ts';

/** What a memory says. Together at most 256 KiB as JSON. */
export const MemoryContent = Type.Object({
  title: Type.Optional(Type.String({ minLength: 1, maxLength: 256 })),
  /** Text, or any other JSON. */
  content: Type.Unknown(),
  provenance: Type.Optional(Provenance),
});
export type MemoryContent = Type.Static<typeof MemoryContent>;

/** What let a document go, and where that is written. */
export const Receipt = Type.Object({
  /** The federation whose hub let it go. */
  federation: Type.String(),
  /** Whose policy: a node, or `@federation`. */
  subject: Type.String(),
  rule: Type.String(),
  policy_version: Type.Integer(),
  pass_on: Type.Boolean(),
  /** Whether the holder may write new versions. */
  edit: Type.Boolean(),
  until: Type.Optional(Time),
});
export type Receipt = Type.Static<typeof Receipt>;

const version = {
  memory_id: MemoryId,
  version: VersionId,
  clock: Clock,
  owner: Type.String({ minLength: 1, maxLength: 200 }),
  author: Type.String({ minLength: 1, maxLength: 200 }),
  category: Category,
  tags: Tags,
  /** The newest clock of each author that it knew of. */
  seen: Type.Record(Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._:@-]{0,199}$' }), Clock, { maxProperties: 64 }),
  deleted: Type.Boolean(),
  /** Absent in a tombstone, and where the key that sealed it was destroyed. */
  content: Type.Optional(MemoryContent),
  foreign: Type.Optional(Foreign),
};

/** A version of a memory as it moves. */
export const Document = Type.Object({ ...version, receipt: Type.Optional(Receipt) });
export type Document = Type.Static<typeof Document>;

const refused = Type.Array(Type.Object({ version: VersionId, code: Type.String(), detail: Type.String() }));
const ofSync = { sync_id: SyncId };

export const knowledgePackets = {
  /** Begins a sync, or goes on with one that was paused or cut: `sync_id`. What may move is judged anew each time. */
  'federation:knowledge:sync': {
    service: 'knowledge-sync',
    who: 'act',
    packet: closed(Type.Object({ direction: SyncDirection, scope: SyncScope, sync_id: Type.Optional(SyncId) })),
    ack: Type.Object({
      ...done,
      sync_id: SyncId,
      position: Position,
      /** Versions that the hub has and this node may have. */
      offered: Type.Integer({ minimum: 0 }),
      /** Bytes of a frame at most. */
      frame_bytes: Type.Integer(),
    }),
  },
  /** A frame of Negentropy, protocol version 1; timestamps are the milliseconds of the clock, ids the versions. */
  'federation:knowledge:reconcile': {
    service: 'knowledge-sync',
    who: 'act',
    packet: closed(Type.Object({ ...ofSync, frame: Bytes })),
    ack: Type.Object({ ...done, frame: Bytes }),
  },
  /** Asks for documents. As many come as fit into one answer; ask again for the rest. */
  'federation:knowledge:pull': {
    service: 'knowledge-sync',
    who: 'act',
    packet: closed(Type.Object({ ...ofSync, versions: Type.Array(VersionId, { minItems: 1, maxItems: 256 }) })),
    ack: Type.Object({ ...done, documents: Type.Array(Document), refused }),
  },
  'federation:knowledge:push': {
    service: 'knowledge-sync',
    who: 'act',
    packet: closed(
      Type.Object({ ...ofSync, documents: Type.Array(closed(Type.Object(version)), { minItems: 1, maxItems: 64 }) }),
    ),
    ack: Type.Object({ ...done, taken: Type.Array(VersionId), refused }),
  },
  'federation:knowledge:pause': {
    service: 'knowledge-sync',
    who: 'act',
    packet: closed(Type.Object(ofSync)),
    ack: Type.Object({ ...done, position: Position }),
  },
  'federation:knowledge:end': {
    service: 'knowledge-sync',
    who: 'act',
    packet: closed(
      Type.Object({
        ...ofSync,
        outcome: Type.Union([Type.Literal('completed'), Type.Literal('failed'), Type.Literal('cancelled')]),
        error: Type.Optional(Type.String({ maxLength: 512 })),
      }),
    ),
    /** `cursor`: where an incremental sync after this one begins. */
    ack: Type.Object({ ...done, position: Position, cursor: Position }),
  },
  /** What became of a withdrawal. */
  'federation:knowledge:withdrawn': {
    service: 'knowledge-sync',
    who: 'node',
    packet: closed(
      Type.Object({
        memory_ids: Type.Array(MemoryId, { minItems: 1, maxItems: 256 }),
        outcome: Type.Union([Type.Literal('honoured'), Type.Literal('declined')]),
      }),
    ),
    ack: Type.Object({ ...done, position: Position }),
  },
} as const;

export const knowledgePushes = {
  /** Somebody would have this node sync now. */
  'federation:knowledge:offer': Type.Object({ direction: SyncDirection, scope: SyncScope, by: Type.String() }),
  /** How far a sync of this node is. */
  'federation:knowledge:progress': Type.Object({
    sync_id: SyncId,
    status: Type.String(),
    rounds: Type.Integer(),
    pulled: Type.Integer(),
    pushed: Type.Integer(),
    refused: Type.Integer(),
    bytes: Type.Integer(),
  }),
  /** These copies are to go: no rule allows them any more. Answered by `federation:knowledge:withdrawn`. */
  'federation:knowledge:withdraw': Type.Object({
    memory_ids: Type.Array(MemoryId),
    cause: Type.String(),
  }),
} as const;

/** A memory as its author stores it. */
export const NewMemory = Type.Object({
  /** Unsaid: a new one with a name of the hub's making. */
  memory_id: Type.Optional(MemoryId),
  category: Category,
  tags: Type.Optional(Type.Array(Tag, { maxItems: 32, uniqueItems: true })),
  ...MemoryContent.properties,
  /** The version this one was written from; unsaid: the one that is shown. When another came meanwhile, both are kept. */
  based_on: Type.Optional(VersionId),
});
export type NewMemory = Type.Static<typeof NewMemory>;
