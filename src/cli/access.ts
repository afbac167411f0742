/** `fedhub access …`: the block list and the allow list. */
import type { Command } from 'commander';
import type { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';

interface Entry {
  readonly subject: string;
  readonly reason?: string;
  readonly note?: string | null;
  readonly since: string;
}
type Page = Readonly<Partial<Record<'blocked' | 'allowed', readonly Entry[]>>> & {
  readonly next_cursor: string | null;
};

export function registerAccess(program: Command, client: () => HubClient, output: () => Output): void {
  const access = program.command('access').description('who is blocked, and who joins without an invite');
  access
    .command('blocked')
    .description('the block list')
    .action(() => showList(client(), output(), 'blocked'));
  access
    .command('allowed')
    .description('the allow list')
    .action(() => showList(client(), output(), 'allowed'));
  access
    .command('block <id> <reason>')
    .description('shut every door to a node (by its id or key), or freeze an entity')
    .action((id: string, reason: string) => edit(client(), output(), `block/${encodeURIComponent(id)}`, { reason }));
  access
    .command('unblock <id>')
    .description('take it off the block list')
    .action((id: string) => edit(client(), output(), `unblock/${encodeURIComponent(id)}`));
  access
    .command('allow <id> [note]')
    .description('let a node (by its id or key) join without an invite')
    .action((id: string, note?: string) =>
      edit(client(), output(), `allow/${encodeURIComponent(id)}`, note === undefined ? undefined : { note }),
    );
  access
    .command('disallow <id>')
    .description('take it off the allow list')
    .action((id: string) => edit(client(), output(), `remove-allow/${encodeURIComponent(id)}`));
  access
    .command('reset')
    .description('empty both lists')
    .action(() => reset(client(), output()));
}

async function showList(hub: HubClient, output: Output, list: 'blocked' | 'allowed'): Promise<void> {
  const all: Entry[] = [];
  let cursor: string | undefined;
  do {
    const page = await hub.get<Page>(`/access/${list}`, { limit: '500', cursor });
    all.push(...(page[list] ?? []));
    cursor = page.next_cursor ?? undefined;
  } while (cursor);
  const why = list === 'blocked' ? 'reason' : 'note';
  output.table(['subject', why, 'since'], all as readonly Record<'subject' | 'reason' | 'note' | 'since', unknown>[]); // each list has its own of the two
}

async function edit(hub: HubClient, output: Output, path: string, body?: object): Promise<void> {
  const done = await hub.post<{ position: number; changed?: boolean }>(`/access/${path}`, body);
  output.value(done, done.changed === false ? 'it stood there just so' : 'done');
}

async function reset(hub: HubClient, output: Output): Promise<void> {
  const done = await hub.post<{ removed: number }>('/access/reset');
  output.value(done, `${done.removed} entries removed`);
}
