/** /tasks: work is handed in, looked at, cancelled and tried again. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { isRefusal, refuse } from '../../errors.ts';
import { NodeId } from '../../events/node.ts';
import { Priority, Requirements, TaskId, TaskType } from '../../events/task.ts';
import type { Hub } from '../../hub.ts';
import type { NodeRow } from '../../projections/nodes.ts';
import { countOpenTasks, findWaitingKinds } from '../../projections/open-tasks.ts';
import { findTask, findTasks } from '../../projections/tasks.ts';
import { closed, TaskSubmission } from '../../protocol.ts';
import type { ModelRegistry } from '../model-registry.ts';
import type { TaskQueue } from '../task-queue.ts';
import { responses } from './describe.ts';
import { aboutOf, freshness, ReadQuery, sendExecuted, sendProblem, writeHeaders } from './http.ts';
import { cursorAfter, defaultLimit, NextCursor, PageQuery, placeOf } from './page.ts';
import { missingFor } from './task-needs.ts';
import { readerOf, summaryOf, TaskStatusWord, TaskSummary, TaskView, viewOf } from './task-view.ts';
import { contentBodyLimit, workRoutes } from './work-routes.ts';

const Params = Type.Object({ id: TaskId });
const List = Type.Object({
  ...PageQuery.properties,
  status: Type.Optional(TaskStatusWord),
  type: Type.Optional(TaskType),
  node: Type.Optional(NodeId),
  submitter: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
});
/** A body is not needed. */
const Cancelling = closed(
  Type.Union([Type.Object({ reason: Type.Optional(Type.String({ minLength: 1, maxLength: 512 })) }), Type.Null()]),
);
const Changed = Type.Object({ status: TaskStatusWord, position: Type.Integer() });

export function taskRoutes(api: FastifyInstance, hub: Hub, queue: TaskQueue, models: ModelRegistry): void {
  submitRoute(api, queue);
  listRoute(api, hub);
  queueRoute(api, hub, queue, models);
  workRoutes(api, queue);

  api.get<{ Params: Static<typeof Params>; Querystring: Static<typeof ReadQuery> }>(
    '/tasks/:id',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'readTask',
        summary: 'One task: how it stands, who worked on it, and why it went there',
        tags: ['tasks'],
        params: Params,
        querystring: ReadQuery,
        response: responses(200, Type.Object({ task: TaskView, ...freshness }), 'not_found'),
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const { value: row, ...fresh } = await hub.views.read(request.query.min_position, (db) => findTask(db, id));
      if (!row) return sendProblem(reply, request, refuse('not_found', `there is no task ${id}`));
      const missing = row.status === 'pending' ? missingFor(row, nodesOf(hub), models) : null;
      const open: TaskQueue['open'] = (content) => queue.open(content);
      const task = await viewOf(row, readerOf(hub, request.identity), { open, missing });
      return reply.send({ task, ...fresh });
    },
  );

  api.post<{ Params: Static<typeof Params>; Body: Static<typeof Cancelling> }>(
    '/tasks/:id/cancel',
    {
      config: { access: 'act' },
      schema: {
        operationId: 'cancelTask',
        summary: 'Ends a task, whoever works on it: by whoever handed it in, or who governs',
        tags: ['tasks'],
        params: Params,
        headers: writeHeaders,
        body: Cancelling,
        response: responses(200, Changed, 'not_found', 'forbidden', 'task_over', 'conflict'),
      },
    },
    async (request, reply) => {
      const { params, body, identity } = request;
      const done = await queue.cancel(params.id, body?.reason, identity, aboutOf(request));
      return sendExecuted(reply, request, done, (changed) => changed);
    },
  );

  api.post<{ Params: Static<typeof Params> }>(
    '/tasks/:id/retry',
    {
      config: { access: 'act' },
      schema: {
        operationId: 'retryTask',
        summary: 'Has a failed task tried again, with all its attempts: by whoever handed it in, or who governs',
        tags: ['tasks'],
        params: Params,
        headers: writeHeaders,
        response: responses(200, Changed, 'not_found', 'forbidden', 'conflict', 'queue_full'),
      },
    },
    async (request, reply) => {
      const done = await queue.retry(request.params.id, request.identity, aboutOf(request));
      return sendExecuted(reply, request, done, (changed) => changed);
    },
  );
}

function submitRoute(api: FastifyInstance, queue: TaskQueue): void {
  api.post<{ Body: TaskSubmission }>(
    '/tasks',
    {
      bodyLimit: contentBodyLimit,
      config: { access: 'act' },
      schema: {
        operationId: 'submitTask',
        summary: 'Hands in a task, for a node that can do it',
        tags: ['tasks'],
        headers: writeHeaders,
        body: closed(TaskSubmission),
        response: responses(
          201,
          Type.Object({ task_id: TaskId, position: Type.Integer() }),
          'queue_full',
          'egress_refused',
          'conflict',
        ),
      },
    },
    async (request, reply) => {
      const { body, identity } = request;
      const done = await queue.submit(body, identity, aboutOf(request));
      return sendExecuted(reply, request, done, ({ taskId }) => ({ task_id: taskId }), 201);
    },
  );
}

