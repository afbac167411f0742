/** `fedhub channel`: who hears what is said where. */
import type { Command } from 'commander';
import type { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';

interface Channel {
  readonly channel: string;
  readonly members: number;
}

interface Member {
  readonly node_id: string;
  readonly joined_at: string;
}

export function registerChannels(program: Command, client: () => HubClient, output: () => Output): void {
  const channel = program.command('channel').description('channels: a message for one reaches all who hear it');
  channel
    .command('list')
    .description('the channels that somebody hears')
    .action(async () =>
      output().table(['channel', 'members'], await allPages<'channels', Channel>(client(), '/channels', 'channels')),
    );
  channel
    .command('show <channel>')
    .description('who hears a channel, and since when')
    .action(async (name: string) => {
      const members = await allPages<'members', Member>(client(), `/channels/${encodeURIComponent(name)}`, 'members');
      output().table(['node_id', 'joined_at'], members);
    });
  channel
    .command('add <channel> <node>')
    .description('have a node hear it from now on')
    .action(async (name: string, node: string) => {
      const written = await client().put<{ position: number }>(memberPath(name, node), {});
      output().value({ channel: name, node_id: node, ...written }, `${node} hears ${name}`);
    });
  channel
    .command('remove <channel> <node>')
    .description('have a node hear it no more')
    .action(async (name: string, node: string) => {
      const written = await client().delete<{ position: number }>(memberPath(name, node));
      output().value({ channel: name, node_id: node, ...written }, `${node} does not hear ${name} any more`);
    });
}

/** What lists hold under a name, all of it. */
async function allPages<N extends string, T>(hub: HubClient, path: string, name: N): Promise<T[]> {
  const all: T[] = [];
  let cursor: string | undefined;
  do {
    const page = await hub.get<Record<N, T[]> & { next_cursor: string | null }>(path, { cursor });
    all.push(...page[name]);
    cursor = page.next_cursor ?? undefined;
  } while (cursor);
  return all;
}

function memberPath(channel: string, node: string): string {
  return `/channels/${encodeURIComponent(channel)}/members/${encodeURIComponent(node)}`;
}
