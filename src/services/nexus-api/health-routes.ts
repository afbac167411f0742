/** Status and health: of this replica, of its services, of the federation. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { Level } from '../../events/degradation.ts';
import { GovernanceMode } from '../../events/federation.ts';
import { AlertLevel, AlertMeasure } from '../../events/health.ts';
import type { Hub } from '../../hub.ts';
import { findAlerts } from '../../projections/alerts.ts';
import { replicaSubject } from '../../projections/degradation.ts';
import { findHealthHours } from '../../projections/health-hours.ts';
import { type HealthAggregator, HealthSummary } from '../health-aggregator.ts';
import type { WebsocketPool } from '../websocket-pool.ts';
import { responses } from './describe.ts';
import { freshness, ReadQuery } from './http.ts';

const ServiceState = Type.Object({
  name: Type.String(),
  tier: Type.String(),
  purpose: Type.String(),
  state: Type.String({ description: 'starting, running, degraded, failed or stopped' }),
  reason: Type.Optional(Type.String()),
});

const Status = Type.Object({
  federation_id: Type.String(),
  mode: GovernanceMode,
  version: Type.String(),
  nodes: Type.Object({ online: Type.Integer(), total: Type.Integer() }),
  entities: Type.Integer(),
  services: Type.Array(ServiceState),
  degradation: Type.Object(
    { level: Level, since: Type.Union([Type.String(), Type.Null()]), cause: Type.Union([Type.String(), Type.Null()]) },
    { description: 'How much of its work this replica puts aside; see GET /degradation' },
  ),
  degraded: Type.Boolean({ description: 'A service of this replica does not run, or less well than it should' }),
  uptime_seconds: Type.Integer(),
  replica: Type.String(),
  connections: Type.Integer({ description: 'Socket connections of this replica' }),
  roster: Type.Union(
    [
      Type.Object({
        roster_id: Type.String(),
        issued_at: Type.String(),
        expires_at: Type.String(),
        members: Type.Integer(),
        age_seconds: Type.Integer(),
      }),
      Type.Null(),
    ],
    { description: 'What nodes go by when the hub is silent; null before the first' },
  ),
  views: Type.Object({
    position: Type.Integer(),
    head: Type.Integer(),
    generation: Type.Integer(),
    dead_letters: Type.Integer(),
    newer_event: Type.Union([Type.String(), Type.Null()]),
  }),
});

const Ready = Type.Object({
  ready: Type.Boolean(),
  phase: Type.String(),
  lag: Type.Integer({ description: 'Positions that the views are behind the log' }),
});

const Alert = Type.Object({
  node_id: Type.String(),
  measure: AlertMeasure,
  status: Type.Union([Type.Literal('open'), Type.Literal('closed')]),
  level: AlertLevel,
  percent: Type.Union([Type.Number(), Type.Null()]),
  threshold: Type.Number(),
  opened_at: Type.String(),
  changed_at: Type.String(),
  closed_at: Type.Union([Type.String(), Type.Null()]),
  times: Type.Integer(),
});
const AlertQuery = Type.Object({
  ...ReadQuery.properties,
  status: Type.Optional(Type.Union([Type.Literal('open'), Type.Literal('closed')])),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 500, default: 100 })),
});

const HistoryQuery = Type.Object({
  ...ReadQuery.properties,
  hours: Type.Optional(Type.Integer({ minimum: 1, maximum: 24 * 366, default: 24 })),
});
const Hour = Type.Object({
  hour: Type.String(),
  readings: Type.Integer(),
  online_min: Type.Integer(),
  online_max: Type.Integer(),
  offline_max: Type.Integer(),
  alerts_max: Type.Integer(),
  cpu_percent: Type.Union([Type.Number(), Type.Null()]),
  memory_percent: Type.Union([Type.Number(), Type.Null()]),
});

function rosterAt({ live, kernel }: Hub) {
  const row = live.newestRoster.get('newest');
  if (!row) return null;
  const { roster_id, issued_at, expires_at, members_named: members } = row;
  const age_seconds = Math.max(0, Math.floor((kernel.now() - Date.parse(issued_at)) / 1000));
  return { roster_id, issued_at, expires_at, members, age_seconds };
}

/** A replica whose views are further behind than this is not ready: others answer better. */
const mostLag = 10_000;

