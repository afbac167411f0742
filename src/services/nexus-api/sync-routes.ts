/** /knowledge/sync and /knowledge/syncs: syncs of nodes that live by HTTP alone, those that are asked for, and how far each is. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import { actorOf } from '../../doors.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import { SyncDirection, SyncId, SyncProgress, SyncScope } from '../../events/knowledge.ts';
import { NodeId } from '../../events/node.ts';
import type { Hub } from '../../hub.ts';
import { findSync, findSyncs, type SyncRow } from '../../projections/syncs.ts';
import { clientPackets, closed } from '../../protocol.ts';
import { may } from '../../rights.ts';
import type { KnowledgeSync } from '../knowledge-sync.ts';
import { responses } from './describe.ts';
import { aboutOf, freshness, ReadQuery, sendExecuted, sendProblem, writeHeaders } from './http.ts';
import { cursorAfter, defaultLimit, NextCursor, PageQuery, placeOf } from './page.ts';
import { contentBodyLimit } from './work-routes.ts';

const Params = Type.Object({ id: SyncId });
const Asked = closed(
  Type.Object({
    /** Who is asked to sync, by who governs; unsaid: the node that asks. */
    node: Type.Optional(NodeId),
    direction: SyncDirection,
    scope: SyncScope,
    sync_id: Type.Optional(SyncId),
  }),
);
const { ok: _ok, ...begun } = clientPackets['federation:knowledge:sync'].ack.properties;
const { ok: _pulled, ...pulled } = clientPackets['federation:knowledge:pull'].ack.properties;
const { ok: _pushed, ...pushed } = clientPackets['federation:knowledge:push'].ack.properties;
const { ok: _ended, ...ended } = clientPackets['federation:knowledge:end'].ack.properties;
const { sync_id: _pull, ...pulling } = clientPackets['federation:knowledge:pull'].packet.properties;
const { sync_id: _push, ...pushing } = clientPackets['federation:knowledge:push'].packet.properties;
const { sync_id: _end, ...ending } = clientPackets['federation:knowledge:end'].packet.properties;
/** A frame in text takes a third more. */
const FrameText = Type.String({
  pattern: '^[A-Za-z0-9_-]+$',
  maxLength: 88_000,
  description: 'A frame of Negentropy, protocol version 1, in base64url without padding',
});
const Frame = closed(Type.Object({ frame: FrameText }));
const Pulling = closed(Type.Object(pulling));
const Pushing = closed(Type.Object(pushing));
const Ending = closed(Type.Object(ending));

const SyncView = Type.Object({
  sync_id: SyncId,
  node_id: NodeId,
  direction: SyncDirection,
  scope: SyncScope,
  status: Type.Enum(['running', 'paused', 'completed', 'failed', 'cancelled']),
  ...SyncProgress.properties,
  error: Type.Union([Type.String(), Type.Null()]),
  cursor: Type.Union([Type.Integer(), Type.Null()], { description: 'Where an incremental sync after this one begins' }),
  started_at: Type.String(),
  updated_at: Type.String(),
  ended_at: Type.Union([Type.String(), Type.Null()]),
});
const Query = Type.Object({ ...PageQuery.properties, node: Type.Optional(NodeId) });
const tags = ['knowledge'];
const position = { position: Type.Integer() };

type OfSync<Body> = { Params: Static<typeof Params>; Body: Body };

export function syncRoutes(api: FastifyInstance, hub: Hub, knowledge: KnowledgeSync): void {
  beginRoute(api, hub, knowledge);
  stepRoutes(api, knowledge);
  restRoutes(api, knowledge);
  readRoutes(api, hub);
}

