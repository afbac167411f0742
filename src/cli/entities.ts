/** `fedhub entities`: the AIs, services, daemons, bridges and clients of the federation. */
import { type Command, Option } from 'commander';
import type { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';

interface EntityPage {
  readonly entities: readonly {
    entity_id: string;
    kind: string;
    node_id: string | null;
    display_name?: string;
    capabilities?: readonly string[];
    last_seen: string;
  }[];
  readonly next_cursor: string | null;
}

export function registerEntities(program: Command, client: () => HubClient, output: () => Output): void {
  program
    .command('entities')
    .description('the entities of the federation')
    .addOption(
      new Option('--kind <kind>', 'only of this kind').choices(['ai', 'service', 'daemon', 'bridge', 'client']),
    )
    .option('--capability <name>', 'only with this capability')
    .option('--node <id>', 'only of this node')
    .option('--search <text>', 'only with this in id, display name or description')
    .action((filter: Record<string, string>) => showEntities(client(), output(), filter));
}

async function showEntities(hub: HubClient, output: Output, filter: Readonly<Record<string, string>>): Promise<void> {
  const all: EntityPage['entities'][number][] = [];
  let cursor: string | undefined;
  do {
    const page = await hub.get<EntityPage>('/entities', { ...filter, limit: '500', cursor });
    all.push(...page.entities);
    cursor = page.next_cursor ?? undefined;
  } while (cursor);
  if (output.json) return output.table([], all);
  output.table(
    ['entity', 'kind', 'node', 'name', 'seen', 'capabilities'],
    all.map((entity) => ({
      entity: entity.entity_id,
      kind: entity.kind,
      node: entity.node_id,
      name: entity.display_name,
      seen: entity.last_seen,
      capabilities: entity.capabilities?.join(' '),
    })),
  );
}
