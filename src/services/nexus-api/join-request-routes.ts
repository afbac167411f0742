/** /governance/requests: who asks to be let in, and the answer. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { isRefusal } from '../../errors.ts';
import { NodeId, NodeProfile, NodeRole, PublicKey } from '../../events/node.ts';
import type { Hub } from '../../hub.ts';
import { findJoins } from '../../projections/joins.ts';
import { closed } from '../../protocol.ts';
import type { Governance } from '../governance.ts';
import { mayGive } from './admin-right.ts';
import { responses } from './describe.ts';
import { aboutOf, freshness, sendExecuted, sendProblem, writeHeaders } from './http.ts';
import { cursorAfter, defaultLimit, NextCursor, PageQuery, placeOf } from './page.ts';

const Status = Type.Union([Type.Literal('pending'), Type.Literal('approved'), Type.Literal('rejected')]);
const List = Type.Object({ ...PageQuery.properties, status: Type.Optional(Status) });
const OrNull = <S extends ReturnType<typeof Type.String> | typeof NodeRole>(schema: S) =>
  Type.Union([schema, Type.Null()]);
const Request = Type.Object({
  node_id: NodeId,
  public_key: PublicKey,
  profile: NodeProfile,
  address: Type.String({ description: 'Where it asked from last' }),
  status: Status,
  role: OrNull(NodeRole),
  reason: OrNull(Type.String()),
  requested_at: Type.String(),
  repeated_at: Type.String({ description: 'When it asked last' }),
  expires_at: Type.String(),
  decided_at: OrNull(Type.String()),
});
const Page = Type.Object({ requests: Type.Array(Request), next_cursor: NextCursor, ...freshness });
const Params = Type.Object({ id: NodeId });
/** A body is not needed. */
const Approval = closed(Type.Union([Type.Object({ role: Type.Optional(NodeRole) }), Type.Null()]));
const Rejection = closed(Type.Object({ reason: Type.String({ minLength: 1, maxLength: 500 }) }));
const done = { node_id: NodeId, position: Type.Integer() };
const nodeIds = Compile(NodeId);

export function joinRequestRoutes(api: FastifyInstance, hub: Hub, { requests }: Governance): void {
  api.get<{ Querystring: Static<typeof List> }>(
    '/governance/requests',
    {
      config: { access: 'govern' },
      schema: {
        operationId: 'listJoinRequests',
        summary: 'Requests to join, the newest of each node',
        tags: ['governance'],
        querystring: List,
        response: responses(200, Page, 'cursor_invalid'),
      },
    },
    async (request, reply) => {
      const { min_position, limit = defaultLimit, cursor, status } = request.query;
      const after = placeOf(cursor, (place) => nodeIds.Check(place));
      if (isRefusal(after)) return sendProblem(reply, request, after);
      const { value: rows, ...fresh } = await hub.views.read(min_position, (db) => findJoins(db, status, after, limit));
      const next_cursor = cursorAfter(rows, limit, ({ node_id }) => node_id);
      return reply.send({ requests: rows, next_cursor, ...fresh });
    },
  );

  api.post<{ Params: Static<typeof Params>; Body: Static<typeof Approval> }>(
    '/governance/requests/:id/approve',
    {
      config: { access: 'govern' },
      schema: {
        operationId: 'approveJoinRequest',
        summary: 'Lets a waiting node in: over its socket at once, else when it asks again',
        tags: ['governance'],
        params: Params,
        headers: writeHeaders,
        body: Approval,
        response: responses(
          200,
          Type.Object({ role: NodeRole, ...done }),
          'forbidden',
          'not_found',
          'banned',
          'node_id_taken',
          'key_taken',
          'key_revoked',
          'conflict',
        ),
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const role = request.body?.role ?? 'member';
      const barred = mayGive(request.identity, role);
      if (barred) return sendProblem(reply, request, barred);
      const approved = await requests.approve(id, role, aboutOf(request));
      return sendExecuted(reply, request, approved, ({ role }) => ({ node_id: id, role }));
    },
  );

  api.post<{ Params: Static<typeof Params>; Body: Static<typeof Rejection> }>(
    '/governance/requests/:id/reject',
    {
      config: { access: 'govern' },
      schema: {
        operationId: 'rejectJoinRequest',
        summary: 'Sends a waiting node away; for a day it is not heard again',
        tags: ['governance'],
        params: Params,
        headers: writeHeaders,
        body: Rejection,
        response: responses(200, Type.Object(done), 'not_found', 'conflict'),
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const rejected = await requests.reject(id, request.body.reason, aboutOf(request));
      return sendExecuted(reply, request, rejected, () => ({ node_id: id }));
    },
  );
}