function beginRoute(api: FastifyInstance, hub: Hub, { syncs, offers }: KnowledgeSync): void {
  api.post<{ Body: Static<typeof Asked> }>(
    '/knowledge/sync',
    {
      config: { access: 'act' },
      schema: {
        operationId: 'beginSync',
        summary: 'Begins a sync of the node that asks, or goes on with one; or, by who governs, asks a node to sync',
        description:
          'The node leads a sync: it goes on with reconcile, pull, push and end. A node that is asked is told over its socket, and begins when it likes: then the answer is 202.',
        tags,
        headers: writeHeaders,
        body: Asked,
        response: {
          ...responses(201, Type.Object(begun), 'limit_reached', 'not_found', 'sync_over', 'target_unreachable'),
          ...responses(202, Type.Object({ node: NodeId, ...position })),
        },
      },
    },
    async (request, reply) => {
      const { identity, body } = request;
      const { node, ...asked } = body;
      if (identity.kind === 'node' && (node ?? identity.nodeId) === identity.nodeId) {
        const done = await syncs.begin(identity.nodeId, asked, aboutOf(request));
        return isRefusal(done) ? sendProblem(reply, request, done) : reply.code(201).send(done);
      }
      const refused = await offered();
      if (refused) return sendProblem(reply, request, refused);
      return reply.code(202).send({ node, position: await hub.log.head() });

      async function offered(): Promise<Refusal | undefined> {
        if (!may(identity, 'govern'))
          return refuse('forbidden', 'a node syncs itself; others are asked by who governs');
        if (node === undefined || !hub.live.nodes.get(node)) return refuse('not_found', `there is no node ${node}`);
        const { direction, scope } = asked;
        return offers.offer(node, { direction, scope, by: actorOf(identity) });
      }
    },
  );
}

function stepRoutes(api: FastifyInstance, { syncs }: KnowledgeSync): void {
  api.post<OfSync<Static<typeof Frame>>>(
    '/knowledge/syncs/:id/reconcile',
    about('reconcileSync', 'Answers a frame of fingerprints', Frame, Type.Object({ frame: FrameText })),
    async (request, reply) => {
      const frame = Buffer.from(request.body.frame, 'base64url');
      const done = await syncs.reconcile(nodeOf(request), request.params.id, frame);
      if (isRefusal(done)) return sendProblem(reply, request, done);
      return reply.send({ frame: Buffer.from(done.frame).toString('base64url') });
    },
  );

  api.post<OfSync<Static<typeof Pulling>>>(
    '/knowledge/syncs/:id/pull',
    about('pullSync', 'Documents that the node lacks, as many as fit into an answer', Pulling, Type.Object(pulled)),
    async (request, reply) => {
      const { command: _, ...by } = aboutOf(request); // asked again, it is judged again
      const done = await syncs.pull(nodeOf(request), request.params.id, request.body.versions, by);
      return isRefusal(done) ? sendProblem(reply, request, done) : reply.send(done);
    },
  );

  api.post<OfSync<Static<typeof Pushing>>>(
    '/knowledge/syncs/:id/push',
    {
      bodyLimit: contentBodyLimit,
      ...about('pushSync', 'Takes documents that the hub lacks', Pushing, Type.Object(pushed)),
    },
    async (request, reply) => {
      const { command: _, ...by } = aboutOf(request); // each version is known by itself
      const done = await syncs.push(nodeOf(request), request.params.id, request.body.documents, by);
      return isRefusal(done) ? sendProblem(reply, request, done) : reply.send(done);
    },
  );

  api.post<OfSync<Static<typeof Ending>>>(
    '/knowledge/syncs/:id/end',
    about('endSync', 'Ends a sync of the node that asks', Ending, Type.Object(ended)),
    async (request, reply) => {
      const { outcome, error } = request.body;
      const done = await syncs.end(nodeOf(request), request.params.id, { outcome, error }, aboutOf(request));
      return sendExecuted(reply, request, done, (end) => end);
    },
  );
}

function restRoutes(api: FastifyInstance, { syncs }: KnowledgeSync): void {
  api.post<OfSync<undefined>>(
    '/knowledge/syncs/:id/pause',
    resting('pauseSync', 'Lets a sync rest until its node goes on with it: by the node, or who governs'),
    async (request, reply) => {
      const done = await syncs.pause(ownerOf(request), request.params.id, aboutOf(request));
      return sendExecuted(reply, request, done, () => ({}));
    },
  );

  api.post<OfSync<undefined>>(
    '/knowledge/syncs/:id/cancel',
    resting('cancelSync', 'Ends a sync that is not through: by the node, or who governs'),
    async (request, reply) => {
      const outcome = { outcome: 'cancelled' as const };
      const done = await syncs.end(ownerOf(request), request.params.id, outcome, aboutOf(request));
      return sendExecuted(reply, request, done, () => ({}));
    },
  );
}