function listRoute(api: FastifyInstance, hub: Hub): void {
  api.get<{ Querystring: Static<typeof List> }>(
    '/tasks',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'listTasks',
        summary: 'Tasks, the newest first',
        tags: ['tasks'],
        querystring: List,
        response: responses(
          200,
          Type.Object({ tasks: Type.Array(TaskSummary), next_cursor: NextCursor, ...freshness }),
          'cursor_invalid',
        ),
      },
    },
    async (request, reply) => {
      const { min_position, limit = defaultLimit, cursor, ...filter } = request.query;
      const place = placeOf(cursor, (text) => /^[1-9]\d{0,15}$/.test(text));
      if (isRefusal(place)) return sendProblem(reply, request, place);
      const before = place === '' ? Number.MAX_SAFE_INTEGER : Math.min(Number(place), Number.MAX_SAFE_INTEGER);
      const { value: rows, ...fresh } = await hub.views.read(min_position, (db) =>
        findTasks(db, filter, before, limit),
      );
      const next_cursor = cursorAfter(rows, limit, ({ submitted_position }) => String(submitted_position));
      const reader = readerOf(hub, request.identity);
      return reply.send({ tasks: rows.map((row) => summaryOf(row, reader)), next_cursor, ...fresh });
    },
  );
}

/** Kinds of waiting tasks that are looked at, and of those that nobody can do, how many are told. */
const mostKinds = 200;
const mostUnplaceable = 50;

const Counts = Type.Object({
  pending: Type.Integer(),
  assigned: Type.Integer(),
  running: Type.Integer(),
});
const Unplaceable = Type.Object({
  type: TaskType,
  requirements: Requirements,
  count: Type.Integer(),
  oldest: Type.String({ description: 'When the first of them was handed in' }),
  missing: Type.Array(Type.String(), { description: 'What no node that is online has, for people' }),
});

function queueRoute(api: FastifyInstance, hub: Hub, queue: TaskQueue, models: ModelRegistry): void {
  api.get<{ Querystring: Static<typeof ReadQuery> }>(
    '/tasks/queue',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'readTaskQueue',
        summary: 'What waits and what is under way, and what waits for a node that is not there',
        tags: ['tasks'],
        querystring: ReadQuery,
        response: responses(
          200,
          Type.Object({
            ...Counts.properties,
            unplaceable: Type.Integer({ description: 'Of those that wait: how many no node that is here could do' }),
            oldest_pending_ms: Type.Union([Type.Integer(), Type.Null()], {
              description: 'For how long the oldest waits',
            }),
            by_priority: Type.Array(Type.Object({ priority: Priority, ...Counts.properties }), {
              description: 'The most urgent first',
            }),
            waiting_for: Type.Array(Unplaceable, {
              description: `What nobody can do now, by kind, the longest wait first; at most ${mostUnplaceable}`,
            }),
            ...freshness,
          }),
        ),
      },
    },
    async (request, reply) => {
      const { value, ...fresh } = await hub.views.read(request.query.min_position, async (db) => ({
        counted: await countOpenTasks(db),
        kinds: await findWaitingKinds(db, mostKinds),
      }));
      const online = nodesOf(hub);
      const waiting_for: Static<typeof Unplaceable>[] = [];
      for (const kind of value.kinds) {
        const missing = missingFor(kind, online, models);
        if (missing.length > 0 && waiting_for.length < mostUnplaceable) waiting_for.push({ ...kind, missing });
      }
      const { unplaceable } = queue.counts();
      return reply.send({ ...countsOf(value.counted, hub.kernel.now()), unplaceable, waiting_for, ...fresh });
    },
  );
}

/** Those that tasks are given to; whoever is late is still among them. */
function nodesOf({ live }: Hub): NodeRow[] {
  return [...live.nodes.values()].filter(({ status }) => status !== 'offline');
}

function countsOf(counted: Awaited<ReturnType<typeof countOpenTasks>>, now: number) {
  const none = { pending: 0, assigned: 0, running: 0 };
  const total: Record<string, number> = { ...none };
  const priorities = new Map<number, Record<string, number>>();
  let oldest: number | null = null;
  for (const { status, priority, count, oldest: since } of counted) {
    const its = priorities.get(priority) ?? { ...none };
    priorities.set(priority, its);
    total[status] = (total[status] ?? 0) + count;
    its[status] = (its[status] ?? 0) + count;
    if (status === 'pending') oldest = Math.max(oldest ?? 0, now - Date.parse(since));
  }
  const by_priority = [...priorities].sort(([a], [b]) => b - a).map(([priority, its]) => ({ priority, ...its }));
  return { ...total, oldest_pending_ms: oldest, by_priority };
}
