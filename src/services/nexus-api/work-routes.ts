/** /tasks/claim and /tasks/:id/started, progress, complete, fail: for nodes that do tasks over HTTP. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import type { Holder } from '../../commands/task.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import { TaskId } from '../../events/task.ts';
import { AssignedTask, clientPackets, closed } from '../../protocol.ts';
import type { TaskQueue } from '../task-queue.ts';
import { bodyLimit } from './admit.ts';
import { responses } from './describe.ts';
import { goneSignal } from './gone-signal.ts';
import { aboutOf, sendExecuted, sendProblem, writeHeaders } from './http.ts';
import { TaskStatusWord } from './task-view.ts';

/** Of a body with a payload or result of full size, and what stands around it. */
export const contentBodyLimit = bodyLimit + 16 * 1024;

const Params = Type.Object({ id: TaskId });

// The members of the packets; the path gives the task.
const { task_id: _, ...held } = clientPackets['federation:task:started'].packet.properties;
const { task_id: _progress, ...progressed } = clientPackets['federation:task:progress'].packet.properties;
const { task_id: _complete, ...completed } = clientPackets['federation:task:complete'].packet.properties;
const { task_id: _fail, ...failed } = clientPackets['federation:task:fail'].packet.properties;
const Claiming = clientPackets['federation:task:claim'].packet;
const Started = closed(Type.Object(held));
const Progressed = closed(Type.Object(progressed));
const Completed = closed(Type.Object(completed));
const Failed = closed(Type.Object(failed));
const done = { position: Type.Integer() };

type Reported<Body> = { Params: Static<typeof Params>; Body: Body };

export function workRoutes(api: FastifyInstance, queue: TaskQueue): void {
  claimRoute(api, queue);

  api.post<Reported<Static<typeof Started>>>(
    '/tasks/:id/started',
    about('startTask', 'The node has begun', Started, Type.Object(done)),
    async (request, reply) => {
      const holder = holderOf(request);
      if (isRefusal(holder)) return sendProblem(reply, request, holder);
      return sendExecuted(reply, request, await queue.start(holder, aboutOf(request)), () => ({}));
    },
  );

  api.post<Reported<Static<typeof Progressed>>>(
    '/tasks/:id/progress',
    about(
      'reportTaskProgress',
      'How far the work is; written down at most once a second',
      Progressed,
      Type.Object({ recorded: Type.Boolean(), ...done }),
    ),
    async (request, reply) => {
      const holder = holderOf(request);
      if (isRefusal(holder)) return sendProblem(reply, request, holder);
      const { lease: _, ...said } = request.body;
      return sendExecuted(
        reply,
        request,
        await queue.progress({ ...holder, ...said }, aboutOf(request)),
        (made) => made,
      );
    },
  );

  api.post<Reported<Static<typeof Completed>>>(
    '/tasks/:id/complete',
    { ...about('completeTask', 'The work is done', Completed, Type.Object(done)), bodyLimit: contentBodyLimit },
    async (request, reply) => {
      const holder = holderOf(request);
      if (isRefusal(holder)) return sendProblem(reply, request, holder);
      const { result } = request.body;
      return sendExecuted(reply, request, await queue.complete(holder, result, aboutOf(request)), () => ({}));
    },
  );

  api.post<Reported<Static<typeof Failed>>>(
    '/tasks/:id/fail',
    about(
      'failTask',
      'The node could not do it: it is tried again unless `retryable` is false; `declined` does not count as an attempt',
      Failed,
      Type.Object({ status: TaskStatusWord, ...done }),
    ),
    async (request, reply) => {
      const holder = holderOf(request);
      if (isRefusal(holder)) return sendProblem(reply, request, holder);
      const { error, retryable = true, declined = false } = request.body;
      const failure = { ...holder, error, retryable, declined };
      return sendExecuted(reply, request, await queue.fail(failure, aboutOf(request)), (changed) => changed);
    },
  );
}

function claimRoute(api: FastifyInstance, queue: TaskQueue): void {
  api.post<{ Body: Static<typeof Claiming> }>(
    '/tasks/claim',
    {
      config: { access: 'worker' },
      schema: {
        operationId: 'claimTask',
        summary: 'Gives the node a task that it can do, waiting for one as long as it asks; it counts as begun',
        tags: ['tasks'],
        headers: writeHeaders,
        body: Claiming,
        response: responses(200, Type.Object({ task: Type.Union([AssignedTask, Type.Null()]) }), 'conflict'),
      },
    },
    async (request, reply) => {
      const { identity, body } = request;
      if (identity.kind !== 'node') return sendProblem(reply, request, nodesOnly);
      const { types, wait_ms: waitMs = 0 } = body;
      const wish = { types, waitMs, signal: goneSignal(reply) };
      const task = await queue.claim(identity.nodeId, wish, aboutOf(request));
      if (isRefusal(task)) return sendProblem(reply, request, task);
      return reply.send({ task: task ?? null });
    },
  );
}

const nodesOnly = refuse('forbidden', 'tasks are done by nodes: show the token of a node');

/** What the routes that report on a task have in common. */
function about(
  operationId: string,
  summary: string,
  body: typeof Started | typeof Progressed | typeof Completed | typeof Failed,
  answer: Parameters<typeof responses>[1],
) {
  return {
    config: { access: 'worker' as const },
    schema: {
      operationId,
      summary,
      tags: ['tasks'],
      params: Params,
      headers: writeHeaders,
      body,
      response: responses(200, answer, 'not_found', 'task_over', 'lease_lost', 'conflict'),
    },
  };
}

function holderOf({ identity, params, body }: FastifyRequest<Reported<{ lease: number }>>): Holder | Refusal {
  if (identity.kind !== 'node') return nodesOnly;
  return { taskId: params.id, nodeId: identity.nodeId, lease: body.lease };
}
