/** /nodes: the directory, and nodes that live by HTTP alone. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { refuse } from '../../errors.ts';
import { Reading } from '../../events/heartbeat.ts';
import { NodeId, NodeProfile, NodeRole, PublicKey } from '../../events/node.ts';
import type { Hub } from '../../hub.ts';
import { findNodes, type NodeRow } from '../../projections/nodes.ts';
import { closed } from '../../protocol.ts';
import type { NodeRegistry } from '../node-registry.ts';
import { mayDecideOn } from './admin-right.ts';
import { responses } from './describe.ts';
import { aboutOf, freshness, ReadQuery, sendExecuted, sendProblem, writeHeaders } from './http.ts';

const Status = Type.Union([Type.Literal('online'), Type.Literal('suspect'), Type.Literal('offline')]);

const NodeView = Type.Object({
  node_id: NodeId,
  public_key: PublicKey,
  role: NodeRole,
  status: Status,
  status_since: Type.String(),
  registered_at: Type.String(),
  last_heartbeat: Type.Union([Type.String(), Type.Null()]),
  suspicion: Type.Union([Type.Object({ phi: Type.Number(), silent_ms: Type.Integer() }), Type.Null()], {
    description: 'Phi of the accrual failure detector and milliseconds of silence, as this replica hears the node',
  }),
  reading: Type.Union([Reading, Type.Null()], { description: 'The newest heartbeat' }),
  ...NodeProfile.properties,
});

const Params = Type.Object({ id: NodeId });
const List = Type.Object({
  ...ReadQuery.properties,
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 500, default: 100 })),
  cursor: Type.Optional(Type.String({ maxLength: 200 })),
  status: Type.Optional(Status),
  owner: Type.Optional(Type.String({ maxLength: 128 })),
  capability: Type.Optional(Type.String({ maxLength: 64 })),
  model: Type.Optional(Type.String({ maxLength: 128 })),
});
const Position = Type.Object({ position: Type.Integer() });

export function nodeRoutes(api: FastifyInstance, hub: Hub, registry: NodeRegistry): void {
  const view = (row: NodeRow): Static<typeof NodeView> => ({
    ...row.profile,
    node_id: row.node_id,
    public_key: row.public_key,
    role: row.role,
    status: row.status,
    status_since: row.status_since,
    registered_at: row.registered_at,
    last_heartbeat: row.last_heartbeat,
    suspicion: registry.suspicion(row.node_id) ?? null,
    reading: row.reading,
  });

  api.get<{ Querystring: Static<typeof List> }>(
    '/nodes',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'listNodes',
        summary: 'The directory of nodes',
        tags: ['nodes'],
        querystring: List,
        response: responses(
          200,
          Type.Object({
            nodes: Type.Array(NodeView),
            next_cursor: Type.Union([Type.String(), Type.Null()]),
            ...freshness,
          }),
          'cursor_invalid',
        ),
      },
    },
    async (request, reply) => {
      const { min_position, limit = 100, cursor, ...filter } = request.query;
      const after = cursor === undefined ? '' : nodeIdOf(cursor);
      if (after === undefined) {
        return sendProblem(reply, request, refuse('cursor_invalid', 'give next_cursor of an earlier page, or none'));
      }
      const { value: rows, ...fresh } = await hub.views.read(min_position, (db) => findNodes(db, filter, after, limit));
      const last = rows.length === limit ? rows.at(-1) : undefined;
      const next_cursor = last ? cursorOf(last.node_id) : null;
      return reply.send({ nodes: rows.map(view), next_cursor, ...fresh });
    },
  );

  api.get<{ Params: Static<typeof Params>; Querystring: Static<typeof ReadQuery> }>(
    '/nodes/:id',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'readNode',
        summary: 'One node',
        tags: ['nodes'],
        params: Params,
        querystring: ReadQuery,
        response: responses(200, Type.Object({ node: NodeView, ...freshness }), 'not_found'),
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const { value: row, ...fresh } = await hub.views.read(request.query.min_position, (db) =>
        db.selectFrom('federation_nodes').selectAll().where('node_id', '=', id).executeTakeFirst(),
      );
      if (!row) return sendProblem(reply, request, refuse('not_found', `there is no node ${id}`));
      return reply.send({ node: view(row), ...fresh });
    },
  );

  api.post<{ Params: Static<typeof Params>; Body: Static<typeof Reading> }>(
    '/nodes/:id/heartbeat',
    {
      config: { access: 'itself' },
      schema: {
        operationId: 'sendHeartbeat',
        summary: 'A heartbeat of a node that lives by HTTP',
        tags: ['nodes'],
        params: Params,
        headers: writeHeaders,
        body: closed(Type.Object(Reading.properties)),
        response: responses(200, Position, 'forbidden', 'not_found', 'node_removed'),
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      return sendExecuted(reply, request, await registry.heartbeat(id, request.body, aboutOf(request)), () => ({}));
    },
  );

  api.patch<{ Params: Static<typeof Params>; Body: Static<typeof NodeProfile> }>(
    '/nodes/:id',
    {
      config: { access: 'govern', itself: true },
      schema: {
        operationId: 'updateNode',
        summary: 'Changes the named parts of a profile: by the node itself or an admin',
        tags: ['nodes'],
        params: Params,
        headers: writeHeaders,
        body: closed(Type.Object(NodeProfile.properties)),
        response: responses(
          200,
          Type.Object({ profile: NodeProfile, ...Position.properties }),
          'forbidden',
          'not_found',
          'node_removed',
          'conflict',
        ),
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      return sendExecuted(reply, request, await registry.update(id, request.body, aboutOf(request)), (profile) => ({
        profile,
      }));
    },
  );

  api.delete<{ Params: Static<typeof Params> }>(
    '/nodes/:id',
    {
      config: { access: 'govern', itself: true },
      schema: {
        operationId: 'removeNode',
        summary: 'Ends a membership: by the node itself or an admin',
        tags: ['nodes'],
        params: Params,
        headers: writeHeaders,
        response: responses(200, Position, 'forbidden', 'not_found', 'node_removed', 'last_admin', 'conflict'),
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const barred = await mayDecideOn(hub, request.identity, id);
      if (barred) return sendProblem(reply, request, barred);
      const cause = request.identity.kind === 'node' && request.identity.nodeId === id ? 'itself' : 'operator';
      return sendExecuted(reply, request, await registry.remove(id, cause, aboutOf(request)), () => ({}));
    },
  );
}

const nodeIds = Compile(NodeId);

/** Where a page ended, as the next request gives it back. */
function cursorOf(id: string): string {
  return Buffer.from(id).toString('base64url');
}

/** The id that a cursor holds; undefined for text that is no cursor of this list. */
function nodeIdOf(cursor: string): string | undefined {
  const id = Buffer.from(cursor, 'base64url').toString();
  return nodeIds.Check(id) && cursorOf(id) === cursor ? id : undefined;
}
