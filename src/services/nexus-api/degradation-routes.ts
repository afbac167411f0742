/** /degradation: how much is put aside, why, and what administrators order. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { longestOrderMs } from '../../commands/degradation.ts';
import { ChangeCause, Level, LoadSignal, levels, RaisedSignal } from '../../events/degradation.ts';
import type { Hub } from '../../hub.ts';
import { isoTime } from '../../kernel.ts';
import { orderSubject, replicaSubject } from '../../projections/degradation.ts';
import { closed } from '../../protocol.ts';
import { shedServices } from '../../shedding.ts';
import { type Degradation, thresholds } from '../degradation.ts';
import { responses } from './describe.ts';
import { aboutOf, freshness, ReadQuery, sendExecuted, writeHeaders } from './http.ts';

/** An order that says no end ends by itself. */
const usualOrderSeconds = 3_600;
const positionMs = 2_000;

const number = Type.Union([Type.Number(), Type.Null()]);
const Signal = Type.Object({
  signal: LoadSignal,
  value: Type.Number({ description: 'In the last half second' }),
  level: Type.Union([Level], { description: 'What it asks for' }),
  unit: Type.String(),
  means: Type.String(),
  reduced: number,
  essential: number,
  core: number,
});
const Given = Type.Object({
  level: Level,
  until: Type.String(),
  reason: Type.Optional(Type.String()),
});
const Answer = Type.Object({
  replica: Type.String({ description: 'That answers' }),
  level: Type.Union([Level], { description: 'What holds at this replica: what was ordered, else what it measures' }),
  since: Type.String(),
  cause: ChangeCause,
  sheds: Type.Array(Type.String(), { description: 'Services of which something is put aside now' }),
  measured: Type.Object({ level: Level, signals: Type.Array(Signal) }),
  door: Type.Object({
    places: Type.Union([Type.Integer(), Type.Null()], {
      description: 'What may be under way at once; it follows the delay of the event loop. null: it is not bounded',
    }),
    under_way: Type.Integer({ description: 'Not older than a second' }),
    waiting: Type.Integer(),
  }),
  order: Type.Union([Type.Object({ ...Given.properties, since: Type.String(), by: Type.String() }), Type.Null()]),
  replicas: Type.Array(
    Type.Object({
      replica: Type.String(),
      level: Level,
      since: Type.String(),
      cause: Type.String(),
      signals: Type.Array(RaisedSignal),
    }),
    { description: 'Those that are not at normal' },
  ),
  levels: Type.Array(Type.Object({ level: Level, sheds: Type.Array(Type.String()) })),
  ...freshness,
});
const Ordering = closed(
  Type.Object({
    level: Level,
    until: Type.Optional(
      Type.String({
        format: 'date-time',
        description: `ISO 8601, ${longestOrderMs / 86_400_000} days from now at most`,
      }),
    ),
    seconds: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: longestOrderMs / 1000,
        description: 'From now on, where no `until` is said; an hour without both',
      }),
    ),
    reason: Type.Optional(Type.String({ minLength: 1, maxLength: 512 })),
  }),
);

export function degradationRoutes(api: FastifyInstance, hub: Hub, degradation: Degradation): void {
  api.get<{ Querystring: Static<typeof ReadQuery> }>(
    '/degradation',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'readDegradation',
        summary:
          'How much this replica puts aside, what it measures, what is ordered, and which other replicas put work aside',
        tags: ['degradation'],
        querystring: ReadQuery,
        response: responses(200, Answer),
      },
    },
    async ({ query }, reply) => {
      const { min_position = 0 } = query;
      const live = hub.live.degradation; // not of the views: on a bad day they may be what is away
      const stale = await live.waitFor(min_position, positionMs).then(
        () => false,
        () => true,
      );
      return reply.send({ ...describe(hub, degradation), position: live.position, stale });
    },
  );

  api.put<{ Body: Static<typeof Ordering> }>(
    '/degradation',
    {
      config: { access: 'operate' },
      schema: {
        operationId: 'orderDegradation',
        summary: 'Puts all replicas at a level until then, whatever they measure',
        tags: ['degradation'],
        headers: writeHeaders,
        body: Ordering,
        response: responses(200, Type.Object({ ...Given.properties, position: Type.Integer() }), 'conflict'),
      },
    },
    async (request, reply) => {
      const {
        seconds = usualOrderSeconds,
        until = isoTime(hub.kernel.now() + seconds * 1_000),
        ...order
      } = request.body;
      const done = await degradation.give({ ...order, until }, aboutOf(request));
      return sendExecuted(reply, request, done, (given) => given);
    },
  );

  api.delete(
    '/degradation',
    {
      config: { access: 'operate' },
      schema: {
        operationId: 'liftDegradation',
        summary: 'Each replica is at the level that it measures',
        tags: ['degradation'],
        headers: writeHeaders,
        response: responses(200, Type.Object({ lifted: Type.Boolean(), position: Type.Integer() }), 'conflict'),
      },
    },
    async (request, reply) => sendExecuted(reply, request, await degradation.lift(aboutOf(request)), (done) => done),
  );
}

function describe({ kernel, live }: Hub, degradation: Degradation) {
  const { standing, measured, order, door } = degradation;
  const raised = new Map(measured.signals.map(({ signal, level }) => [signal, level]));
  const prefix = replicaSubject('');
  return {
    replica: kernel.replica,
    ...standing,
    sheds: shedServices(standing.level),
    measured: {
      level: measured.level,
      signals: (Object.keys(thresholds) as LoadSignal[]).flatMap((signal) => {
        const value = measured.values[signal];
        const { reduced, essential = null, core = null, unit, means } = thresholds[signal];
        const level = raised.get(signal) ?? 'normal';
        if (value === undefined) return [];
        return [{ signal, value: Math.round(value * 10) / 10, level, unit, means, reduced, essential, core }];
      }),
    },
    door,
    order: order
      ? {
          level: order.level,
          until: order.until,
          ...(order.reason !== null && { reason: order.reason }),
          since: order.since,
          by: order.actor,
        }
      : null,
    replicas: [...live.degradation.values()]
      .filter(({ subject }) => subject !== orderSubject)
      .map(({ subject, level, since, cause, signals }) => ({
        replica: subject.slice(prefix.length),
        level,
        since,
        cause,
        signals,
      })),
    levels: levels.map((level) => ({ level, sheds: shedServices(level) })),
  };
}
