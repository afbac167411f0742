/** `fedhub memory`: what is known: stored, found again by its words, with all its versions and who holds copies. */
import { text as textOf } from 'node:stream/consumers';
import { type Command, InvalidArgumentError } from 'commander';
import type { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';

interface Version {
  readonly version: string;
  readonly author: string;
  readonly category: string;
  readonly tags: readonly string[];
  readonly deleted: boolean;
  readonly title?: string;
  readonly content?: unknown;
  readonly provenance?: { readonly source?: string; readonly derived_from?: readonly string[] };
  readonly content_state: string;
  readonly content_hash: string | null;
  readonly written_at?: string;
  readonly foreign?: { readonly federation: string; readonly hops: readonly string[] };
}

interface Memory extends Version {
  readonly memory_id: string;
  readonly owner: string;
  readonly updated_at: string;
  readonly concurrent?: readonly Version[];
}

interface Wish {
  readonly id?: string;
  readonly category: string;
  readonly tag?: readonly string[];
  readonly title?: string;
  readonly source?: string;
  readonly basedOn?: string;
  readonly parse?: true;
}

interface Filter {
  readonly category?: string;
  readonly tag?: readonly string[];
  readonly owner?: string;
  readonly limit: number;
}

export function registerMemories(program: Command, client: () => HubClient, output: () => Output): void {
  const memory = program.command('memory').description('what is known: stored, found, and who holds copies of it');
  memory
    .command('store [content]')
    .description('store a text, or a new version of one; - reads it from the input')
    .requiredOption('--category <category>', 'what kind of knowledge it is, as in recipes/bread')
    .option('--id <id>', 'its name; of one that is there, this is a new version')
    .option('--tag <tag>', 'repeat for more', collect)
    .option('--title <title>')
    .option('--source <text>', 'where it comes from')
    .option('--based-on <version>', 'the version that this one was written from')
    .option('--parse', 'the content is JSON')
    .action(async (content: string | undefined, wish: Wish, command: Command) => {
      await store(client(), output(), await contentOf(content, wish, command), wish);
    });
  memory
    .command('search [words...]')
    .description('by words, the best first; without any, the last changed first')
    .option('--category <category>', 'only of this one and those below it')
    .option('--tag <tag>', 'only with this tag; repeat for more', collect)
    .option('--owner <owner>', 'only of node:<id> or operator:<prefix>')
    .option('--limit <n>', 'at most so many (20)', whole, 20)
    .action((words: string[], filter: Filter) => search(client(), output(), words.join(' '), filter));
  memory
    .command('get <id>')
    .description('one memory, with the versions that are concurrent')
    .action((id: string) => show(client(), output(), id));
  memory
    .command('history <id>')
    .description('all its versions, the newest first')
    .action((id: string) => showHistory(client(), output(), id));
  memory
    .command('delete <id>')
    .description('say that it is no more, and ask for its copies back')
    .action(async (id: string) => {
      const done = await client().delete<{ position: number }>(`/memory/${encodeURIComponent(id)}`);
      output().value(done, 'deleted');
    });
}

async function store(
  hub: HubClient,
  output: Output,
  content: unknown,
  { id: memory_id, category, tag: tags, title, source, basedOn: based_on }: Wish,
): Promise<void> {
  const memory = { memory_id, category, tags, title, content, based_on, provenance: source && { source } };
  const stored = await hub.post<{ memory_id: string; version: string }>('/memory/store', memory);
  output.value(stored, `${stored.memory_id}\nversion ${stored.version}`);
}

async function search(
  hub: HubClient,
  output: Output,
  q: string,
  { category, tag = [], owner, limit }: Filter,
): Promise<void> {
  const all: Memory[] = [];
  let cursor: string | undefined;
  do {
    const asked = { q, category, owner, limit: String(Math.min(500, limit - all.length)), cursor };
    const given = Object.entries(asked).filter((pair): pair is [string, string] => Boolean(pair[1]));
    const query = new URLSearchParams([...given, ...tag.map((one): [string, string] => ['tag', one])]);
    const page = await hub.get<{ memories: Memory[]; next_cursor: string | null }>(`/memory/search?${query}`);
    all.push(...page.memories);
    cursor = page.next_cursor ?? undefined;
  } while (cursor && all.length < limit);
  if (output.json) return output.table([], all);
  const rows = all.map((memory) => ({
    memory: memory.memory_id,
    category: memory.category,
    owner: memory.owner,
    changed: memory.updated_at,
    content: cut(memory.title ?? contentText(memory)),
  }));
  output.table(['memory', 'category', 'owner', 'changed', 'content'], rows);
}

async function show(hub: HubClient, output: Output, id: string): Promise<void> {
  const { memory } = await hub.get<{ memory: Memory }>(`/memory/${encodeURIComponent(id)}`);
  if (output.json) return output.value(memory, '');
  output.say(`memory    ${memory.memory_id}, of ${memory.owner}, changed ${memory.updated_at}`);
  showVersion(output, memory);
  for (const version of memory.concurrent ?? []) {
    output.say('\nwritten without knowing of that');
    showVersion(output, version);
  }
}

function showVersion(output: Output, version: Version): void {
  const { author, category, tags, title, provenance = {}, foreign } = version;
  output.say(`version   ${version.version}, by ${author}`);
  output.say(`category  ${category}${tags.length > 0 ? `, tagged ${tags.join(', ')}` : ''}`);
  if (foreign) output.say(`from      ${foreign.federation}, by way of ${foreign.hops.join(', ')}`);
  if (provenance.source) output.say(`source    ${provenance.source}`);
  if (provenance.derived_from) output.say(`made of   ${provenance.derived_from.join(', ')}`);
  if (title) output.say(`title     ${title}`);
  output.say(`content   ${contentText(version)}`);
}

async function showHistory(hub: HubClient, output: Output, id: string): Promise<void> {
  const all: Version[] = [];
  let cursor: string | undefined;
  do {
    const path = `/memory/${encodeURIComponent(id)}/versions`;
    const page = await hub.get<{ versions: Version[]; next_cursor: string | null }>(path, { limit: '500', cursor });
    all.push(...page.versions);
    cursor = page.next_cursor ?? undefined;
  } while (cursor);
  if (output.json) return output.table([], all);
  const rows = all.map((version) => ({
    version: version.version.slice(0, 12),
    written: version.written_at,
    author: version.author,
    category: version.category,
    content: cut(version.title ?? contentText(version)),
  }));
  output.table(['version', 'written', 'author', 'category', 'content'], rows);
}

async function contentOf(given: string | undefined, { parse }: Wish, command: Command): Promise<unknown> {
  if (given === undefined) command.error('error: say what is to be stored, or - to read it', { exitCode: 2 });
  const text = given === '-' ? await textOf(process.stdin) : given;
  if (!parse) return text;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return command.error('error: the content is no JSON', { exitCode: 2 });
  }
}

function contentText({ content, content_state, deleted }: Version): string {
  if (deleted) return '(deleted)';
  if (content_state !== 'shown') return `(${content_state})`;
  return typeof content === 'string' ? content : JSON.stringify(content);
}

const longest = 60;

function cut(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ');
  return line.length > longest ? `${line.slice(0, longest - 1)}…` : line;
}

function collect(one: string, before: readonly string[] = []): string[] {
  return [...before, one];
}

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('a number of 1 or more');
  return value;
}
