/** /entities, /external-entities and /events/joins: the AIs, services, daemons, bridges and clients, and who came last. */
import type { FastifyInstance } from 'fastify';
import { type Static, type TProperties, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import type { Party } from '../../commands/entity.ts';
import type { Identity } from '../../doors.ts';
import { isRefusal, refuse } from '../../errors.ts';
import { EntityId, EntityKind, EntityProfile } from '../../events/entity.ts';
import { NodeId } from '../../events/node.ts';
import type { Hub } from '../../hub.ts';
import { type EntityRow, findEntities, findEntity } from '../../projections/entities.ts';
import { closed, PublicEntity } from '../../protocol.ts';
import { may } from '../../rights.ts';
import type { EntityRegistry } from '../entity-registry.ts';
import { responses } from './describe.ts';
import { aboutOf, freshness, ReadQuery, sendExecuted, sendProblem, writeHeaders } from './http.ts';
import { joinRoutes } from './join-routes.ts';
import { cursorAfter, defaultLimit, NextCursor, PageQuery, placeOf } from './page.ts';

const EntityView = Type.Object({
  ...PublicEntity.properties,
  registered_at: Type.String(),
  updated_at: Type.String(),
  last_seen: Type.String({ description: 'When its owner last did something about it, to five minutes' }),
});

const Params = Type.Object({ id: EntityId });
const Registering = closed(
  Type.Object({
    entity_id: EntityId,
    kind: EntityKind,
    node_id: Type.Optional(
      Type.Union([NodeId, Type.Null()], {
        description: 'Whose it is: of a node, always itself; of an operator, a node, or null for an entity of no node',
      }),
    ),
    ...EntityProfile.properties,
  }),
);
const External = Type.Object({
  ...PageQuery.properties,
  kind: Type.Optional(EntityKind),
  capability: Type.Optional(Type.String({ minLength: 1, maxLength: 64 })),
  search: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 200,
      description: 'Part of id, display name or description; capitals are no matter',
    }),
  ),
});
const List = Type.Object({ ...External.properties, node: Type.Optional(NodeId) });
const Answer = Type.Object({ entity: PublicEntity, position: Type.Integer() });

export function entityRoutes(api: FastifyInstance, hub: Hub, registry: EntityRegistry): void {
  api.post<{ Body: Static<typeof Registering> }>(
    '/entities',
    {
      config: { access: 'act' },
      schema: {
        operationId: 'registerEntity',
        summary: 'Registers an entity, or brings one of the same owner up to date',
        tags: ['entities'],
        headers: writeHeaders,
        body: Registering,
        response: responses(200, Answer, 'entity_id_taken', 'limit_reached', 'not_found', 'conflict'),
      },
    },
    async (request, reply) => {
      const { entity_id: entityId, kind, node_id, ...profile } = request.body;
      const { owner: own } = partyOf(request.identity);
      const owner = node_id === undefined ? own : node_id;
      if (own !== null && owner !== own) {
        return sendProblem(reply, request, refuse('forbidden', 'a node registers entities of its own'));
      }
      const registration = { entityId, owner, kind, profile };
      const registered = await registry.register(registration, aboutOf(request));
      return sendExecuted(reply, request, registered, (entity) => ({ entity }));
    },
  );

  listRoute(api, hub, '/entities', List, {
    operationId: 'listEntities',
    summary: 'The entities of the federation',
  });
  listRoute(
    api,
    hub,
    '/external-entities',
    External,
    { operationId: 'listExternalEntities', summary: 'Entities of no node: those that operators registered' },
    true,
  );
  oneEntityRoutes(api, hub, registry);
  joinRoutes(api, hub);
}

