/** Facts of entities: AIs, services, daemons, bridges and clients, in the stream `entity-<entity id>`. */
import { Type } from 'typebox';
import { kept } from './define.ts';
import { NodeId } from './node.ts';

/** Same alphabet as a node id, so that no two ids look alike. */
export const EntityId = Type.String({
  pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$',
  description: 'Name of an entity, unique in the federation',
});

export const EntityKind = Type.Union(
  [Type.Literal('ai'), Type.Literal('service'), Type.Literal('daemon'), Type.Literal('bridge'), Type.Literal('client')],
  { description: 'What it is' },
);
export type EntityKind = Type.Static<typeof EntityKind>;

/** What is said of an entity, as events hold it. What is left out is unknown, not empty. */
const KeptProfile = Type.Object({
  display_name: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
  description: Type.Optional(Type.String({ maxLength: 1024 })),
  capabilities: Type.Optional(
    Type.Array(Type.String({ minLength: 1, maxLength: 64 }), { maxItems: 64, uniqueItems: true }),
  ),
  /** Free, at most 64 members. */
  metadata: Type.Optional(Type.Record(Type.String({ pattern: '^.{1,64}$' }), Type.Unknown(), { maxProperties: 64 })),
});

/** No control characters: these words are shown in terminals. */
const word = { minLength: 1, pattern: '^\\P{Cc}*$' };

/** What may be said of an entity from now on; events from before may hold more. */
export const EntityProfile = Type.Object({
  ...KeptProfile.properties,
  display_name: Type.Optional(Type.String({ ...word, maxLength: 128 })),
  capabilities: Type.Optional(Type.Array(Type.String({ ...word, maxLength: 64 }), { maxItems: 64, uniqueItems: true })),
});
export type EntityProfile = Type.Static<typeof EntityProfile>;

const entity_id = EntityId;

export const entityEvents = {
  'entity.registered': kept(
    Type.Object({
      entity_id,
      kind: EntityKind,
      /** The node that registered it; null for one that an operator registered. */
      node_id: Type.Union([NodeId, Type.Null()]),
      profile: KeptProfile,
    }),
  ),
  /** The whole profile, as it is from now on. */
  'entity.updated': kept(Type.Object({ entity_id, profile: KeptProfile })),
  /** It, or its node on its behalf, showed that it lives. Written at most once in five minutes. */
  'entity.seen': kept(Type.Object({ entity_id })),
  'entity.unregistered': kept(
    Type.Object({
      entity_id,
      cause: Type.Union([Type.Literal('owner'), Type.Literal('operator'), Type.Literal('node_removed')]),
    }),
  ),
} as const;
