/** /audit: who did what, page by page, one event in full, and the whole of it as a stream. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Recorded } from '../../events/log.ts';
import type { Hub } from '../../hub.ts';
import { type AuditRow, idOf } from '../../projections/audit-log.ts';
import { type AuditFilter, findAudit, momentOf } from '../../projections/audit-queries.ts';
import { exportAudit } from './audit-export.ts';
import { responses } from './describe.ts';
import { freshness, ReadQuery, sendProblem } from './http.ts';
import { cutWhenStuck } from './stuck-readers.ts';

const Outcome = Type.Union([
  Type.Literal('done'),
  Type.Literal('refused'),
  Type.Literal('read'),
  Type.Literal('counted'),
]);
const nullable = Type.Union([Type.String(), Type.Null()]);

const AuditEntry = Type.Object({
  position: Type.Integer(),
  time: Type.String(),
  actor: Type.String({ description: 'node:<id>, operator:<prefix>, hub, anonymous, or various for many together' }),
  action: Type.String({ description: 'Type of the event; of a refusal or a sensitive read the route or packet' }),
  target: Type.String({ description: 'What it was about; empty where nothing was named' }),
  outcome: Outcome,
  code: Type.Union([Type.String(), Type.Null()], { description: 'Of the refusal' }),
  address: nullable,
  correlation: Type.String(),
  causation: nullable,
  event_id: Type.String(),
  count: Type.Integer({ description: 'Refusals or reads that were taken together' }),
  first_at: nullable,
  last_at: nullable,
});

const Word = Type.Optional(Type.String({ minLength: 1, maxLength: 500 }));
const Moment = Type.Optional(
  Type.String({
    pattern: '^\\d{4}-\\d{2}-\\d{2}(T\\d{2}:\\d{2}(:\\d{2}(\\.\\d{1,3})?)?(Z|[+-]\\d{2}:\\d{2}))?$',
    description: 'ISO 8601 with its zone, or a day (UTC)',
  }),
);
const Filter = Type.Object({
  actor: Word,
  action: Type.Optional(
    Type.String({ minLength: 1, maxLength: 500, description: 'With * at its end: all that begin so, such as node.*' }),
  ),
  target: Word,
  outcome: Type.Optional(Outcome),
  code: Word,
  address: Word,
  correlation: Word,
  after: Moment,
  before: Moment,
  since: Type.Optional(Type.Integer({ minimum: 0, description: 'Only what comes after this position' })),
});
const List = Type.Object({
  ...ReadQuery.properties,
  ...Filter.properties,
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 500, default: 100 })),
  cursor: Type.Optional(Type.String({ maxLength: 200 })),
  order: Type.Optional(Type.Union([Type.Literal('asc'), Type.Literal('desc')], { default: 'desc' })),
});
const Export = Type.Object({
  ...ReadQuery.properties,
  ...Filter.properties,
  format: Type.Optional(Type.Union([Type.Literal('ndjson'), Type.Literal('csv')], { default: 'ndjson' })),
});
const Params = Type.Object({ position: Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }) });

const StoredEvent = Type.Object({
  position: Type.Integer(),
  stream: Type.String(),
  revision: Type.Integer(),
  id: Type.String(),
  type: Type.String(),
  version: Type.Integer(),
  time: Type.String(),
  data: Type.Unknown({ description: 'As it was written, without the hashes of tokens and invites' }),
  meta: Type.Unknown(),
});

export function auditRoutes(api: FastifyInstance, hub: Hub): void {
  listRoute(api, hub);
  eventRoute(api, hub);
  exportRoute(api, hub);
}

function listRoute(api: FastifyInstance, hub: Hub): void {
  api.get<{ Querystring: Static<typeof List> }>(
    '/audit',
    {
      config: { access: 'audit' },
      schema: {
        operationId: 'listAudit',
        summary: 'Who did, asked or was refused what; newest first',
        tags: ['audit'],
        querystring: List,
        response: responses(
          200,
          Type.Object({ entries: Type.Array(AuditEntry), next_cursor: nullable, ...freshness }),
          'cursor_invalid',
        ),
      },
    },
    async (request, reply) => {
      const { min_position, limit = 100, cursor, order = 'desc', since = 0 } = request.query;
      const filter = filterOf(request.query);
      if (isRefusal(filter)) return sendProblem(reply, request, filter);
      const ended = cursor === undefined ? undefined : positionOf(cursor);
      if (cursor !== undefined && ended === undefined) {
        return sendProblem(reply, request, refuse('cursor_invalid', 'give next_cursor of an earlier page, or none'));
      }
      const over = order === 'asc' ? Math.max(since, ended ?? 0) : since;
      const under = order === 'desc' ? (ended ?? Number.MAX_SAFE_INTEGER) : Number.MAX_SAFE_INTEGER;
      const { value: rows, ...fresh } = await hub.views.read(min_position, (db) =>
        findAudit(db, filter, { order, over, under, limit }),
      );
      const last = rows.length === limit ? rows.at(-1) : undefined;
      return reply.send({ entries: rows.map(entryOf), next_cursor: last ? cursorOf(last.position) : null, ...fresh });
    },
  );
}

function eventRoute(api: FastifyInstance, hub: Hub): void {
  api.get<{ Params: Static<typeof Params>; Querystring: Static<typeof ReadQuery> }>(
    '/audit/:position',
    {
      config: { access: 'audit', sensitive: true },
      schema: {
        operationId: 'readAuditedEvent',
        summary: 'One event of the log with its data, and its row; each use is itself written down',
        tags: ['audit'],
        params: Params,
        querystring: ReadQuery,
        response: responses(
          200,
          Type.Object({
            entry: Type.Union([AuditEntry, Type.Null()], {
              description: 'Null for readings, and for what was trimmed',
            }),
            event: StoredEvent,
            ...freshness,
          }),
          'not_found',
        ),
      },
    },
    async (request, reply) => {
      const { position } = request.params;
      const [{ events }, { value: row, ...fresh }] = await Promise.all([
        hub.log.readAll(position - 1, 1),
        hub.views.read(request.query.min_position, (db) =>
          db.selectFrom('federation_audit_log').selectAll().where('id', '=', idOf(position)).executeTakeFirst(),
        ),
      ]);
      const [event] = events;
      if (event?.position !== position) {
        return sendProblem(reply, request, refuse('not_found', `the log holds nothing at ${position}`));
      }
      return reply.send({ entry: row ? entryOf(row) : null, event: shown(event), ...fresh });
    },
  );
}

/** Exports that one replica streams at the same time. */
const mostAtOnce = 4;

