/** `fedhub limits`: how much each may ask in a minute, who asks most, and what a single node may. */
import type { Command } from 'commander';
import type { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';

interface Usage {
  readonly limit: string;
  readonly used: number;
  readonly allowed: number;
}

interface Overview {
  readonly defaults: Readonly<Record<string, number>>;
  readonly shared: boolean;
  readonly busiest: readonly (Usage & { who: string })[];
}

interface NodeLimits {
  readonly node_id: string;
  readonly own: Readonly<Record<string, number>>;
  readonly limits: Readonly<Record<string, number>>;
  readonly usage: readonly Usage[];
}

interface Given {
  readonly requests?: number;
  readonly megabytes?: number;
  readonly messages?: number;
}

/** Adds `limits` and its parts. `client` and `output` are asked for when a command runs. */
export function registerLimits(program: Command, client: () => HubClient, output: () => Output): void {
  const limits = program
    .command('limits')
    .description('what each may ask in a minute, and who asks most; with a node: what it may, and used')
    .argument('[node]')
    .action((node: string | undefined) =>
      node === undefined ? showLimits(client(), output()) : showNodeLimits(client(), output(), node),
    );
  limits
    .command('set <node>')
    .description('give a node limits of its own, instead of all that it had; what is left out is the default')
    .option('--requests <n>', 'HTTP requests a minute', Number)
    .option('--megabytes <n>', 'megabytes a minute, both ways', Number)
    .option('--messages <n>', 'socket packets a minute', Number)
    .action((node: string, given: Given, command: Command) => {
      if (Object.keys(given).length === 0)
        command.error('error: give --requests, --megabytes or --messages; `limits clear` takes them all away', {
          exitCode: 2,
        });
      return setLimits(client(), output(), node, given);
    });
  limits
    .command('clear <node>')
    .description('the node has the defaults again')
    .action((node: string) => setLimits(client(), output(), node, {}));
}

async function showLimits(hub: HubClient, output: Output): Promise<void> {
  const overview = await hub.get<Overview>('/limits');
  if (output.json) return output.value(overview, '');
  output.say(`a minute   ${listed(overview.defaults)}`);
  output.say(`counted    ${overview.shared ? 'over all replicas' : 'at each replica for itself'}`);
  output.say('');
  output.table(
    ['who', 'limit', 'used', 'allowed'],
    overview.busiest.map(({ who, limit, used, allowed }) => ({ who, limit, used: used.toFixed(1), allowed })),
  );
}

async function showNodeLimits(hub: HubClient, output: Output, node: string): Promise<void> {
  const found = await hub.get<NodeLimits>(`/limits/${encodeURIComponent(node)}`);
  if (output.json) return output.value(found, '');
  output.table(
    ['limit', 'used', 'allowed', 'own'],
    found.usage.map(({ limit, used, allowed }) => ({
      limit,
      used: used.toFixed(1),
      allowed,
      own: limit in found.own ? 'yes' : 'default',
    })),
  );
}

/** Without any, the node has the defaults again. */
async function setLimits(hub: HubClient, output: Output, node: string, given: Given): Promise<void> {
  const changed = await hub.put<{ own: Given }>(`/limits/${encodeURIComponent(node)}`, given);
  const own = listed({ ...changed.own });
  output.value(changed, own ? `${node} may ask, a minute: ${own}` : `${node} has the default limits`);
}

function listed(limits: Readonly<Record<string, number>>): string {
  return Object.entries(limits)
    .map(([limit, allowed]) => `${allowed} ${limit}`)
    .join(', ');
}
