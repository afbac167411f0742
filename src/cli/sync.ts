/** `fedhub sync` and `fedhub peer`: nodes are asked to sync, how far syncs are, and other hubs that this one is a member of. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';

interface SyncView {
  readonly sync_id: string;
  readonly node_id: string;
  readonly direction: string;
  readonly scope: { readonly mode: string };
  readonly status: string;
  readonly rounds: number;
  readonly pulled: number;
  readonly pushed: number;
  readonly refused: number;
  readonly bytes: number;
  readonly error: string | null;
  readonly updated_at: string;
}

interface PeerView {
  readonly peer_id: string;
  readonly url: string;
  readonly node_id: string;
  readonly direction: string;
  readonly scope: { readonly mode: string };
  readonly every_seconds: number;
  readonly last_outcome: string | null;
  readonly last_error: string | null;
  readonly synced_at: string | null;
}

interface Wanted {
  readonly direction: string;
  readonly since?: number;
  readonly category?: string[];
  readonly tag?: string[];
  readonly id?: string[];
  readonly query?: string;
}

/** Adds the commands of this file; `client` and `output` are asked when a command runs. */
export function registerSyncs(program: Command, client: () => HubClient, output: () => Output): void {
  const sync = program.command('sync').description('knowledge of nodes, brought to the same state as the hub');
  withScope(sync.command('run <node>').description('ask a node to sync now; it needs a connection')).action(
    (node: string, wanted: Wanted) => run(client(), output(), node, wanted),
  );
  sync
    .command('list')
    .description('syncs, the last first')
    .option('--node <id>', 'only of this node')
    .option('--limit <n>', 'how many at most', count, 50)
    .action((options: { node?: string; limit: number }) => list(client(), output(), options));
  sync
    .command('show <sync>')
    .description('one sync, and how far it is')
    .action((id: string) => show(client(), output(), id));
  sync
    .command('pause <sync>')
    .description('let a sync rest until its node goes on with it')
    .action((id: string) => rest(client(), output(), id, 'pause'));
  sync
    .command('cancel <sync>')
    .description('end a sync')
    .action((id: string) => rest(client(), output(), id, 'cancel'));

  const peer = program.command('peer').description('other hubs that this one is a member of');
  withScope(peer.command('add <url>').description('join another hub, and sync with it from now on'))
    .requiredOption('--node <id>', 'as what this hub is known there')
    .option('--name <peer>', 'what it is called here; in rules with peer: before it')
    .option('--invite <text>', 'invitation of the other hub')
    .option('--every <seconds>', 'between two syncs', count, 60)
    .action((url: string, wanted: Wanted & { node: string; name?: string; invite?: string; every: number }) =>
      add(client(), output(), url, wanted),
    );
  peer
    .command('list')
    .description('the hubs that this one is a member of')
    .action(() => listPeers(client(), output()));
  peer
    .command('remove <peer>')
    .description('sync with another hub no more')
    .action((id: string) => removePeer(client(), output(), id));
}

function withScope(command: Command): Command {
  return command
    .addOption(new Option('--direction <way>', 'what moves').choices(['pull', 'push', 'both']).default('both'))
    .option('--since <position>', 'only what changed since', count)
    .option('--category <category...>', 'only these, and all below them')
    .option('--tag <tag...>', 'only with one of these')
    .option('--id <memory...>', 'only these')
    .option('--query <words>', 'only what is found; can only be pulled');
}

function scopeOf({ since, category: categories, tag: tags, id: ids, query }: Wanted): object {
  if (since !== undefined) return { mode: 'incremental', since };
  const named = {
    ...(categories && { categories }),
    ...(tags && { tags }),
    ...(ids && { ids }),
    ...(query && { query }),
  };
  return Object.keys(named).length > 0 ? { mode: 'targeted', ...named } : { mode: 'full' };
}

async function run(hub: HubClient, output: Output, node: string, wanted: Wanted): Promise<void> {
  const body = { node, direction: wanted.direction, scope: scopeOf(wanted) };
  const asked = await hub.post<{ node: string; position: number }>('/knowledge/sync', body);
  output.value(asked, `${node} is asked to sync; \`fedhub sync list --node ${node}\` shows how it goes`);
}

async function list(hub: HubClient, output: Output, { node, limit }: { node?: string; limit: number }): Promise<void> {
  const { syncs } = await hub.get<{ syncs: SyncView[] }>('/knowledge/syncs', { node, limit: String(limit) });
  if (output.json) return output.table([], syncs);
  output.table(
    ['sync', 'node', 'direction', 'scope', 'status', 'pulled', 'pushed', 'refused', 'bytes', 'updated'],
    syncs.map((sync) => ({
      ...sync,
      sync: sync.sync_id,
      node: sync.node_id,
      scope: sync.scope.mode,
      updated: sync.updated_at,
    })),
  );
}

async function show(hub: HubClient, output: Output, id: string): Promise<void> {
  const { sync } = await hub.get<{ sync: SyncView }>(`/knowledge/syncs/${encodeURIComponent(id)}`);
  const { node_id, direction, scope, status, rounds, pulled, pushed, refused, bytes, error } = sync;
  const moved = `${rounds} rounds, ${pulled} pulled, ${pushed} pushed, ${refused} refused, ${bytes} bytes`;
  output.value(sync, `${node_id} ${direction} ${scope.mode}: ${status}\n${moved}${error ? `\n${error}` : ''}`);
}

async function rest(hub: HubClient, output: Output, id: string, how: 'pause' | 'cancel'): Promise<void> {
  const done = await hub.post<{ position: number }>(`/knowledge/syncs/${encodeURIComponent(id)}/${how}`);
  output.value({ sync_id: id, ...done }, how === 'pause' ? `${id} rests` : `${id} is cancelled`);
}

async function add(
  hub: HubClient,
  output: Output,
  url: string,
  wanted: Wanted & { node: string; name?: string; invite?: string; every: number },
): Promise<void> {
  const { node: node_id, name: peer_id, invite, every: every_seconds, direction } = wanted;
  const said = { ...(peer_id && { peer_id }), ...(invite && { invite }) };
  const body = { url, node_id, direction, scope: scopeOf(wanted), every_seconds, ...said };
  const done = await hub.post<{ peer: PeerView; waiting: boolean; public_key: string }>('/knowledge/peers', body);
  const state = done.waiting ? 'asked to be let in, and waits for an administrator there' : 'is a member there';
  output.value(done, `${done.peer.peer_id}: this hub ${state}, with the key ${done.public_key}`);
}

async function listPeers(hub: HubClient, output: Output): Promise<void> {
  const { peers } = await hub.get<{ peers: PeerView[] }>('/knowledge/peers');
  if (output.json) return output.table([], peers);
  output.table(
    ['peer', 'url', 'as', 'direction', 'scope', 'every', 'last', 'when', 'error'],
    peers.map((peer) => ({
      peer: peer.peer_id,
      url: peer.url,
      as: peer.node_id,
      direction: peer.direction,
      scope: peer.scope.mode,
      every: `${peer.every_seconds} s`,
      last: peer.last_outcome,
      when: peer.synced_at,
      error: peer.last_error,
    })),
  );
}

async function removePeer(hub: HubClient, output: Output, id: string): Promise<void> {
  const done = await hub.delete<{ position: number }>(`/knowledge/peers/${encodeURIComponent(id)}`);
  output.value({ peer_id: id, ...done }, `this hub syncs with ${id} no more`);
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError('not a number from 0');
  return value;
}
