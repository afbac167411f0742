/** /ping/:entity: how long the way to an entity and back takes now, over the socket of its node, whichever replica has it. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import { EntityId } from '../../events/entity.ts';
import { NodeId } from '../../events/node.ts';
import type { Hub } from '../../hub.ts';
import type { WebsocketPool } from '../websocket-pool.ts';
import { responses } from './describe.ts';
import { sendProblem } from './http.ts';

const topic = 'ping';
/** How long a node may take to answer; another replica has a little longer to say so. */
const answerMs = 5_000;
const replicaMs = 6_000;

interface Word {
  readonly node: string;
  readonly entity: string;
}

const Params = Type.Object({ entity: EntityId });

export function pingRoutes(api: FastifyInstance, hub: Hub, sockets: WebsocketPool): void {
  const stop = sockets.cluster.handle(topic, (word) => {
    const asked = word as Word; // as `ping` below says it
    return sockets.has(asked.node) ? pingHere(sockets, asked) : undefined;
  });
  api.addHook('onClose', async () => stop());
  api.get<{ Params: Static<typeof Params> }>(
    '/ping/:entity',
    {
      config: { access: 'act' },
      schema: {
        operationId: 'pingEntity',
        summary:
          'How long the way to the node of an entity, or to a node, and back takes: a packet that it acknowledges',
        tags: ['messages'],
        params: Params,
        response: responses(
          200,
          Type.Object({ entity_id: EntityId, node_id: NodeId, round_trip_ms: Type.Number() }),
          'not_found',
          'no_target',
          'target_unreachable',
        ),
      },
    },
    async (request, reply) => {
      const { entity } = request.params;
      const node = nodeOf(hub, entity);
      if (isRefusal(node)) return sendProblem(reply, request, node);
      const began = hub.kernel.monotonicMs();
      const answer = await ping(hub, sockets, { node, entity });
      if (isRefusal(answer)) return sendProblem(reply, request, answer);
      const round_trip_ms = Math.round((hub.kernel.monotonicMs() - began) * 1_000) / 1_000;
      return reply.send({ entity_id: entity, node_id: node, round_trip_ms });
    },
  );
}

function ping(hub: Hub, sockets: WebsocketPool, word: Word): Promise<unknown> {
  if (sockets.has(word.node)) return pingHere(sockets, word);
  const session = hub.live.sessions.get(`${word.node}/socket`);
  if (session?.status !== 'open' || session.replica === hub.kernel.replica)
    return Promise.resolve(refuse('target_unreachable', `the node ${word.node} has no socket now`));
  return sockets.cluster.ask(session.replica, topic, word, replicaMs);
}

async function pingHere(sockets: WebsocketPool, { node, entity }: Word): Promise<object | Refusal> {
  const answer = await sockets.ask(node, 'federation:ping', { entity_id: entity }, answerMs);
  return isRefusal(answer) ? answer : {};
}

/** Entities come before nodes of the same name. */
function nodeOf({ live }: Hub, id: string): string | Refusal {
  const entity = live.entities.get(id);
  if (!entity) return live.nodes.get(id) ? id : refuse('not_found', `there is no entity ${id}, and no node`);
  return entity.node_id ?? refuse('no_target', `the entity ${id} belongs to no node that could answer`);
}
