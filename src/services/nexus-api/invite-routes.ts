/** /governance/invites: leave to join, shown once. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { isRefusal } from '../../errors.ts';
import { NodeId, NodeRole, PublicKey } from '../../events/node.ts';
import type { Hub } from '../../hub.ts';
import { findInvites, type InviteRow } from '../../projections/invites.ts';
import { closed, Invite } from '../../protocol.ts';
import type { Governance } from '../governance.ts';
import { mayGive } from './admin-right.ts';
import { responses } from './describe.ts';
import { aboutOf, freshness, sendExecuted, sendProblem, writeHeaders } from './http.ts';
import { cursorAfter, defaultLimit, NextCursor, PageQuery, placeOf } from './page.ts';

const InviteId = Type.String({ pattern: '^[a-z2-7]{8}$', description: 'The public part of an invite' });
const isInviteId = (text: string) => /^[a-z2-7]{8}$/.test(text);
const weekHours = 168;
const hourMs = 3_600_000;

const Wish = closed(
  Type.Object({
    role: Type.Optional(NodeRole),
    label: Type.Optional(Type.String({ maxLength: 128 })),
    uses: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000, default: 1 })),
    node_id: Type.Optional(NodeId),
    public_key: Type.Optional(PublicKey),
    expires_in_hours: Type.Optional(Type.Number({ minimum: 0.001, maximum: 8_760, default: weekHours })),
  }),
);
const Made = Type.Object({
  invite_id: InviteId,
  invite: Invite,
  expires_at: Type.String(),
  position: Type.Integer(),
});
const Shown = Type.Object({
  invite_id: InviteId,
  label: Type.String(),
  role: NodeRole,
  uses: Type.Integer(),
  uses_left: Type.Integer({ description: 'Not used, and not held for a node that is registering' }),
  node_id: Type.Union([NodeId, Type.Null()], { description: 'Null: any node' }),
  public_key: Type.Union([PublicKey, Type.Null()], { description: 'Null: any key' }),
  used_by: Type.Array(
    Type.Object({ node_id: NodeId, status: Type.Union([Type.Literal('claimed'), Type.Literal('used')]) }),
  ),
  created_at: Type.String(),
  expires_at: Type.String(),
  revoked_at: Type.Union([Type.String(), Type.Null()]),
});
const Page = Type.Object({ invites: Type.Array(Shown), next_cursor: NextCursor, ...freshness });
const Params = Type.Object({ id: InviteId });

export function inviteRoutes(api: FastifyInstance, hub: Hub, { invites }: Governance): void {
  api.post<{ Body: Static<typeof Wish> }>(
    '/governance/invites',
    {
      config: { access: 'govern' },
      schema: {
        operationId: 'createInvite',
        summary: 'Makes an invite, which is shown this once',
        tags: ['governance'],
        headers: writeHeaders,
        body: Wish,
        response: responses(201, Made, 'forbidden', 'limit_reached', 'already_done', 'conflict'),
      },
    },
    async (request, reply) => {
      const { role = 'member', label = '', uses = 1, expires_in_hours = weekHours, ...bound } = request.body;
      const barred = mayGive(request.identity, role);
      if (barred) return sendProblem(reply, request, barred);
      const lifetimeMs = Math.round(expires_in_hours * hourMs);
      const wish = { role, label, uses, lifetimeMs, nodeId: bound.node_id, publicKey: bound.public_key };
      const made = await invites.create(wish, aboutOf(request, true));
      return sendExecuted(
        reply,
        request,
        made,
        ({ inviteId, invite, expiresAt }) => ({ invite_id: inviteId, invite, expires_at: expiresAt }),
        201,
      );
    },
  );

  api.get<{ Querystring: Static<typeof PageQuery> }>(
    '/governance/invites',
    {
      config: { access: 'govern' },
      schema: {
        operationId: 'listInvites',
        summary: 'All invites, without what makes them work',
        tags: ['governance'],
        querystring: PageQuery,
        response: responses(200, Page, 'cursor_invalid'),
      },
    },
    async (request, reply) => {
      const { min_position, limit = defaultLimit, cursor } = request.query;
      const after = placeOf(cursor, isInviteId);
      if (isRefusal(after)) return sendProblem(reply, request, after);
      const { value: rows, ...fresh } = await hub.views.read(min_position, (db) => findInvites(db, after, limit));
      const next_cursor = cursorAfter(rows, limit, ({ invite_id }) => invite_id);
      return reply.send({ invites: rows.map(view), next_cursor, ...fresh });
    },
  );

  api.delete<{ Params: Static<typeof Params> }>(
    '/governance/invites/:id',
    {
      config: { access: 'govern' },
      schema: {
        operationId: 'revokeInvite',
        summary: 'Takes an invite back; who got in by it stays',
        tags: ['governance'],
        params: Params,
        headers: writeHeaders,
        response: responses(200, Type.Object({ position: Type.Integer() }), 'not_found', 'conflict'),
      },
    },
    async (request, reply) =>
      sendExecuted(reply, request, await invites.revoke(request.params.id, aboutOf(request)), () => ({})),
  );
}

function view({ hash: _, used_by, ...row }: InviteRow): Static<typeof Shown> {
  const used = used_by.map(({ node_id, status }) => ({ node_id, status }));
  return { ...row, used_by: used, uses_left: Math.max(0, row.uses - used.length) };
}
