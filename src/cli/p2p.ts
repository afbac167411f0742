/** `fedhub p2p …`: what nodes go by when the hub is silent. */
import type { Command } from 'commander';
import type { HubKeys, Roster } from '../protocol/p2p.ts';
import type { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';

interface Answer {
  readonly document: string;
  readonly keys: HubKeys;
}

export function registerP2p(program: Command, client: () => HubClient, output: () => Output): void {
  program
    .command('p2p')
    .description('what nodes go by when the hub is silent')
    .command('roster')
    .description('the newest roster of members, after its signature was checked')
    .action(() => showRoster(client(), output()));
}

async function showRoster(hub: HubClient, output: Output): Promise<void> {
  const [{ document, keys }, { federation_id }] = await Promise.all([
    hub.get<Answer>('/p2p/roster'),
    hub.get<Pick<Roster, 'federation_id'>>('/status'),
  ]);
  const { readRoster } = await import('../p2p/roster.ts'); // other commands have no use for it
  const { members, ...roster } = await readRoster(document, keys, federation_id);
  if (output.json) {
    output.value({ ...roster, verified: true, members }, '');
    return;
  }
  const { roster_id, issued_at, expires_at, position } = roster;
  output.say(`roster ${roster_id} at position ${position}: signed by the hub`);
  output.say(`issued ${issued_at}, counts until ${expires_at}`);
  const rows = members.map((member) => ({ listens: member.p2p_url ?? '-', ...member }));
  output.table(['node_id', 'role', 'listens', 'public_key'], rows);
}
