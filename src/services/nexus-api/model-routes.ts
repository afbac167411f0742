/** /models: which models the federation has, what they can carry together, and the best node for one. */
import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { isRefusal } from '../../errors.ts';
import { ModelClaim, ModelId } from '../../events/model.ts';
import { NodeId } from '../../events/node.ts';
import type { Hub } from '../../hub.ts';
import type { ModelRegistry, OfferedModel, RankedOffer } from '../model-registry.ts';
import { responses } from './describe.ts';
import { freshness, ReadQuery, sendProblem } from './http.ts';
import { cursorAfter, defaultLimit, NextCursor, PageQuery, placeOf } from './page.ts';

const { model_id: _, ...claimed } = ModelClaim.properties;
const Offer = Type.Object({
  node_id: NodeId,
  ...claimed,
  ready: Type.Boolean({ description: 'In memory, by the newest heartbeat or else the declaration' }),
  queue_depth: Type.Optional(Type.Integer({ description: 'Requests that wait for it there, by the newest heartbeat' })),
});
/** Sums of what nodes say; those that say nothing add nothing. */
const sums = {
  loaded: Type.Integer({ description: 'Offers that are in memory' }),
  capacity: Type.Integer({ description: 'Requests that can be served at once, as far as nodes say' }),
  tokens_per_second: Type.Number({ description: 'As far as nodes say' }),
};
const ModelView = Type.Object({ model_id: ModelId, nodes: Type.Array(Offer), ...sums });
const Ranked = Type.Object({
  ...Offer.properties,
  score: Type.Number({ description: 'The higher, the better; the sum of `why`' }),
  why: Type.Record(Type.String(), Type.Number(), { description: 'What made up the score' }),
});

const Params = Type.Object({ id: ModelId });
const Word = Type.String({ minLength: 1, maxLength: 64 });
const List = Type.Object({
  ...PageQuery.properties,
  model: Type.Optional(ModelId),
  type: Type.Optional(Word),
  capability: Type.Optional(Word),
});
const Best = Type.Object({
  ...ReadQuery.properties,
  min_context: Type.Optional(Type.Integer({ minimum: 1, description: 'Tokens that the model must take' })),
});

export function modelRoutes(api: FastifyInstance, hub: Hub, registry: ModelRegistry): void {
  api.get<{ Querystring: Static<typeof List> }>(
    '/models',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'listModels',
        summary: 'The models at nodes that are online, and what the federation can carry',
        tags: ['models'],
        querystring: List,
        response: responses(
          200,
          Type.Object({
            models: Type.Array(ModelView),
            next_cursor: NextCursor,
            federation: Type.Object({ models: Type.Integer(), nodes: Type.Integer(), ...sums }),
            ...freshness,
          }),
          'cursor_invalid',
        ),
      },
    },
    async (request, reply) => {
      const { min_position, limit = defaultLimit, cursor, model, type, capability } = request.query;
      const after = placeOf(cursor, (place) => modelIds.Check(place));
      if (isRefusal(after)) return sendProblem(reply, request, after);
      const fresh = await reached(hub, min_position);
      const offers = registry
        .offers(model)
        .filter((offer) => (type === undefined || offer.type === type) && has(offer, capability));
      const byModel = grouped(offers);
      const page = [...byModel].filter(([id]) => id > after).slice(0, limit);
      const nodes = new Set(offers.map(({ node_id }) => node_id)).size;
      return reply.send({
        models: page.map(([model_id, its]) => ({ model_id, nodes: its.map(shown), ...sumsOf(its) })),
        next_cursor: cursorAfter(page, limit, ([id]) => id),
        federation: { models: byModel.size, nodes, ...sumsOf(offers) },
        ...fresh,
      });
    },
  );

  api.get<{ Params: Static<typeof Params>; Querystring: Static<typeof Best> }>(
    '/models/:id/best',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'findBestModelNode',
        summary: 'The best node for a model, why, and how the others compare',
        tags: ['models'],
        params: Params,
        querystring: Best,
        response: responses(
          200,
          Type.Object({ model_id: ModelId, best: Ranked, others: Type.Array(Ranked), ...freshness }),
          'no_target',
        ),
      },
    },
    async (request, reply) => {
      const { id: model_id } = request.params;
      const { min_position, min_context } = request.query;
      const fresh = await reached(hub, min_position);
      const ranked = registry.rank(model_id, min_context);
      if (isRefusal(ranked)) return sendProblem(reply, request, ranked);
      const [best, ...others] = ranked;
      const told = others.slice(0, mostOthers).map(rankedShown);
      return reply.send({ model_id, best: rankedShown(best), others: told, ...fresh });
    },
  );
}

const modelIds = Compile(ModelId);
const mostOthers = 50;
const longestWaitMs = 2_000;

/** The registry answers out of memory: waits until that holds a position. */
async function reached({ live }: Hub, minPosition = 0): Promise<{ position: number; stale: boolean }> {
  const views = [live.models, live.nodes];
  await Promise.all(views.map((view) => view.waitFor(minPosition, longestWaitMs))).catch(() => {}); // told by `stale`
  const position = Math.min(...views.map((view) => view.position));
  return { position, stale: position < minPosition };
}

function grouped(offers: readonly OfferedModel[]): Map<string, OfferedModel[]> {
  const byModel = new Map<string, OfferedModel[]>();
  for (const offer of offers) {
    const its = byModel.get(offer.model_id);
    if (its) its.push(offer);
    else byModel.set(offer.model_id, [offer]);
  }
  return byModel;
}

function has({ capabilities = [] }: OfferedModel, capability: string | undefined): boolean {
  return capability === undefined || capabilities.includes(capability);
}

function shown({ model_id: _, queue_depth, ...offer }: OfferedModel): Static<typeof Offer> {
  return { ...offer, ...(queue_depth !== undefined && { queue_depth }) };
}

function rankedShown({ offer, score, why }: RankedOffer): Static<typeof Ranked> {
  return { ...shown(offer), score, why: { ...why } };
}

function sumsOf(offers: readonly OfferedModel[]) {
  const sum = (of: (offer: OfferedModel) => number) => offers.reduce((total, offer) => total + of(offer), 0);
  return {
    loaded: sum(({ ready }) => (ready ? 1 : 0)),
    capacity: sum(({ capacity = 0 }) => capacity),
    tokens_per_second: sum(({ tokens_per_second = 0 }) => tokens_per_second),
  };
}
