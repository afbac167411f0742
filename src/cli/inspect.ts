/** `fedhub status` and `fedhub nodes`: what is there, and how it is. */
import type { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';

interface Status {
  readonly federation_id: string;
  readonly mode: string;
  readonly version: string;
  readonly nodes: { readonly online: number; readonly total: number };
  readonly entities: number;
  readonly services: readonly { name: string; tier: string; state: string; reason?: string }[];
  readonly degraded: boolean;
  readonly uptime_seconds: number;
  readonly connections: number;
  readonly views: { readonly position: number; readonly head: number; readonly dead_letters: number };
}

interface NodePage {
  readonly nodes: readonly {
    node_id: string;
    status: string;
    role: string;
    owner?: string;
    last_heartbeat: string | null;
    suspicion: { phi: number } | null;
    capabilities?: readonly string[];
  }[];
  readonly next_cursor: string | null;
}

export async function showStatus(hub: HubClient, output: Output): Promise<void> {
  const status = await hub.get<Status>('/status');
  if (output.json) return output.value(status, '');
  const { federation_id, mode, version, nodes, entities, services, degraded, uptime_seconds, connections, views } =
    status;
  output.say(`federation  ${federation_id} (${mode})`);
  output.say(`hub         ${version}, up ${uptime_seconds} s${degraded ? ', degraded' : ''}`);
  output.say(`nodes       ${nodes.online} online of ${nodes.total}; ${connections} connections here`);
  output.say(`entities    ${entities}`);
  output.say(`log         position ${views.head}, views at ${views.position}, ${views.dead_letters} parked streams`);
  output.say('');
  output.table(
    ['service', 'tier', 'state'],
    services.map(({ name, tier, state }) => ({ service: name, tier, state })),
  );
}

export async function showNodes(
  hub: HubClient,
  output: Output,
  filter: Readonly<Record<string, string>>,
): Promise<void> {
  const all: NodePage['nodes'][number][] = [];
  let cursor: string | undefined;
  do {
    const page = await hub.get<NodePage>('/nodes', { ...filter, limit: '500', cursor });
    all.push(...page.nodes);
    cursor = page.next_cursor ?? undefined;
  } while (cursor);
  if (output.json) return output.table([], all);
  output.table(
    ['node', 'status', 'role', 'owner', 'heartbeat', 'phi', 'capabilities'],
    all.map((node) => ({
      node: node.node_id,
      status: node.status,
      role: node.role,
      owner: node.owner,
      heartbeat: node.last_heartbeat,
      phi: node.suspicion?.phi.toFixed(1),
      capabilities: node.capabilities?.join(' '),
    })),
  );
}
