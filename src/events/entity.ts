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

/** What is said of an entity. What is left out is unknown, not empty. */
export const EntityProfile = Type.Object({
  display_name: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
  description: Type.Optional(Type.String({ maxLength: 1024 })),
  capabilities: Type.Optional(
    Type.Array(Type.String({ minLength: 1, maxLength: 64 }), { maxItems: 64, uniqueItems: true }),
  ),
  /** Free, at most 64 members. */
  metadata: Type.Optional(Type.Record(Type.String({ pattern: '^.{1,64}$' }), Type.Unknown(), { maxProperties: 64 })),
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
      profile: EntityProfile,
    }),
  ),
  /** The whole profile, as it is from now on. */
  'entity.updated': kept(Type.Object({ entity_id, profile: EntityProfile })),
  /** It, or its node on its behalf, showed that it lives. Written at most once in five minutes. */
  'entity.seen': kept(Type.Object({ entity_id })),
  'entity.unregistered': kept(
    Type.Object({
      entity_id,
      cause: Type.Union([Type.Literal('owner'), Type.Literal('operator'), Type.Literal('node_removed')]),
    }),
  ),
} as const;