export function healthRoutes(api: FastifyInstance, hub: Hub, health: HealthAggregator, sockets: WebsocketPool): void {
  api.get(
    '/status',
    {
      config: { access: 'anyone' },
      schema: {
        operationId: 'readStatus',
        summary: 'This federation at a glance',
        tags: ['health'],
        response: responses(200, Status, 'views_unavailable', 'log_unavailable'),
      },
    },
    async (_request, reply) => {
      const { nodes } = health.summary();
      const services = hub.services();
      const { position, head, generation, deadLetters, newerEvent } = await hub.views.state();
      const row = hub.live.degradation.get(replicaSubject(hub.kernel.replica));
      const level = hub.doors.load.find()?.level ?? 'normal';
      return reply.send({
        federation_id: hub.federationId,
        mode: hub.live.federation.get('federation')?.mode ?? 'invite',
        version: hub.version,
        nodes: { online: nodes.online, total: nodes.total },
        entities: hub.live.entities.size,
        services,
        degradation: { level, since: row?.since ?? null, cause: row?.cause ?? null },
        degraded: services.some(({ state }) => state !== 'running'),
        uptime_seconds: Math.floor((hub.kernel.now() - hub.startedAt) / 1000),
        replica: hub.kernel.replica,
        connections: sockets.counts().connections,
        roster: rosterAt(hub),
        views: { position, head, generation, dead_letters: deadLetters, newer_event: newerEvent },
      });
    },
  );

  api.get(
    '/health',
    {
      config: { access: 'anyone', unlimited: true },
      schema: {
        operationId: 'readLiveness',
        summary: 'This process lives',
        tags: ['health'],
        response: responses(200, Type.Object({ status: Type.Literal('alive') })),
      },
    },
    async (_request, reply) => reply.send({ status: 'alive' }),
  );

  api.get(
    '/ready',
    {
      config: { access: 'anyone', unlimited: true },
      schema: {
        operationId: 'readReadiness',
        summary: 'This replica may be sent work: 503 while starting, draining, cut off or lagging',
        tags: ['health'],
        response: { ...responses(200, Ready), ...responses(503, Ready) },
      },
    },
    async (_request, reply) => {
      const { position, head } = await hub.views.state();
      const lag = Math.max(0, head - position);
      const phase = hub.readiness.phase === 'ready' && lag > mostLag ? 'lagging' : hub.readiness.phase;
      const ready = phase === 'ready';
      return reply.code(ready ? 200 : 503).send({ ready, phase, lag });
    },
  );

  api.get(
    '/hub/health',
    {
      config: { access: 'anyone' },
      schema: {
        operationId: 'readHealth',
        summary: 'The health of the whole federation',
        tags: ['health'],
        response: responses(200, HealthSummary),
      },
    },
    async (_request, reply) => reply.send(health.summary()),
  );

  api.get<{ Querystring: Static<typeof AlertQuery> }>(
    '/hub/alerts',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'listAlerts',
        summary: 'Measures beyond their thresholds, the newest first',
        tags: ['health'],
        querystring: AlertQuery,
        response: responses(200, Type.Object({ alerts: Type.Array(Alert), ...freshness })),
      },
    },
    async ({ query }, reply) => {
      const { value: rows, ...fresh } = await hub.views.read(query.min_position, (db) =>
        findAlerts(db, query.status, query.limit ?? 100),
      );
      return reply.send({ alerts: rows, ...fresh });
    },
  );

  api.get<{ Querystring: Static<typeof HistoryQuery> }>(
    '/hub/health/history',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'listHealthHours',
        summary: 'The health of the federation by the hour, oldest first',
        tags: ['health'],
        querystring: HistoryQuery,
        response: responses(200, Type.Object({ hours: Type.Array(Hour), ...freshness })),
      },
    },
    async ({ query }, reply) => {
      const { value: hours, ...fresh } = await hub.views.read(query.min_position, (db) =>
        findHealthHours(db, query.hours ?? 24),
      );
      return reply.send({ hours, ...fresh });
    },
  );
}
