/** `fedhub models`: which models the federation has, and the best node for one. */
import { type Command, InvalidArgumentError } from 'commander';
import type { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';

interface Offer {
  readonly node_id: string;
  readonly type?: string;
  readonly quantisation?: string;
  readonly context_length?: number;
  readonly capacity?: number;
  readonly tokens_per_second?: number;
  readonly ready: boolean;
  readonly queue_depth?: number;
}

interface ModelPage {
  readonly models: readonly { readonly model_id: string; readonly nodes: readonly Offer[] }[];
  readonly next_cursor: string | null;
}

interface Ranking {
  readonly best: Offer & { readonly score: number; readonly why: Record<string, number> };
  readonly others: readonly Ranking['best'][];
}

type Filter = Readonly<Record<string, string | undefined>>;

export function registerModels(program: Command, client: () => HubClient, output: () => Output): void {
  program
    .command('models')
    .description('the models at nodes that are online')
    .option('--model <name>', 'only this one')
    .option('--type <type>', 'only of this type')
    .option('--capability <name>', 'only with this capability')
    .option('--best <name>', 'which node is best for this model, and why')
    .option('--min-context <tokens>', 'with --best: that it must take', tokens)
    .action(({ best, minContext, ...filter }: Filter & { best?: string; minContext?: string }) =>
      best === undefined ? showModels(client(), output(), filter) : showBest(client(), output(), best, minContext),
    );
}

async function showModels(hub: HubClient, output: Output, filter: Filter): Promise<void> {
  const all: ModelPage['models'][number][] = [];
  let cursor: string | undefined;
  do {
    const page = await hub.get<ModelPage>('/models', { ...filter, limit: '500', cursor });
    all.push(...page.models);
    cursor = page.next_cursor ?? undefined;
  } while (cursor);
  if (output.json) return output.table([], all);
  output.table(
    ['model', 'node', 'type', 'quantisation', 'context', 'capacity', 'tokens/s', 'ready', 'queue'],
    all.flatMap(({ model_id, nodes }) =>
      nodes.map((offer) => ({
        model: model_id,
        node: offer.node_id,
        type: offer.type,
        quantisation: offer.quantisation,
        context: offer.context_length,
        capacity: offer.capacity,
        'tokens/s': offer.tokens_per_second,
        ready: offer.ready ? 'yes' : 'no',
        queue: offer.queue_depth,
      })),
    ),
  );
}

async function showBest(hub: HubClient, output: Output, model: string, minContext: string | undefined): Promise<void> {
  const path = `/models/${encodeURIComponent(model)}/best`;
  const ranking = await hub.get<Ranking>(path, { min_context: minContext });
  if (output.json) return output.value(ranking, '');
  output.table(
    ['node', 'score', 'ready', 'queue', 'why'],
    [ranking.best, ...ranking.others].map(({ node_id, score, ready, queue_depth, why }) => ({
      node: node_id,
      score,
      ready: ready ? 'yes' : 'no',
      queue: queue_depth,
      why: JSON.stringify(why),
    })),
  );
}

function tokens(text: string): string {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('Give a whole number above 0.');
  return text;
}