function oneEntityRoutes(api: FastifyInstance, hub: Hub, registry: EntityRegistry): void {
  api.get<{ Params: Static<typeof Params>; Querystring: Static<typeof ReadQuery> }>(
    '/entities/:id',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'readEntity',
        summary: 'One entity',
        tags: ['entities'],
        params: Params,
        querystring: ReadQuery,
        response: responses(200, Type.Object({ entity: EntityView, ...freshness }), 'not_found'),
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const { value: row, ...fresh } = await hub.views.read(request.query.min_position, (db) => findEntity(db, id));
      if (!row) return sendProblem(reply, request, refuse('not_found', `there is no entity ${id}`));
      return reply.send({ entity: view(row), ...fresh });
    },
  );

  api.patch<{ Params: Static<typeof Params>; Body: Static<typeof EntityProfile> }>(
    '/entities/:id',
    {
      config: { access: 'act' },
      schema: {
        operationId: 'updateEntity',
        summary: 'Changes the named parts of a profile: by the owner, or who governs',
        tags: ['entities'],
        params: Params,
        headers: writeHeaders,
        body: closed(Type.Object(EntityProfile.properties)),
        response: responses(200, Answer, 'not_found', 'conflict'),
      },
    },
    async (request, reply) => {
      const { params, body, identity } = request;
      const updated = await registry.update(params.id, partyOf(identity), body, aboutOf(request));
      return sendExecuted(reply, request, updated, (entity) => ({ entity }));
    },
  );

  api.delete<{ Params: Static<typeof Params> }>(
    '/entities/:id',
    {
      config: { access: 'act' },
      schema: {
        operationId: 'unregisterEntity',
        summary: 'Ends a registration: by the owner, or who governs',
        tags: ['entities'],
        params: Params,
        headers: writeHeaders,
        response: responses(200, Type.Object({ position: Type.Integer() }), 'not_found', 'conflict'),
      },
    },
    async (request, reply) => {
      const gone = await registry.unregister(request.params.id, partyOf(request.identity), aboutOf(request));
      return sendExecuted(reply, request, gone, () => ({}));
    },
  );

  api.post<{ Params: Static<typeof Params> }>(
    '/entities/:id/seen',
    {
      config: { access: 'act' },
      schema: {
        operationId: 'seeEntity',
        summary: 'The owner says that it lives; written down at most once in five minutes',
        tags: ['entities'],
        params: Params,
        headers: writeHeaders,
        response: responses(
          200,
          Type.Object({ recorded: Type.Boolean(), position: Type.Integer() }),
          'not_found',
          'conflict',
        ),
      },
    },
    async (request, reply) => {
      const seen = await registry.see(request.params.id, partyOf(request.identity), aboutOf(request));
      return sendExecuted(reply, request, seen, (sight) => sight);
    },
  );
}

const entityIds = Compile(EntityId);

function listRoute(
  api: FastifyInstance,
  hub: Hub,
  path: string,
  Query: ReturnType<typeof Type.Object<TProperties>>,
  about: { operationId: string; summary: string },
  external?: true,
): void {
  api.get<{ Querystring: Static<typeof List> }>(
    path,
    {
      config: { access: 'read' },
      schema: {
        ...about,
        tags: ['entities'],
        querystring: Query,
        response: responses(
          200,
          Type.Object({ entities: Type.Array(EntityView), next_cursor: NextCursor, ...freshness }),
          'cursor_invalid',
        ),
      },
    },
    async (request, reply) => {
      const { min_position, limit = defaultLimit, cursor, kind, node, capability, search } = request.query;
      const after = placeOf(cursor, (place) => entityIds.Check(place));
      if (isRefusal(after)) return sendProblem(reply, request, after);
      const filter = { kind, capability, search, ...(external ? { external } : { node }) };
      const { value: rows, ...fresh } = await hub.views.read(min_position, (db) =>
        findEntities(db, filter, after, limit),
      );
      const next_cursor = cursorAfter(rows, limit, ({ entity_id }) => entity_id);
      return reply.send({ entities: rows.map(view), next_cursor, ...fresh });
    },
  );
}

function view(row: EntityRow): Static<typeof EntityView> {
  const { entity_id, kind, node_id, profile, registered_at, updated_at, last_seen } = row;
  return { ...profile, entity_id, kind, node_id, registered_at, updated_at, last_seen };
}

/** For whom someone asks who may act at all: a node for itself, an operator for the operators. */
function partyOf(identity: Identity): Party {
  return { owner: identity.kind === 'node' ? identity.nodeId : null, governs: may(identity, 'govern') };
}
