/** Which models are where: as nodes declare them, for as long as the nodes are heard. */
import type { About, Executed } from '../commands/execute.ts';
import { declare, declaredModels, modelsStream } from '../commands/models.ts';
import { node, nodeStream } from '../commands/node.ts';
import { isRefusal, type Refusal, refuse } from '../errors.ts';
import type { ModelClaim } from '../events/model.ts';
import type { Hub } from '../hub.ts';
import { type HealthAggregator, healthAggregator } from './health-aggregator.ts';
import { type RankedOffer, rank } from './model-registry/choice.ts';
import { ModelIndex } from './model-registry/index-of-models.ts';
import { service } from './service.ts';
import { speakerOf, websocketPool } from './websocket-pool.ts';

export type { RankedOffer };

/** A model at a node that is here now. */
export interface OfferedModel extends ModelClaim {
  readonly node_id: string;
  /** In memory, by the newest heartbeat or else the declaration. */
  readonly ready: boolean;
  /** Requests that wait for it at the node, by the newest heartbeat. */
  readonly queue_depth: number | undefined;
}

export interface ModelRegistry {
  /** All models of a node from now on. Refuses `not_found`, and `invalid_input` when one is named twice. */
  declare(
    nodeId: string,
    models: readonly ModelClaim[],
    about: About,
  ): Promise<Executed<{ changed: boolean }> | Refusal>;
  /** Every offer of a model, or of all, at nodes that are online. Names of the profile and of heartbeats count as offers too. */
  offers(modelId?: string): readonly OfferedModel[];
  /** The model at this node; undefined when it is not there or the node is away. */
  offerOf(nodeId: string, modelId: string): OfferedModel | undefined;
  /** The nodes that have a model with at least so much context (tokens), the best first. Refuses `no_target` when there is none. */
  rank(modelId: string, minContext?: number): readonly [RankedOffer, ...RankedOffer[]] | Refusal;
}

export const modelRegistry = service({
  name: 'model-registry',
  purpose: 'Models by node, with context, capacity and speed; the best node for a model, and why',
  needs: { sockets: websocketPool, health: healthAggregator },
  async start(hub, { sockets, health }) {
    const index = new ModelIndex(hub, health);
    const api = createModelRegistry(hub, index, health);
    const stopHandling = sockets.handle('federation:models', async (client, { models }) => {
      const { nodeId, about } = speakerOf(client);
      const done = await api.declare(nodeId, models, about);
      return isRefusal(done) ? done : { position: done.position };
    });
    return {
      api,
      async stop() {
        stopHandling();
        index.close();
      },
    };
  },
});

function createModelRegistry(hub: Hub, index: ModelIndex, health: HealthAggregator): ModelRegistry {
  const { executor, live, kernel } = hub;
  return {
    async declare(nodeId, models, about) {
      if (!(await isMember(hub, nodeId))) return refuse('not_found', `there is no node ${nodeId}`);
      const stands = live.models.get(nodeId) !== undefined;
      const command = { nodeId, models, stands };
      return executor.execute(modelsStream(nodeId), declaredModels, declare, command, about);
    },
    offers: (modelId) => index.offers(modelId),
    offerOf: (nodeId, modelId) => index.offerOf(nodeId, modelId),
    rank(modelId, minContext) {
      const offers = index.offers(modelId);
      const fitting = offers.filter(
        ({ context_length = 0 }) => minContext === undefined || context_length >= minContext,
      );
      const [best, ...others] = rank(
        fitting,
        (nodeId) => health.reading(nodeId)?.resources?.cpu_percent,
        () => kernel.random(),
      );
      if (best) return [best, ...others];
      const lacks = offers.length > 0 ? ` with a context of ${minContext} tokens` : '';
      return refuse('no_target', `no node that is here now has ${modelId}${lacks}`);
    },
  };
}

/** The map is a moment behind a node that just joined; its stream is not. */
async function isMember({ live, executor }: Hub, nodeId: string): Promise<boolean> {
  return (
    live.nodes.get(nodeId) !== undefined || (await executor.state(nodeStream(nodeId), node)).membership === 'member'
  );
}