function exportRoute(api: FastifyInstance, hub: Hub): void {
  let running = 0;
  api.get<{ Querystring: Static<typeof Export> }>(
    '/audit/export',
    {
      config: { access: 'audit', sensitive: true },
      exposeHeadRoute: false, // it would read everything to send nothing
      schema: {
        operationId: 'exportAudit',
        summary: 'The audit log as a stream, oldest first, up to where it was when it was asked for',
        description:
          'A JSON value a line, or CSV with a header line. The header `federation-position` says up to where. Each use is itself written down.',
        tags: ['audit'],
        querystring: Export,
        response: responses(200, Type.String({ description: 'application/x-ndjson or text/csv' }), 'overloaded'),
      },
    },
    async (request, reply) => {
      const { min_position, format = 'ndjson', since = 0 } = request.query;
      const filter = filterOf(request.query);
      if (isRefusal(filter)) return sendProblem(reply, request, filter);
      const { position } = await hub.views.read(min_position, async () => {});
      if (running >= mostAtOnce) {
        return sendProblem(reply, request, refuse('overloaded', `${mostAtOnce} exports are running here already`));
      }
      running++;
      const stream = exportAudit(hub, filter, { format, over: since, through: position, spend: spender(hub, request) });
      stream.once('close', () => void running--);
      cutWhenStuck(hub.kernel, reply.raw);
      return describeFile(reply, format, position).send(stream);
    },
  );
}

function describeFile(reply: FastifyReply, format: 'ndjson' | 'csv', position: number): FastifyReply {
  return reply
    .type(format === 'csv' ? 'text/csv; charset=utf-8; header=present' : 'application/x-ndjson')
    .header('content-disposition', `attachment; filename="audit-${position}.${format}"`)
    .header('federation-position', String(position));
}

/** Takes what is sent from the allowance of whoever asked: a stream has no length that the door could see. */
function spender({ doors }: Hub, { identity, address }: FastifyRequest): (bytes: number) => void {
  return (bytes) => {
    const limits = doors.limits.get();
    if (!isRefusal(limits)) limits.spend(identity, address, bytes);
  };
}

/** The filter of a query, with times as events have them. Refuses moments that are none, such as 30 February. */
function filterOf(query: Static<typeof Filter>): AuditFilter | Refusal {
  const { actor, action, target, outcome, code, address, correlation } = query;
  const times: { after?: string; before?: string } = {};
  for (const name of ['after', 'before'] as const) {
    const text = query[name];
    if (text === undefined) continue;
    const ms = Date.parse(text);
    if (Number.isNaN(ms)) return refuse('invalid_input', `querystring: ${name} is no moment`);
    times[name] = momentOf(ms);
  }
  return { actor, action, target, outcome, code, address, correlation, ...times };
}

function entryOf({ id: _, ...entry }: AuditRow): Static<typeof AuditEntry> {
  return entry;
}

/** An event as an auditor sees it. Hashes of secrets stay where they are. */
function shown({ data: text, meta, position, stream, revision, id, type, version, time }: Recorded) {
  const { hash: _, ...data } = JSON.parse(text) as Record<string, unknown>; // data of events are objects
  return { position, stream, revision, id, type, version, time, data, meta: JSON.parse(meta) as unknown };
}

function cursorOf(position: number): string {
  return Buffer.from(idOf(position)).toString('base64url');
}

/** The position that a cursor holds; undefined for text that is no cursor of this list. */
function positionOf(cursor: string): number | undefined {
  const id = Buffer.from(cursor, 'base64url').toString();
  return /^\d{16}$/.test(id) && cursorOf(Number(id)) === cursor ? Number(id) : undefined;
}
