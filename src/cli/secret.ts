/** `fedhub secret`: what is kept sealed. A value comes from the input, a file or a prompt, never from the command line. */
import { isUtf8 } from 'node:buffer';
import { readFile } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import { type Command, CommanderError, InvalidArgumentError } from 'commander';
import type { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';
import { askHidden } from './prompt.ts';

interface Parties {
  nodes?: string[];
  entities?: string[];
  roles?: string[];
  operators?: true;
}

interface Secret {
  readonly secret_id: string;
  readonly newest: number;
  readonly versions: readonly { readonly version: number }[];
  readonly may: readonly string[];
  readonly readers?: Parties;
  readonly writers?: Parties;
  readonly updated_at: string;
  readonly used_at: string | null;
}

interface Master {
  readonly source: string;
  readonly master: string;
  readonly rotating: boolean;
  readonly keys: number;
  readonly remaining: number;
  readonly stuck: readonly { readonly key_id: string; readonly secret_id: string; readonly version: number | null }[];
}

interface Sharing {
  readonly read?: readonly string[];
  readonly write?: readonly string[];
}

const whom = 'node:<id>, entity:<id>, role:<role>, operators or nobody; repeat for more';

export function registerSecrets(program: Command, client: () => HubClient, output: () => Output): void {
  const secret = program
    .command('secret')
    .description('secrets: stored sealed, given to whom they are for, destroyed; `name` alone is one of the operators');
  secret
    .command('put <name>')
    .description('store a value as the newest version, from the input, a file or a prompt')
    .option('--file <path>', 'read the value from this file, as it is')
    .option('--read <who>', `who may read it, where it is made: ${whom}`, collect)
    .option('--write <who>', `who may add versions, where it is made: ${whom}`, collect)
    .action((name: string, options: Sharing & { file?: string }, command: Command) =>
      put(client(), output(), name, options, command),
    );
  secret
    .command('get <name>')
    .description('print the value; the hub writes down that it was read')
    .option('--number <n>', 'this version instead of the newest', whole)
    .action((name: string, { number }: { number?: number }) => get(client(), output(), name, number));
  secret
    .command('ls')
    .description('names, versions and access, never values')
    .action(() => list(client(), output()));
  secret
    .command('grant <name>')
    .description(
      'say anew who may read it and add versions besides the owner; both are named, and replace who could before',
    )
    .requiredOption('--read <who>', `who may read it: ${whom}`, collect)
    .requiredOption('--write <who>', `who may add versions: ${whom}`, collect)
    .action((name: string, options: Required<Sharing>) => grant(client(), output(), name, options));
  secret
    .command('rm <name>')
    .description('destroy all versions, or one: nobody can read them again')
    .option('--number <n>', 'only this version', whole)
    .action(async (name: string, { number }: { number?: number }) => {
      const path = number === undefined ? pathOf(name) : `${pathOf(name)}/versions/${number}`;
      output().value(await client().delete<object>(path), 'destroyed');
    });
  registerMaster(secret, client, output);
}

function registerMaster(secret: Command, client: () => HubClient, output: () => Output): void {
  secret
    .command('rotate-master')
    .description('wrap all keys with a new master key, where the hub keeps it in a file')
    .action(async () => {
      const asked = await client().post<{ from: string }>('/secrets/master/rotate');
      output().value(asked, `the master key ${asked.from} goes; \`fedhub secret status\` says when it is gone`);
    });
  secret
    .command('status')
    .description('the master key in use, and how far a rotation is')
    .action(async () => {
      const status = await client().get<Master>('/secrets/master');
      const { master, source, keys, remaining, rotating, stuck } = status;
      const left = rotating ? `, ${remaining} still to be wrapped anew` : '';
      const lines = stuck.map((one) => `\ncannot be unwrapped: ${one.secret_id}, version ${one.version ?? 'unknown'}`);
      output().value(status, `open, with the master key ${master} (${source}); ${keys} keys${left}${lines.join('')}`);
    });
}

async function put(
  hub: HubClient,
  output: Output,
  name: string,
  { file, read, write }: Sharing & { file?: string },
  command: Command,
): Promise<void> {
  const given = await givenValue(file, command);
  const access = { ...(read && { readers: partiesOf(read) }), ...(write && { writers: partiesOf(write) }) };
  const stored = await hub.put<{ secret_id: string; version: number }>(pathOf(name), { ...given, ...access });
  output.value(stored, `${stored.secret_id}\nversion ${stored.version}`);
}

/** What is no UTF-8 goes as bytes. Of the input, the line end that closes it is left out; a file goes as it is. */
async function givenValue(file: string | undefined, command: Command): Promise<object> {
  if (file === undefined && process.stdin.isTTY) return { value: await askHidden('value: '), encoding: 'text' };
  const content = file === undefined ? await buffer(process.stdin) : await readFile(file);
  const text = isUtf8(content) ? content.toString('utf8') : undefined;
  const value = file === undefined ? text?.replace(/\r?\n$/, '') : text;
  if (value === '') command.error('error: there is nothing to store', { exitCode: 2 });
  return value === undefined ? { value: content.toString('base64'), encoding: 'base64' } : { value, encoding: 'text' };
}

/** The value goes out as it is: whoever asks for it wants no other. */
async function get(hub: HubClient, output: Output, name: string, version: number | undefined): Promise<void> {
  const query = { version: version === undefined ? undefined : String(version) };
  const read = await hub.get<{ value: string; encoding: 'text' | 'base64' }>(pathOf(name), query);
  if (output.json) return output.value(read, '');
  process.stdout.write(read.encoding === 'text' ? read.value : Buffer.from(read.value, 'base64'));
  if (process.stdout.isTTY) process.stdout.write('\n');
}

async function list(hub: HubClient, output: Output): Promise<void> {
  const all: Secret[] = [];
  let cursor: string | undefined;
  do {
    const page = await hub.get<{ secrets: Secret[]; next_cursor: string | null }>('/secrets', { limit: '500', cursor });
    all.push(...page.secrets);
    cursor = page.next_cursor ?? undefined;
  } while (cursor);
  if (output.json) return output.table([], all);
  const rows = all.map((secret) => ({
    secret: secret.secret_id,
    newest: secret.newest,
    versions: secret.versions.map(({ version }) => version).join(','),
    read: wordsOf(secret.readers),
    write: wordsOf(secret.writers),
    changed: secret.updated_at,
    used: secret.used_at,
  }));
  output.table(['secret', 'newest', 'versions', 'read', 'write', 'changed', 'used'], rows);
}

async function grant(hub: HubClient, output: Output, name: string, { read, write }: Required<Sharing>): Promise<void> {
  const access = { readers: partiesOf(read), writers: partiesOf(write) };
  output.value(await hub.put<object>(`${pathOf(name)}/access`, access), 'granted');
}

const names = /^(?:(?:@federation|[A-Za-z0-9][A-Za-z0-9._-]{0,63}):)?[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/**
 * A name without an owner is one of the operators. What is no name goes nowhere, and is not repeated: it may be a value in the wrong
 * place, and the hub writes down what it was asked for.
 */
function pathOf(name: string): string {
  if (!names.test(name))
    throw new CommanderError(2, 'usage', 'error: this is no name of a secret: <name>, or <owner>:<name>');
  return `/secrets/${encodeURIComponent(name.includes(':') ? name : `@federation:${name}`)}`;
}

const lists = { node: 'nodes', entity: 'entities', role: 'roles' } as const;

function partiesOf(words: readonly string[]): Parties {
  const parties: Parties = {};
  for (const word of words) {
    if (word === 'nobody') continue;
    if (word === 'operators') {
      parties.operators = true;
      continue;
    }
    const [, kind, name] = /^(node|entity|role):(.+)$/.exec(word)!; // `collect` let in nothing else
    const list = lists[kind as keyof typeof lists];
    parties[list] = [...(parties[list] ?? []), name!];
  }
  return parties;
}

function wordsOf(parties: Parties | undefined): string | undefined {
  if (!parties) return undefined;
  const { nodes = [], entities = [], roles = [], operators } = parties;
  const named = [
    ...nodes.map((id) => `node:${id}`),
    ...entities.map((id) => `entity:${id}`),
    ...roles.map((role) => `role:${role}`),
  ];
  return [...named, ...(operators ? ['operators'] : [])].join(' ') || undefined;
}

function collect(word: string, before: readonly string[] = []): string[] {
  if (!/^(?:operators|nobody|(?:node|entity|role):.+)$/.test(word)) throw new InvalidArgumentError(whom);
  return [...before, word];
}

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('a number of 1 or more');
  return value;
}