function readRoutes(api: FastifyInstance, hub: Hub): void {
  api.get<{ Querystring: Static<typeof Query> }>(
    '/knowledge/syncs',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'listSyncs',
        summary: 'Syncs, the last first: of the node that asks; for who governs, of all',
        tags,
        querystring: Query,
        response: responses(
          200,
          Type.Object({ syncs: Type.Array(SyncView), next_cursor: NextCursor, ...freshness }),
          'cursor_invalid',
        ),
      },
    },
    async (request, reply) => {
      const { min_position, limit = defaultLimit, cursor, node } = request.query;
      const place = placeOf(cursor, (text) => /^[1-9]\d{0,15}$/.test(text));
      if (isRefusal(place)) return sendProblem(reply, request, place);
      const owner = ownerOf(request);
      if (owner !== undefined && (node ?? owner) !== owner)
        return sendProblem(reply, request, refuse('forbidden', 'the syncs of another node'));
      const before = place === '' ? Number.MAX_SAFE_INTEGER : Math.min(Number(place), Number.MAX_SAFE_INTEGER);
      const since = sinceOf(hub, request);
      const { value: rows, ...fresh } = await hub.views.read(min_position, (db) =>
        findSyncs(db, owner ?? node, before, limit),
      );
      const next_cursor = cursorAfter(rows, limit, ({ started_position }) => String(started_position));
      const own = rows.filter(({ started_position }) => started_position > since);
      return reply.send({ syncs: own.map(view), next_cursor, ...fresh });
    },
  );

  api.get<{ Params: Static<typeof Params>; Querystring: Static<typeof ReadQuery> }>(
    '/knowledge/syncs/:id',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'readSync',
        summary: 'One sync: for its node, and who governs',
        tags,
        params: Params,
        querystring: ReadQuery,
        response: responses(200, Type.Object({ sync: SyncView, ...freshness }), 'not_found'),
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const { value: row, ...fresh } = await hub.views.read(request.query.min_position, (db) => findSync(db, id));
      const owner = ownerOf(request);
      const own = owner === undefined || (row?.node_id === owner && row.started_position > sinceOf(hub, request));
      if (!row || !own) return sendProblem(reply, request, refuse('not_found', `there is no sync ${id}`));
      return reply.send({ sync: view(row), ...fresh });
    },
  );
}

function about(
  operationId: string,
  summary: string,
  body: ReturnType<typeof closed>,
  answer: ReturnType<typeof Type.Object>,
) {
  return {
    config: { access: 'worker' as const },
    schema: {
      operationId,
      summary,
      tags,
      params: Params,
      headers: writeHeaders,
      body,
      response: responses(200, answer, 'not_found', 'sync_over', 'limit_reached', 'views_unavailable', 'conflict'),
    },
  };
}

function resting(operationId: string, summary: string) {
  return {
    config: { access: 'act' as const },
    schema: {
      operationId,
      summary,
      tags,
      params: Params,
      headers: writeHeaders,
      response: responses(200, Type.Object(position), 'not_found', 'sync_over', 'conflict'),
    },
  };
}

/** Whose syncs whoever asks may know of; undefined: all. An operator without the right to govern has none. */
function ownerOf({ identity }: FastifyRequest): string | undefined {
  if (may(identity, 'govern')) return undefined;
  return identity.kind === 'node' ? identity.nodeId : '';
}

/** What is older is of one that had the name before. */
function sinceOf({ live }: Hub, request: FastifyRequest): number {
  const owner = ownerOf(request);
  return owner === undefined ? -1 : (live.nodes.get(owner)?.registered_position ?? Number.POSITIVE_INFINITY);
}

/** `worker` lets nodes pass alone. */
function nodeOf({ identity }: FastifyRequest): string {
  return identity.kind === 'node' ? identity.nodeId : '';
}

function view({ sync_cursor: cursor, started_position: _, ...row }: SyncRow): Static<typeof SyncView> {
  return { ...row, cursor };
}
