/** /governance/bans: who may not come back. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { isRefusal } from '../../errors.ts';
import { NodeId } from '../../events/node.ts';
import type { Hub } from '../../hub.ts';
import { findBans } from '../../projections/bans.ts';
import { closed } from '../../protocol.ts';
import type { Governance } from '../governance.ts';
import { mayDecideOn } from './admin-right.ts';
import { responses } from './describe.ts';
import { aboutOf, freshness, sendExecuted, sendProblem, writeHeaders } from './http.ts';
import { cursorAfter, defaultLimit, NextCursor, PageQuery, placeOf } from './page.ts';

const Params = Type.Object({ node: NodeId });
const Banning = closed(Type.Object({ reason: Type.String({ minLength: 1, maxLength: 500 }) }));
const done = { position: Type.Integer() };
const Ban = Type.Object({
  node_id: NodeId,
  thumbprint: Type.Union([Type.String(), Type.Null()], {
    description: 'Of the key that is banned under every id; null when none was known',
  }),
  reason: Type.String(),
  since: Type.String(),
});
const Page = Type.Object({ bans: Type.Array(Ban), next_cursor: NextCursor, ...freshness });
const nodeIds = Compile(NodeId);

export function banRoutes(api: FastifyInstance, hub: Hub, { bans }: Governance): void {
  api.post<{ Params: Static<typeof Params>; Body: Static<typeof Banning> }>(
    '/governance/bans/:node',
    {
      config: { access: 'govern' },
      schema: {
        operationId: 'banNode',
        summary: 'Bans a node id, known or not, and its key: its sessions are over at once',
        tags: ['governance'],
        params: Params,
        headers: writeHeaders,
        body: Banning,
        response: responses(
          200,
          Type.Object({ reason: Type.String(), ...done }),
          'forbidden',
          'last_admin',
          'conflict',
        ),
      },
    },
    async (request, reply) => {
      const barred = await mayDecideOn(hub, request.identity, request.params.node);
      if (barred) return sendProblem(reply, request, barred);
      const banned = await bans.impose(request.params.node, request.body.reason, aboutOf(request));
      return sendExecuted(reply, request, banned, (ban) => ban);
    },
  );

  api.delete<{ Params: Static<typeof Params> }>(
    '/governance/bans/:node',
    {
      config: { access: 'govern' },
      schema: {
        operationId: 'unbanNode',
        summary: 'Lifts a ban',
        tags: ['governance'],
        params: Params,
        headers: writeHeaders,
        response: responses(200, Type.Object(done), 'forbidden', 'not_found', 'conflict'),
      },
    },
    async (request, reply) => {
      const barred = await mayDecideOn(hub, request.identity, request.params.node);
      if (barred) return sendProblem(reply, request, barred);
      return sendExecuted(reply, request, await bans.lift(request.params.node, aboutOf(request)), () => ({}));
    },
  );

  api.get<{ Querystring: Static<typeof PageQuery> }>(
    '/governance/bans',
    {
      config: { access: 'govern' },
      schema: {
        operationId: 'listBans',
        summary: 'Who is banned, and why',
        tags: ['governance'],
        querystring: PageQuery,
        response: responses(200, Page, 'cursor_invalid'),
      },
    },
    async (request, reply) => {
      const { min_position, limit = defaultLimit, cursor } = request.query;
      const after = placeOf(cursor, (place) => nodeIds.Check(place));
      if (isRefusal(after)) return sendProblem(reply, request, after);
      const { value: rows, ...fresh } = await hub.views.read(min_position, (db) => findBans(db, after, limit));
      const next_cursor = cursorAfter(rows, limit, ({ node_id }) => node_id);
      return reply.send({ bans: rows, next_cursor, ...fresh });
    },
  );
}
