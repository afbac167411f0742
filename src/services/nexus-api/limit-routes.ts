/** /limits: how much each may ask in a minute, and who asks most. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { LimitKind, Limits } from '../../events/limits.ts';
import { NodeId } from '../../events/node.ts';
import { closed } from '../../protocol.ts';
import type { RateLimiter } from '../rate-limiter.ts';
import { responses } from './describe.ts';
import { aboutOf, sendExecuted, writeHeaders } from './http.ts';

/** Identities that GET /limits tells of. */
const mostShown = 100;

const Params = Type.Object({ node: NodeId });
const OwnLimits = Type.Partial(Limits, {
  description: 'What the node has of its own; what is left out is the default',
});
const shared = Type.Boolean({ description: 'All replicas count together; false: each counts for itself' });
const usage = {
  limit: LimitKind,
  used: Type.Number({ description: 'Of this minute, in the unit of the limit; more than allowed is a debt' }),
  allowed: Type.Integer(),
};
const Overview = Type.Object({
  defaults: Type.Object({
    ...Limits.properties,
    strangers: Type.Integer({ description: 'Requests and packets of one address before a login, together' }),
  }),
  shared,
  busiest: Type.Array(Type.Object({ who: Type.String(), ...usage }), {
    description: `Up to ${mostShown} that used most of a limit, as this replica saw it: node:<id>, operator:<prefix> or address:<network>`,
  }),
});
const NodeLimits = Type.Object({
  node_id: NodeId,
  own: OwnLimits,
  limits: Limits,
  shared,
  usage: Type.Array(Type.Object(usage)),
});
const Changed = Type.Object({ node_id: NodeId, own: OwnLimits, position: Type.Integer() });

export function limitRoutes(api: FastifyInstance, limiter: RateLimiter): void {
  api.get(
    '/limits',
    {
      config: { access: 'govern' },
      schema: {
        operationId: 'readLimits',
        summary: 'The default limits, and who uses most of them now',
        tags: ['limits'],
        response: responses(200, Overview),
      },
    },
    async (_request, reply) => {
      const { defaults } = limiter;
      return reply.send({ defaults, shared: limiter.shared(), busiest: limiter.busiest(mostShown) });
    },
  );

  api.get<{ Params: Static<typeof Params> }>(
    '/limits/:node',
    {
      config: { access: 'govern', itself: true },
      schema: {
        operationId: 'readNodeLimits',
        summary: 'The limits of a node and what it used of them: for itself or an admin',
        tags: ['limits'],
        params: Params,
        response: responses(200, NodeLimits),
      },
    },
    async (request, reply) => {
      const { node } = request.params;
      const { own, limits, usage: used } = await limiter.read(node);
      const withoutWho = used.map(({ who, ...rest }) => rest);
      return reply.send({ node_id: node, own, limits, shared: limiter.shared(), usage: withoutWho });
    },
  );

  api.put<{ Params: Static<typeof Params>; Body: Static<typeof OwnLimits> }>(
    '/limits/:node',
    {
      config: { access: 'govern' },
      schema: {
        operationId: 'setNodeLimits',
        summary: 'Gives a node limits of its own, all of them as from now; none: it has the defaults again',
        description: 'The node need not be a member yet. Every replica holds them from the next request on.',
        tags: ['limits'],
        params: Params,
        headers: writeHeaders,
        body: closed(OwnLimits),
        response: responses(200, Changed, 'limit_reached', 'conflict'),
      },
    },
    async (request, reply) => {
      const { node } = request.params;
      const done = await limiter.set(node, request.body, aboutOf(request));
      return sendExecuted(reply, request, done, ({ limits }) => ({ node_id: node, own: limits }));
    },
  );
}
