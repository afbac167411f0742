/** /auth/tokens: what operators show. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { isRefusal } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { findOperatorTokens, type OperatorTokenRow } from '../../projections/operator-tokens.ts';
import { closed } from '../../protocol.ts';
import { rights, type Scope, scopes } from '../../rights.ts';
import type { OperatorTokens } from '../identity-auth.ts';
import { responses } from './describe.ts';
import { aboutOf, freshness, sendExecuted, sendProblem, writeHeaders } from './http.ts';
import { cursorAfter, defaultLimit, NextCursor, PageQuery, placeOf } from './page.ts';

const isPrefix = (text: string) => /^[a-z2-7]{8}$/.test(text);
const Prefix = Type.String({ pattern: '^[a-z2-7]{8}$', description: 'The public part of a token' });
const Scopes = Type.Array(Type.Enum(scopes as unknown as [Scope, ...Scope[]]), {
  minItems: 1,
  uniqueItems: true,
  description: scopes.map((scope) => `${scope}: ${rights[scope].means}`).join('; '),
});
const time = Type.Union([Type.String(), Type.Null()]);

const Wanted = closed(
  Type.Object({
    label: Type.String({ minLength: 1, maxLength: 128 }),
    scopes: Scopes,
    expires_in_days: Type.Optional(
      Type.Number({ minimum: 0.00001, maximum: 3_650, description: 'Without it, good until revoked' }),
    ),
  }),
);
const Made = Type.Object({
  prefix: Prefix,
  token: Type.String({ description: 'Shown this once' }),
  expires_at: time,
  position: Type.Integer(),
});
const Shown = Type.Object({
  prefix: Prefix,
  label: Type.String(),
  scopes: Type.Array(Type.String()),
  created_at: Type.String(),
  expires_at: time,
  revoked_at: time,
  last_used_at: Type.Union([Type.String(), Type.Null()], { description: 'To within a quarter of an hour' }),
  last_address: time,
});
const Page = Type.Object({ tokens: Type.Array(Shown), next_cursor: NextCursor, ...freshness });
const Params = Type.Object({ id: Prefix });

export function tokenRoutes(api: FastifyInstance, hub: Hub, tokens: OperatorTokens): void {
  api.get<{ Querystring: Static<typeof PageQuery> }>(
    '/auth/tokens',
    {
      config: { access: 'admin' },
      schema: {
        operationId: 'listTokens',
        summary: 'All operator tokens, without what makes them work',
        tags: ['auth'],
        querystring: PageQuery,
        response: responses(200, Page, 'cursor_invalid'),
      },
    },
    async (request, reply) => {
      const { min_position, limit = defaultLimit, cursor } = request.query;
      const after = placeOf(cursor, isPrefix);
      if (isRefusal(after)) return sendProblem(reply, request, after);
      const read = hub.views.read(min_position, (db) => findOperatorTokens(db, after, limit));
      const { value: rows, ...fresh } = await read;
      const next_cursor = cursorAfter(rows, limit, ({ prefix }) => prefix);
      return reply.send({ tokens: rows.map(view), next_cursor, ...fresh });
    },
  );

  api.post<{ Body: Static<typeof Wanted> }>(
    '/auth/tokens',
    {
      config: { access: 'admin' },
      schema: {
        operationId: 'createToken',
        summary: 'Makes an operator token, which is shown this once',
        tags: ['auth'],
        headers: writeHeaders,
        body: Wanted,
        response: responses(201, Made, 'limit_reached', 'already_done', 'conflict'),
      },
    },
    async (request, reply) => {
      const { label, scopes, expires_in_days: expiresInDays } = request.body;
      const made = await tokens.create({ label, scopes, expiresInDays }, aboutOf(request, true));
      return sendExecuted(
        reply,
        request,
        made,
        ({ expiresAt, ...shown }) => ({ ...shown, expires_at: expiresAt ?? null }),
        201,
      );
    },
  );

  api.delete<{ Params: Static<typeof Params> }>(
    '/auth/tokens/:id',
    {
      config: { access: 'admin' },
      schema: {
        operationId: 'revokeToken',
        summary: 'Makes an operator token worthless, at once and for ever',
        tags: ['auth'],
        params: Params,
        headers: writeHeaders,
        response: responses(200, Type.Object({ position: Type.Integer() }), 'not_found', 'last_admin', 'conflict'),
      },
    },
    async (request, reply) =>
      sendExecuted(reply, request, await tokens.revoke(request.params.id, aboutOf(request)), () => ({})),
  );
}

function view({ hash: _, ...row }: OperatorTokenRow): Static<typeof Shown> {
  return row;
}
