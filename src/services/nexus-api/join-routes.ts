/** /events/joins: who came last, nodes and entities. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { isRefusal } from '../../errors.ts';
import { NodeId } from '../../events/node.ts';
import type { Hub } from '../../hub.ts';
import { findNewestJoins, type JoinPlace } from '../../projections/newest-joins.ts';
import { responses } from './describe.ts';
import { freshness, sendProblem } from './http.ts';
import { cursorAfter, defaultLimit, NextCursor, PageQuery, placeOf } from './page.ts';

const Join = Type.Object({
  kind: Type.Union([Type.Literal('node'), Type.Literal('entity')]),
  id: Type.String({ description: 'Of the node or entity' }),
  node_id: Type.Union([NodeId, Type.Null()], {
    description: 'The node itself, or the one the entity belongs to; null for an entity of no node',
  }),
  display_name: Type.Union([Type.String(), Type.Null()]),
  joined_at: Type.String(),
});

export function joinRoutes(api: FastifyInstance, hub: Hub): void {
  api.get<{ Querystring: Static<typeof PageQuery> }>(
    '/events/joins',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'listJoins',
        summary: 'Nodes and entities that are here, the newest first',
        tags: ['entities'],
        querystring: PageQuery,
        response: responses(
          200,
          Type.Object({ joins: Type.Array(Join), next_cursor: NextCursor, ...freshness }),
          'cursor_invalid',
        ),
      },
    },
    async (request, reply) => {
      const { min_position, limit = defaultLimit, cursor } = request.query;
      const text = placeOf(cursor, (place) => pattern.Check(place));
      if (isRefusal(text)) return sendProblem(reply, request, text);
      const after = text === '' ? undefined : readPlace(text);
      const { value: joins, ...fresh } = await hub.views.read(min_position, (db) => findNewestJoins(db, after, limit));
      return reply.send({ joins, next_cursor: cursorAfter(joins, limit, writePlace), ...fresh });
    },
  );
}

const pattern = Compile(
  Type.String({ pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{12}Z (node|entity) [A-Za-z0-9._-]{1,64}$' }),
);

function writePlace({ joined_at, kind, id }: JoinPlace): string {
  return `${joined_at} ${kind} ${id}`;
}

function readPlace(place: string): JoinPlace {
  const [joined_at, kind, id] = place.split(' ') as [string, JoinPlace['kind'], string]; // it fits the pattern
  return { joined_at, kind, id };
}
