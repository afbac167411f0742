/** /access: the block list and the allow list. */
import type { FastifyInstance } from 'fastify';
import { type Static, type TProperties, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { isRefusal } from '../../errors.ts';
import { AccessSubject } from '../../events/access.ts';
import type { Hub } from '../../hub.ts';
import { type AccessRow, findAccess } from '../../projections/access-lists.ts';
import { closed } from '../../protocol.ts';
import type { AccessControl } from '../access-control.ts';
import { mayDecideOn } from './admin-right.ts';
import { responses } from './describe.ts';
import { aboutOf, freshness, sendExecuted, sendProblem, writeHeaders } from './http.ts';
import { cursorAfter, defaultLimit, NextCursor, PageQuery, placeOf } from './page.ts';

const Params = Type.Object({ id: AccessSubject });
const Blocking = closed(Type.Object({ reason: Type.String({ minLength: 1, maxLength: 500 }) }));
/** A body is not needed. */
const Allowing = closed(
  Type.Union([Type.Object({ note: Type.Optional(Type.String({ minLength: 1, maxLength: 500 })) }), Type.Null()]),
);
const done = { position: Type.Integer() };
const Edited = Type.Object({ changed: Type.Boolean({ description: 'False when it stood there just so' }), ...done });

const since = Type.String({ description: 'When it was put there, or its reason or note changed' });
const Blocked = Type.Object({ subject: AccessSubject, reason: Type.String(), since });
const Allowed = Type.Object({ subject: AccessSubject, note: Type.Union([Type.String(), Type.Null()]), since });

type OfSubject<Body = unknown> = { Params: Static<typeof Params>; Body: Body };

export function accessRoutes(api: FastifyInstance, hub: Hub, access: AccessControl): void {
  api.post<OfSubject<Static<typeof Blocking>>>(
    '/access/block/:id',
    {
      config: { access: 'govern' },
      schema: {
        operationId: 'blockSubject',
        summary: 'Shuts every door to a node, by its id or key, or freezes an entity; takes it off the allow list',
        tags: ['access'],
        params: Params,
        headers: writeHeaders,
        body: Blocking,
        response: responses(200, Edited, 'forbidden', 'last_admin', 'limit_reached', 'conflict'),
      },
    },
    async (request, reply) => {
      const { params, body } = request;
      const barred = await mayDecideOn(hub, request.identity, params.id);
      if (barred) return sendProblem(reply, request, barred);
      return sendExecuted(reply, request, await access.block(params.id, body.reason, aboutOf(request)), (edit) => edit);
    },
  );

  api.post<OfSubject<Static<typeof Allowing>>>(
    '/access/allow/:id',
    {
      config: { access: 'govern' },
      schema: {
        operationId: 'allowSubject',
        summary: 'Lets a node, by its id or key, join without an invite; takes it off the block list',
        tags: ['access'],
        params: Params,
        headers: writeHeaders,
        body: Allowing,
        response: responses(200, Edited, 'forbidden', 'limit_reached', 'conflict'),
      },
    },
    async (request, reply) => {
      const { params, body } = request;
      const barred = await mayDecideOn(hub, request.identity, params.id);
      if (barred) return sendProblem(reply, request, barred);
      return sendExecuted(reply, request, await access.allow(params.id, body?.note, aboutOf(request)), (edit) => edit);
    },
  );

  const removing = (path: string, operationId: string, summary: string, remove: AccessControl['unblock']) =>
    api.post<OfSubject>(
      path,
      {
        config: { access: 'govern' },
        schema: {
          operationId,
          summary,
          tags: ['access'],
          params: Params,
          headers: writeHeaders,
          response: responses(200, Type.Object(done), 'forbidden', 'not_found', 'conflict'),
        },
      },
      async (request, reply) => {
        const barred = await mayDecideOn(hub, request.identity, request.params.id);
        if (barred) return sendProblem(reply, request, barred);
        return sendExecuted(reply, request, await remove(request.params.id, aboutOf(request)), () => ({}));
      },
    );
  const unblocks = 'Takes it off the block list: what it could before, it can at once';
  removing('/access/unblock/:id', 'unblockSubject', unblocks, access.unblock);
  removing('/access/remove-allow/:id', 'disallowSubject', 'Takes it off the allow list', access.disallow);

  api.post(
    '/access/reset',
    {
      config: { access: 'govern' },
      schema: {
        operationId: 'resetAccess',
        summary: 'Empties both lists',
        tags: ['access'],
        headers: writeHeaders,
        response: responses(200, Type.Object({ removed: Type.Integer(), ...done }), 'forbidden', 'conflict'),
      },
    },
    async (request, reply) => {
      for (const { list, subject } of hub.live.access.values()) {
        const barred = list === 'block' ? await mayDecideOn(hub, request.identity, subject) : undefined;
        if (barred) return sendProblem(reply, request, barred);
      }
      return sendExecuted(reply, request, await access.reset(aboutOf(request)), (emptied) => emptied);
    },
  );

  listRoute(api, hub, 'block', Blocked, ({ subject, reason, since }) => ({ subject, reason: reason ?? '', since }));
  listRoute(api, hub, 'allow', Allowed, ({ subject, reason, since }) => ({ subject, note: reason, since }));
}

const subjects = Compile(AccessSubject);
const names = { block: 'blocked', allow: 'allowed' } as const;

function listRoute(
  api: FastifyInstance,
  hub: Hub,
  list: AccessRow['list'],
  Entry: ReturnType<typeof Type.Object<TProperties>>,
  view: (row: AccessRow) => object,
): void {
  const name = names[list];
  api.get<{ Querystring: Static<typeof PageQuery> }>(
    `/access/${name}`,
    {
      config: { access: 'govern' },
      schema: {
        operationId: list === 'block' ? 'listBlocked' : 'listAllowed',
        summary: list === 'block' ? 'The block list' : 'The allow list',
        tags: ['access'],
        querystring: PageQuery,
        response: responses(
          200,
          Type.Object({ [name]: Type.Array(Entry), next_cursor: NextCursor, ...freshness }),
          'cursor_invalid',
        ),
      },
    },
    async (request, reply) => {
      const { min_position, limit = defaultLimit, cursor } = request.query;
      const after = placeOf(cursor, (place) => subjects.Check(place));
      if (isRefusal(after)) return sendProblem(reply, request, after);
      const { value: rows, ...fresh } = await hub.views.read(min_position, (db) => findAccess(db, list, after, limit));
      const next_cursor = cursorAfter(rows, limit, ({ subject }) => subject);
      return reply.send({ [name]: rows.map(view), next_cursor, ...fresh });
    },
  );
}
