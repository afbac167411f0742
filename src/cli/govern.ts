/** `fedhub invite`, `requests`, `approve`, `reject`, `ban`, `unban`, `bans`, `role`, `mode`, `announce`: who is in, and as what. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';

const roles = ['admin', 'member', 'observer'];

interface InviteOptions {
  readonly role?: string;
  readonly label?: string;
  readonly uses?: number;
  readonly node?: string;
  readonly key?: string;
  readonly hours?: number;
}

/** Adds the commands. `client` and `output` are asked when one runs. */
export function registerGovern(program: Command, client: () => HubClient, output: () => Output): void {
  registerInvites(program, client, output);
  registerRequests(program, client, output);
  const done = (path: string, body: object, text: string) => act(client(), output(), path, body, text);
  program
    .command('ban <node> <reason>')
    .description('show a node and its key out, for good')
    .action((node: string, reason: string) => done(`/governance/bans/${enc(node)}`, { reason }, `${node} is banned`));
  program
    .command('unban <node>')
    .description('let a banned node come back')
    .action((node: string) =>
      undo(client(), output(), `/governance/bans/${enc(node)}`, `${node} is not banned any more`),
    );
  program
    .command('bans')
    .description('who is banned, and why')
    .action(() => list(client(), output(), '/governance/bans', 'bans', ['node_id', 'reason', 'since']));
  program
    .command('role <node> <role>')
    .description(`give a member a role: ${roles.join(', ')}`)
    .action((node: string, role: string) => done(`/governance/roles/${enc(node)}`, { role }, `${node} is ${role} now`));
  program
    .command('mode <mode>')
    .description('how nodes are admitted: open, approval, invite')
    .action((mode: string) => done('/governance/mode', { mode }, `nodes are admitted by ${mode} now`));
  program
    .command('announce <message>')
    .description('say something to every member')
    .addOption(new Option('--level <level>', 'how weighty it is').choices(['info', 'warning', 'critical']))
    .action((message: string, { level }: { level?: string }) =>
      done('/governance/announce', { message, ...(level && { level }) }, 'announced'),
    );
}

function registerInvites(program: Command, client: () => HubClient, output: () => Output): void {
  const invite = program.command('invite').description('leave to join, shown once');
  invite
    .command('create')
    .description('make an invite')
    .addOption(new Option('--role <role>', 'what who uses it becomes (member)').choices(roles))
    .option('--label <label>', 'what it is for')
    .option('--uses <n>', 'how many nodes may use it (1)', number)
    .option('--node <id>', 'only this node id may use it')
    .option('--key <key>', 'only this public key may use it')
    .option('--hours <n>', 'how long it is good (168)', number)
    .action((options: InviteOptions) => createInvite(client(), output(), options));
  invite
    .command('list')
    .description('all invites, without what makes them work')
    .action(() =>
      list(client(), output(), '/governance/invites', 'invites', [
        'invite_id',
        'role',
        'uses_left',
        'label',
        'expires_at',
        'revoked_at',
      ]),
    );
  invite
    .command('revoke <id>')
    .description('take an invite back')
    .action((id: string) => undo(client(), output(), `/governance/invites/${enc(id)}`, `${id} is revoked`));
}

function registerRequests(program: Command, client: () => HubClient, output: () => Output): void {
  program
    .command('requests')
    .description('who asks to join')
    .addOption(
      new Option('--status <status>', 'only these (pending)').choices(['pending', 'approved', 'rejected', 'all']),
    )
    .action(({ status = 'pending' }: { status?: string }) =>
      list(
        client(),
        output(),
        '/governance/requests',
        'requests',
        ['node_id', 'status', 'address', 'requested_at', 'expires_at', 'public_key'],
        status === 'all' ? {} : { status },
      ),
    );
  program
    .command('approve <node>')
    .description('let a waiting node in')
    .addOption(new Option('--role <role>', 'what it becomes (member)').choices(roles))
    .action((node: string, { role }: { role?: string }) =>
      act(client(), output(), `/governance/requests/${enc(node)}/approve`, role ? { role } : {}, `${node} is in`),
    );
  program
    .command('reject <node> <reason>')
    .description('send a waiting node away')
    .action((node: string, reason: string) =>
      act(client(), output(), `/governance/requests/${enc(node)}/reject`, { reason }, `${node} is rejected`),
    );
}

async function createInvite(hub: HubClient, output: Output, options: InviteOptions): Promise<void> {
  const { role, label, uses, node, key, hours } = options;
  const wish = { role, label, uses, node_id: node, public_key: key, expires_in_hours: hours };
  const made = await hub.post<{ invite: string; expires_at: string }>('/governance/invites', wish);
  output.value(made, `${made.invite}\nshown this once; good until ${made.expires_at}`);
}

async function act(hub: HubClient, output: Output, path: string, body: object, text: string): Promise<void> {
  output.value(await hub.post<object>(path, body), text);
}

async function undo(hub: HubClient, output: Output, path: string, text: string): Promise<void> {
  output.value(await hub.delete<object>(path), text);
}

/** All pages of a list, as a table. */
async function list<const C extends string>(
  hub: HubClient,
  output: Output,
  path: string,
  name: string,
  columns: readonly C[],
  filter: Readonly<Record<string, string>> = {},
): Promise<void> {
  const all: Readonly<Record<C, unknown>>[] = [];
  let cursor: string | undefined;
  do {
    const page = await hub.get<Record<string, unknown>>(path, { ...filter, limit: '500', cursor });
    all.push(...(page[name] as typeof all)); // the list that the path answers under this name
    cursor = (page.next_cursor as string | null) ?? undefined;
  } while (cursor);
  output.table(columns, all);
}

function enc(text: string): string {
  return encodeURIComponent(text);
}

function number(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value > 0)) throw new InvalidArgumentError('not a number above 0');
  return value;
}
