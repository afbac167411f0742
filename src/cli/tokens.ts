/** `fedhub token`, `fedhub keys rotate` and `fedhub erase`: what operators show, and the keys of the hub. */
import { type Command, InvalidArgumentError } from 'commander';
import type { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';

interface Made {
  readonly prefix: string;
  readonly token: string;
  readonly expires_at: string | null;
  readonly position: number;
}

interface Listed {
  readonly prefix: string;
  readonly label: string;
  readonly scopes: readonly string[];
  readonly expires_at: string | null;
  readonly revoked_at: string | null;
  readonly last_used_at: string | null;
  readonly last_address: string | null;
}

interface Page {
  readonly tokens: readonly Listed[];
  readonly next_cursor: string | null;
}

/** Adds the commands of this file; `client` and `output` are asked when a command runs. */
export function registerTokens(program: Command, client: () => HubClient, output: () => Output): void {
  const token = program.command('token').description('operator tokens');
  token
    .command('create')
    .description('make a token, which is shown once')
    .requiredOption('--scope <scope...>', 'what it may do: read, act, govern, audit, operate, admin')
    .requiredOption('--label <text>', 'what it is for')
    .option('--expires-days <n>', 'good for so many days; without it, until it is revoked', days)
    .action((wanted: { scope: string[]; label: string; expiresDays?: number }) =>
      createToken(client(), output(), wanted),
    );
  token
    .command('list')
    .description('the tokens there are, and when they were last used')
    .option('--all', 'those too that were revoked')
    .action((options: { all?: boolean }) => listTokens(client(), output(), options));
  token
    .command('revoke <prefix>')
    .description('make a token worthless, at once and for ever')
    .action((prefix: string) => revokeToken(client(), output(), prefix));
  program
    .command('keys')
    .description('the keys of the hub')
    .command('rotate')
    .description('publish a new signing key, which signs half a minute later')
    .action(() => rotateKeys(client(), output()));
  program
    .command('erase <subject>')
    .description('destroy the data keys of a subject, such as node:<id>: what they encrypted is gone for good')
    .action((subject: string) => erase(client(), output(), subject));
}

/** Makes a token and prints it, this once. */
async function createToken(
  hub: HubClient,
  output: Output,
  wanted: { scope: readonly string[]; label: string; expiresDays?: number },
): Promise<void> {
  const { scope: scopes, label, expiresDays } = wanted;
  const body = { label, scopes, ...(expiresDays !== undefined && { expires_in_days: expiresDays }) };
  const made = await hub.post<Made>('/auth/tokens', body);
  const until = made.expires_at === null ? 'until it is revoked' : `until ${made.expires_at}`;
  output.value(made, `${made.token}\nIt is shown this once, and good ${until}.`);
}

/** All tokens that were not revoked; with `all`, those too that were. */
async function listTokens(hub: HubClient, output: Output, { all }: { all?: boolean } = {}): Promise<void> {
  const listed: Listed[] = [];
  let cursor: string | undefined;
  do {
    const page = await hub.get<Page>('/auth/tokens', { limit: '500', cursor });
    listed.push(...page.tokens);
    cursor = page.next_cursor ?? undefined;
  } while (cursor);
  const shown = listed.filter(({ revoked_at }) => all || revoked_at === null);
  if (output.json) return output.table([], shown);
  output.table(
    ['prefix', 'label', 'scopes', 'expires', 'revoked', 'used', 'from'],
    shown.map((token) => ({
      prefix: token.prefix,
      label: token.label,
      scopes: token.scopes.join(' '),
      expires: token.expires_at,
      revoked: token.revoked_at,
      used: token.last_used_at,
      from: token.last_address,
    })),
  );
}

/** Takes the public part of a token, or the whole: what is sent to the hub is the public part alone. */
async function revokeToken(hub: HubClient, output: Output, token: string): Promise<void> {
  const prefix = /^fht_([a-z2-7]{8})_/.exec(token)?.[1] ?? token;
  const done = await hub.delete<{ position: number }>(`/auth/tokens/${encodeURIComponent(prefix)}`);
  output.value({ prefix, ...done }, `${prefix} is revoked`);
}

async function rotateKeys(hub: HubClient, output: Output): Promise<void> {
  const done = await hub.post<{ kid: string; active_at: string; position: number }>('/auth/keys/rotate');
  output.value(done, `the hub signs with ${done.kid} from ${done.active_at} on`);
}

/** Destroys the data keys of a subject: what was encrypted with them is gone for good. */
async function erase(hub: HubClient, output: Output, subject: string): Promise<void> {
  const done = await hub.delete<{ keys: number; position: number }>(`/auth/data-keys/${encodeURIComponent(subject)}`);
  output.value({ subject, ...done }, `${done.keys} keys of ${subject} are destroyed`);
}

function days(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError('not a number above 0');
  return value;
}
