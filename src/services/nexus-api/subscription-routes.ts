/** /subscriptions: events that wait for whoever asked for them, to be read or to be sent, from any position on. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { actorOf } from '../../doors.ts';
import { isRefusal, refuse } from '../../errors.ts';
import { Delivery, EventFilter, EventPatterns, SubscriptionId } from '../../events/subscription.ts';
import type { Hub } from '../../hub.ts';
import { findSubscriptions, type SubscriptionRow } from '../../projections/subscriptions.ts';
import { CloudEvent, closed } from '../../protocol.ts';
import { may } from '../../rights.ts';
import { webhookSecret, webhookSubject } from '../../webhook-secret.ts';
import type { EventBus } from '../event-bus.ts';
import type { IdentityAuth } from '../identity-auth.ts';
import { responses } from './describe.ts';
import { standingOf } from './event-routes.ts';
import { aboutOf, freshness, sendExecuted, sendProblem, writeHeaders } from './http.ts';
import { cursorAfter, defaultLimit, NextCursor, PageQuery, placeOf } from './page.ts';

const Position = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const Params = Type.Object({ id: SubscriptionId });
const New = closed(
  Type.Object({
    label: Type.String({ minLength: 1, maxLength: 128, pattern: '^\\P{Cc}*$' }),
    patterns: EventPatterns,
    filter: Type.Optional(EventFilter),
    delivery: Delivery,
    after: Type.Optional(
      Type.Union([Position, Type.Literal('now')], {
        description: 'What lies after it is delivered; left out: what happens from now on',
      }),
    ),
  }),
);
const Shown = Type.Object({
  subscription_id: SubscriptionId,
  owner: Type.String({ description: '`node:<id>` or `operator:<prefix>`: its rights count at each delivery' }),
  label: Type.String(),
  patterns: EventPatterns,
  filter: Type.Union([EventFilter, Type.Null()]),
  delivery: Delivery,
  status: Type.Union([Type.Literal('active'), Type.Literal('paused')]),
  reason: Type.Union([Type.String(), Type.Null()], { description: 'Why it is paused' }),
  failures: Type.Integer({ description: 'Deliveries that failed in a row before it was paused' }),
  position: Type.Integer({ description: 'Everything up to here was delivered or read' }),
  created_at: Type.String(),
  advanced_at: Type.Union([Type.String(), Type.Null()]),
});
const Read = Type.Object({
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 500, default: defaultLimit })),
  wait_ms: Type.Optional(
    Type.Integer({ minimum: 0, maximum: 30_000, default: 0, description: 'How long to wait when there is nothing' }),
  ),
});
const Written = Type.Object({ position: Type.Integer() });
const Moved = closed(Type.Object({ position: Position }));
const MovedTo = Type.Object({
  subscription_position: Type.Integer({ description: 'Where the subscription is now' }),
  position: Type.Integer(),
});
const tags = ['events'];

export function subscriptionRoutes(api: FastifyInstance, hub: Hub, bus: EventBus, identity: IdentityAuth): void {
  listRoutes(api, hub, bus);
  secretRoutes(api, hub, identity);
  stateRoutes(api, bus);
  cursorRoutes(api, bus, identity);
}

function listRoutes(api: FastifyInstance, hub: Hub, { subscriptions }: EventBus): void {
  api.post<{ Body: Static<typeof New> }>(
    '/subscriptions',
    {
      config: { access: 'act' },
      schema: {
        operationId: 'createSubscription',
        summary: 'Subscribes to events that are kept for whoever asks, or sent to a web address',
        description: 'What is sent is signed (Standard Webhooks) with the secret of `GET /subscriptions/secret`.',
        tags,
        headers: writeHeaders,
        body: New,
        response: responses(
          200,
          Type.Object({ subscription_id: SubscriptionId, position: Type.Integer() }),
          'limit_reached',
          'egress_refused',
          'conflict',
        ),
      },
    },
    async (request, reply) => {
      const { label, patterns, filter, delivery, after = 'now' } = request.body;
      const wish = { label, patterns, filter, delivery, after };
      const made = await subscriptions.create(wish, request.identity, aboutOf(request));
      return sendExecuted(reply, request, made, ({ subscriptionId }) => ({ subscription_id: subscriptionId }));
    },
  );

  api.get<{ Querystring: Static<typeof PageQuery> }>(
    '/subscriptions',
    {
      config: { access: 'act' },
      schema: {
        operationId: 'listSubscriptions',
        summary: 'One’s own subscriptions; for who governs, all',
        tags,
        querystring: PageQuery,
        response: responses(
          200,
          Type.Object({ subscriptions: Type.Array(Shown), next_cursor: NextCursor, ...freshness }),
          'cursor_invalid',
        ),
      },
    },
    async (request, reply) => {
      const { min_position, limit = defaultLimit, cursor } = request.query;
      const after = placeOf(cursor, (place) => ids.Check(place));
      if (isRefusal(after)) return sendProblem(reply, request, after);
      const owner = may(request.identity, 'govern') ? undefined : actorOf(request.identity);
      const { value: rows, ...fresh } = await hub.views.read(min_position, (db) =>
        findSubscriptions(db, owner, after, limit),
      );
      const next_cursor = cursorAfter(rows, limit, ({ subscription_id }) => subscription_id);
      return reply.send({ subscriptions: rows.map(shown), next_cursor, ...fresh });
    },
  );
}

function secretRoutes(api: FastifyInstance, hub: Hub, identity: IdentityAuth): void {
  const Secret = Type.Object({ secret: Type.String({ description: '`whsec_` and 32 bytes in base64' }) });
  api.get(
    '/subscriptions/secret',
    {
      config: { access: 'act', sensitive: true },
      schema: {
        operationId: 'readWebhookSecret',
        summary: 'What webhooks and callbacks for the one who asks are signed with',
        tags,
        response: responses(200, Secret),
      },
    },
    async (request, reply) =>
      reply.header('cache-control', 'no-store').send({ secret: await webhookSecret(hub, actorOf(request.identity)) }),
  );

  api.post(
    '/subscriptions/secret/rotate',
    {
      config: { access: 'act', sensitive: true },
      schema: {
        operationId: 'rotateWebhookSecret',
        summary: 'Makes a new secret: what is sent from now on is signed with it, and nothing with the former',
        tags,
        headers: writeHeaders,
        response: responses(200, Type.Object({ ...Secret.properties, position: Type.Integer() }), 'conflict'),
      },
    },
    async (request, reply) => {
      const owner = actorOf(request.identity);
      const erased = await identity.erase(webhookSubject(owner), aboutOf(request));
      if (isRefusal(erased)) return sendProblem(reply, request, erased);
      const secret = await webhookSecret(hub, owner);
      return reply.header('cache-control', 'no-store').send({ secret, position: erased.position });
    },
  );
}

function stateRoutes(api: FastifyInstance, { subscriptions }: EventBus): void {
  api.get<{ Params: Static<typeof Params> }>(
    '/subscriptions/:id',
    {
      config: { access: 'act' },
      schema: {
        operationId: 'readSubscription',
        summary: 'One subscription: how far it is, and whether it is paused and why',
        tags,
        params: Params,
        response: responses(200, Type.Object({ subscription: Shown }), 'not_found'),
      },
    },
    async (request, reply) => {
      const row = await subscriptions.find(request.params.id, request.identity);
      return isRefusal(row) ? sendProblem(reply, request, row) : reply.send({ subscription: shown(row) });
    },
  );

  api.delete<{ Params: Static<typeof Params> }>(
    '/subscriptions/:id',
    {
      config: { access: 'act' },
      schema: {
        operationId: 'deleteSubscription',
        summary: 'Ends a subscription: by the owner, or who governs',
        tags,
        params: Params,
        headers: writeHeaders,
        response: responses(200, Written, 'not_found', 'conflict'),
      },
    },
    async (request, reply) =>
      nothing(reply, request, await subscriptions.remove(request.params.id, request.identity, aboutOf(request))),
  );

  for (const [action, operationId, summary] of [
    ['pause', 'pauseSubscription', 'Delivers nothing until it is resumed: by the owner, or who governs'],
    ['resume', 'resumeSubscription', 'Delivers on from where it was: by the owner, or who governs'],
  ] as const) {
    api.post<{ Params: Static<typeof Params> }>(
      `/subscriptions/:id/${action}`,
      {
        config: { access: 'act' },
        schema: {
          operationId,
          summary,
          tags,
          params: Params,
          headers: writeHeaders,
          response: responses(200, Written, 'not_found', 'conflict'),
        },
      },
      async (request, reply) =>
        nothing(reply, request, await subscriptions[action](request.params.id, request.identity, aboutOf(request))),
    );
  }
}

function cursorRoutes(api: FastifyInstance, bus: EventBus, identity: IdentityAuth): void {
  const { subscriptions } = bus;
  api.get<{ Params: Static<typeof Params>; Querystring: Static<typeof Read> }>(
    '/subscriptions/:id/events',
    {
      config: { access: 'act' },
      schema: {
        operationId: 'readSubscriptionEvents',
        summary: 'What lies after the position of a subscription; the same again until it is acknowledged',
        tags,
        params: Params,
        querystring: Read,
        response: responses(
          200,
          Type.Object({
            events: Type.Array(CloudEvent),
            position: Type.Integer({ description: 'To acknowledge when these were dealt with' }),
          }),
          'not_found',
          'conflict',
          'limit_reached',
          'overloaded',
        ),
      },
    },
    async (request, reply) => {
      const row = await subscriptions.find(request.params.id, request.identity);
      if (isRefusal(row)) return sendProblem(reply, request, row);
      if (row.owner !== actorOf(request.identity)) {
        return sendProblem(reply, request, refuseOthers(request.params.id));
      }
      const standing = await standingOf(bus, identity, request);
      if (isRefusal(standing)) return sendProblem(reply, request, standing);
      const { limit = defaultLimit, wait_ms: waitMs = 0 } = request.query;
      const gone = new AbortController();
      reply.raw.once('close', () => gone.abort());
      const found = await bus.read(row, { limit, waitMs, signal: gone.signal, standing });
      return isRefusal(found) ? sendProblem(reply, request, found) : reply.send(found);
    },
  );

  for (const [action, operationId, summary] of [
    ['ack', 'acknowledgeSubscription', 'Everything up to a position was dealt with: by the owner'],
    ['seek', 'seekSubscription', 'Goes on from any position, earlier or later: by the owner'],
  ] as const) {
    api.post<{ Params: Static<typeof Params>; Body: Static<typeof Moved> }>(
      `/subscriptions/:id/${action}`,
      {
        config: { access: 'act' },
        schema: {
          operationId,
          summary,
          tags,
          params: Params,
          headers: writeHeaders,
          body: Moved,
          response: responses(200, MovedTo, 'not_found', 'conflict'),
        },
      },
      async (request, reply) => {
        const move = action === 'ack' ? subscriptions.acknowledge : subscriptions.seek;
        const moved = await move(request.params.id, request.body.position, request.identity, aboutOf(request));
        return sendExecuted(reply, request, moved, ({ position }) => ({ subscription_position: position }));
      },
    );
  }
}

const ids = Compile(SubscriptionId);

function refuseOthers(id: string) {
  return refuse('not_found', `there is no subscription ${id} of yours`);
}

function nothing(reply: FastifyReply, request: FastifyRequest, done: Parameters<typeof sendExecuted>[2]): FastifyReply {
  return sendExecuted(reply, request, done, () => ({}));
}

function shown({ created_position: _, ...row }: SubscriptionRow): Static<typeof Shown> {
  return row;
}
