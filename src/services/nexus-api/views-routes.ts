/** /views: rebuilding them from the log, how far that is, and what they could not read. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { requestRebuild, viewsState, viewsStream } from '../../commands/views.ts';
import type { Hub } from '../../hub.ts';
import { responses } from './describe.ts';
import { aboutOf, sendExecuted, writeHeaders } from './http.ts';

const State = Type.Object({
  position: Type.Integer(),
  head: Type.Integer(),
  generation: Type.Integer(),
  dead_letters: Type.Integer(),
  rebuild: Type.Union([
    Type.Object({ rebuild_id: Type.String(), position: Type.Integer(), target: Type.Integer() }),
    Type.Null(),
  ]),
});
const DeadLetters = Type.Object({
  dead_letters: Type.Array(
    Type.Object({
      view: Type.String(),
      stream: Type.String(),
      position: Type.Integer({ description: 'The event that could not be folded' }),
      time: Type.String(),
      error: Type.String(),
      events: Type.Integer({ description: 'Events of the stream parked so far' }),
    }),
  ),
});
const LimitQuery = Type.Object({ limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 500, default: 100 })) });

export function viewsRoutes(api: FastifyInstance, hub: Hub): void {
  api.get(
    '/views',
    {
      config: { access: 'operate' },
      schema: {
        operationId: 'readViews',
        summary: 'How far the views are, and a rebuild under way',
        tags: ['views'],
        response: responses(200, State, 'views_unavailable', 'log_unavailable'),
      },
    },
    async (_request, reply) => {
      const { position, head, generation, deadLetters, rebuild } = await hub.views.state();
      return reply.send({
        position,
        head,
        generation,
        dead_letters: deadLetters,
        rebuild: rebuild && { rebuild_id: rebuild.rebuildId, position: rebuild.position, target: rebuild.target },
      });
    },
  );

  api.post(
    '/views/rebuild',
    {
      config: { access: 'operate' },
      schema: {
        operationId: 'rebuildViews',
        summary: 'Rebuilds all views from the log beside those that serve',
        tags: ['views'],
        headers: writeHeaders,
        response: responses(
          202,
          Type.Object({ rebuild_id: Type.String(), position: Type.Integer() }),
          'rebuild_running',
          'conflict',
        ),
      },
    },
    async (request, reply) => {
      const done = await hub.executor.execute(viewsStream, viewsState, requestRebuild, {}, aboutOf(request));
      return sendExecuted(reply, request, done, (rebuild) => rebuild, 202);
    },
  );

  api.get<{ Querystring: Static<typeof LimitQuery> }>(
    '/views/dead-letters',
    {
      config: { access: 'operate' },
      schema: {
        operationId: 'listDeadLetters',
        summary: 'Events that a view could not take, and those of their streams after them',
        tags: ['views'],
        querystring: LimitQuery,
        response: responses(200, DeadLetters),
      },
    },
    async ({ query }, reply) => reply.send({ dead_letters: await hub.views.deadLetters(query.limit ?? 100) }),
  );
}
