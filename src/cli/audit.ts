/** `fedhub audit`: what happened, the newest or as it happens, and all of it into a file. */
import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, Option } from 'commander';
import type { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';

interface Entry {
  readonly position: number;
  readonly time: string;
  readonly actor: string;
  readonly action: string;
  readonly target: string;
  readonly outcome: string;
  readonly code: string | null;
  readonly address: string | null;
  readonly count: number;
}

interface Page {
  readonly entries: readonly Entry[];
  readonly next_cursor: string | null;
}

type Filter = Readonly<Record<string, string | undefined>>;

const followMs = 1_000;
const pageEntries = 500;

/** Adds `audit tail`, `audit list` and `audit export`. */
export function registerAudit(program: Command, client: () => HubClient, output: () => Output): void {
  const audit = program.command('audit').description('who did, asked or was refused what');
  filtered(audit.command('tail'))
    .description('the newest entries, oldest of them first')
    .option('-n, --lines <n>', 'how many, 500 at most', '20')
    .option('-f, --follow', 'and those that come, until interrupted')
    .action(({ lines, follow, ...filter }: Filter & { lines: string; follow?: true }) =>
      tailAudit(client(), output(), filter, { lines, follow: follow === true }),
    );
  filtered(audit.command('list'))
    .description('all entries that fit, newest first')
    .option('--limit <n>', 'at most so many', '100')
    .action(({ limit, ...filter }: Filter & { limit: string }) => listAudit(client(), output(), filter, Number(limit)));
  filtered(audit.command('export'))
    .description('all entries that fit into a file, oldest first')
    .addOption(new Option('--format <format>', 'how').choices(['ndjson', 'csv']).default('ndjson'))
    .requiredOption('--out <file>', 'where to; - for standard output')
    .action(({ out, ...query }: Filter & { out: string }) => exportAudit(client(), output(), query, out));
}

function filtered(command: Command): Command {
  return command
    .option('--actor <who>', 'node:<id>, operator:<prefix>, hub or anonymous')
    .option('--action <what>', 'type of event, route or packet; node.* for all that begin so')
    .option('--target <what>', 'what it was about')
    .addOption(new Option('--outcome <outcome>', 'how it ended').choices(['done', 'refused', 'read', 'counted']))
    .option('--code <code>', 'of refusals')
    .option('--address <address>', 'where it came from')
    .option('--correlation <id>', 'of one request')
    .option('--after <time>', 'not before this time (ISO 8601)')
    .option('--before <time>', 'before this time');
}

async function tailAudit(
  hub: HubClient,
  output: Output,
  filter: Filter,
  { lines, follow }: { lines: string; follow: boolean },
): Promise<void> {
  const { entries } = await hub.get<Page>('/audit', { ...filter, limit: lines });
  for (const entry of entries.toReversed()) output.value(entry, lineOf(entry));
  let since = entries[0]?.position ?? 0;
  while (follow) {
    const query = { ...filter, order: 'asc', since: String(since), limit: String(pageEntries) };
    const page = await hub.get<Page>('/audit', query);
    for (const entry of page.entries) output.value(entry, lineOf(entry));
    since = page.entries.at(-1)?.position ?? since;
    if (page.entries.length < pageEntries) await sleep(followMs);
  }
}

async function listAudit(hub: HubClient, output: Output, filter: Filter, limit: number): Promise<void> {
  let left = limit;
  let cursor: string | undefined;
  do {
    const query = { ...filter, limit: String(Math.min(pageEntries, left)), cursor };
    const page = await hub.get<Page>('/audit', query);
    for (const entry of page.entries) output.value(entry, lineOf(entry));
    left -= page.entries.length;
    cursor = page.next_cursor ?? undefined;
  } while (cursor && left > 0);
}

/** Writes as it comes, so that memory stays flat; rejects when the hub ends in the middle. */
export async function exportAudit(hub: HubClient, output: Output, query: Filter, out: string): Promise<void> {
  const response = await hub.open('/audit/export', query);
  const position = Number(response.headers.get('federation-position'));
  const body = Readable.fromWeb(response.body as never); // the stream of `fetch`; its type is declared twice
  if (out === '-') return pipeline(body, process.stdout, { end: false });
  await pipeline(body, createWriteStream(out, { mode: 0o600 }));
  output.value({ file: out, position }, `${out}: the audit log up to position ${position}`);
}

function lineOf({ position, time, actor, action, target, outcome, code, address, count }: Entry): string {
  const how = outcome === 'done' ? '' : ` ${code ?? outcome}`;
  const many = count > 1 ? ` ×${count}` : '';
  const from = address ? ` from ${address}` : '';
  return `${time} ${position} ${actor} ${action}${target ? ` ${target}` : ''}${how}${many}${from}`;
}
