/** /governance: how the federation admits nodes, who has which role, and what is said to everyone. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { isRefusal } from '../../errors.ts';
import { AnnouncementLevel, GovernanceMode } from '../../events/federation.ts';
import { NodeId, NodeRole } from '../../events/node.ts';
import type { Hub } from '../../hub.ts';
import { findAnnouncements } from '../../projections/announcements.ts';
import { closed } from '../../protocol.ts';
import type { Governance } from '../governance.ts';
import { mayDecideOn, mayGive } from './admin-right.ts';
import { responses } from './describe.ts';
import { aboutOf, freshness, sendExecuted, sendProblem, writeHeaders } from './http.ts';
import { cursorAfter, defaultLimit, NextCursor, PageQuery, placeOf } from './page.ts';

const done = { position: Type.Integer() };
const Overview = Type.Object({
  mode: GovernanceMode,
  pending_requests: Type.Integer({ description: 'Nodes that wait to be let in' }),
  members: Type.Object({ admin: Type.Integer(), member: Type.Integer(), observer: Type.Integer() }),
  open_invites: Type.Integer({ description: 'Invites that somebody could still use' }),
  bans: Type.Integer(),
});
const Mode = closed(Type.Object({ mode: GovernanceMode }));
const Changed = Type.Object({ mode: GovernanceMode, previous: GovernanceMode, ...done });
const Params = Type.Object({ node: NodeId });
const Role = closed(Type.Object({ role: NodeRole }));
const RoleChanged = Type.Object({ role: NodeRole, previous: NodeRole, ...done });
const Message = closed(
  Type.Object({
    message: Type.String({ minLength: 1, maxLength: 2_000 }),
    level: Type.Optional(AnnouncementLevel),
  }),
);
const announcement = { announcement_id: Type.String(), message: Type.String(), level: AnnouncementLevel };
const Announcements = Type.Object({
  announcements: Type.Array(Type.Object({ ...announcement, ...done, time: Type.String() })),
  next_cursor: NextCursor,
  ...freshness,
});

export function governanceRoutes(api: FastifyInstance, hub: Hub, governance: Governance): void {
  api.get(
    '/governance',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'readGovernance',
        summary: 'How nodes are admitted, who waits, and how many have which role',
        tags: ['governance'],
        response: responses(200, Overview),
      },
    },
    async (_request, reply) => reply.send(overview(hub, governance)),
  );

  api.post<{ Body: Static<typeof Mode> }>(
    '/governance/mode',
    {
      config: { access: 'govern' },
      schema: {
        operationId: 'changeGovernanceMode',
        summary: 'Changes how nodes are admitted',
        tags: ['governance'],
        headers: writeHeaders,
        body: Mode,
        response: responses(200, Changed, 'conflict'),
      },
    },
    async (request, reply) => {
      const changed = await governance.changeMode(request.body.mode, aboutOf(request));
      return sendExecuted(reply, request, changed, (change) => change);
    },
  );

  api.post<{ Params: Static<typeof Params>; Body: Static<typeof Role> }>(
    '/governance/roles/:node',
    {
      config: { access: 'govern' },
      schema: {
        operationId: 'changeRole',
        summary: 'Gives a member another role',
        tags: ['governance'],
        params: Params,
        headers: writeHeaders,
        body: Role,
        response: responses(200, RoleChanged, 'forbidden', 'not_found', 'node_removed', 'last_admin', 'conflict'),
      },
    },
    async (request, reply) => {
      const { params, body, identity } = request;
      const barred = mayGive(identity, body.role) ?? (await mayDecideOn(hub, identity, params.node));
      if (barred) return sendProblem(reply, request, barred);
      const changed = await governance.roles.change(params.node, body.role, aboutOf(request));
      return sendExecuted(reply, request, changed, (change) => change);
    },
  );

  announcementRoutes(api, hub, governance);
}

function overview({ live }: Hub, governance: Governance): Static<typeof Overview> {
  const members = { admin: 0, member: 0, observer: 0 };
  for (const { role } of live.nodes.values()) members[role]++;
  return {
    mode: governance.mode(),
    pending_requests: governance.requests.waiting(),
    members,
    open_invites: governance.invites.openCount(),
    bans: live.bans.size,
  };
}

function announcementRoutes(api: FastifyInstance, hub: Hub, governance: Governance): void {
  api.post<{ Body: Static<typeof Message> }>(
    '/governance/announce',
    {
      config: { access: 'govern' },
      schema: {
        operationId: 'announce',
        summary: 'Says something to every member, now or when it comes back',
        tags: ['governance'],
        headers: writeHeaders,
        body: Message,
        response: responses(201, Type.Object({ ...announcement, ...done }), 'conflict'),
      },
    },
    async (request, reply) => {
      const { message, level = 'info' } = request.body;
      const announced = await governance.announce(message, level, aboutOf(request));
      return sendExecuted(reply, request, announced, (said) => said, 201);
    },
  );

  api.get<{ Querystring: Static<typeof PageQuery> }>(
    '/governance/announcements',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'listAnnouncements',
        summary: 'What was announced, newest first',
        tags: ['governance'],
        querystring: PageQuery,
        response: responses(200, Announcements, 'cursor_invalid'),
      },
    },
    async (request, reply) => {
      const { min_position, limit = defaultLimit, cursor } = request.query;
      const place = placeOf(cursor, (text) => /^\d{1,15}$/.test(text));
      if (isRefusal(place)) return sendProblem(reply, request, place);
      const before = place === '' ? undefined : Number(place);
      const { value: rows, ...fresh } = await hub.views.read(min_position, (db) =>
        findAnnouncements(db, before, limit),
      );
      const next_cursor = cursorAfter(rows, limit, ({ position }) => String(position));
      return reply.send({ announcements: rows, next_cursor, ...fresh });
    },
  );
}
