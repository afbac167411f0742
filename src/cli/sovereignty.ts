/** `fedhub sovereignty`: what a node shares and takes, what another policy would change, and who holds copies. */
import { readFile } from 'node:fs/promises';
import { text as textOf } from 'node:stream/consumers';
import type { Command } from 'commander';
import type { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';

interface Rule {
  readonly id: string;
  readonly categories: readonly string[];
  readonly with: Readonly<Record<string, unknown>>;
  readonly [other: string]: unknown;
}

interface Policy {
  readonly subject: string;
  readonly version: number;
  readonly shares: readonly Rule[];
  readonly takes: readonly Rule[];
}

interface Trial {
  readonly effects: readonly Readonly<
    Record<'receiver' | 'goes' | 'ceases' | 'newly_read' | 'no_longer_read', unknown>
  >[];
  readonly named: readonly { readonly receiver: string; readonly memory_id: string; readonly change: string }[];
  readonly complete: boolean;
}

interface Held {
  readonly holder: string;
  readonly rule: string;
  readonly policy_version: number;
  readonly state: string;
  readonly cause: string | null;
  readonly until: string | null;
  readonly moved_at: string;
}

const example = `
A policy, in full:
  {
    "shares": [{ "id": "bread", "categories": ["recipes/*"], "with": { "nodes": ["ada"] }, "keep_seconds": 604800 }],
    "takes":  [{ "id": "all", "categories": ["*"], "with": { "everyone": true } }]
  }
"with": everyone, or nodes, roles, owners, regions, each of which must fit. A share may have "tags", "until", "keep_seconds",
"pass_on" and "edit"; what is taken "until" and "foreign", for what comes from another federation.`;

const of = (node: string) => `/knowledge/sovereignty/${encodeURIComponent(node)}`;

export function registerSovereignty(program: Command, client: () => HubClient, output: () => Output): void {
  const sovereignty = program
    .command('sovereignty')
    .description('who shares what with whom: what no rule allows is forbidden');
  sovereignty
    .command('show <node>')
    .description('what a node shares and takes; @federation: what belongs to operators')
    .action((node: string) => show(client(), output(), node));
  sovereignty
    .command('set <node> <file>')
    .description('say what it shares and takes from now on: a JSON file {shares, takes}, or - for the input')
    .addHelpText('after', example)
    .action(async (node: string, file: string, _options: object, command: Command) => {
      const done = await client().put<{ version: number }>(of(node), await policyIn(file, command));
      output().value(done, `version ${done.version} of what ${node} shares and takes`);
    });
  sovereignty
    .command('try <node> <file>')
    .description('what that would change, without saying it')
    .action(async (node: string, file: string, _options: object, command: Command) => {
      const trial = await client().post<Trial>(`${of(node)}/try`, await policyIn(file, command));
      showTrial(output(), trial);
    });
  sovereignty
    .command('holders <memory>')
    .description('who holds copies of a memory, and by which rule')
    .action((memory: string) => showHolders(client(), output(), memory));
}

async function show(hub: HubClient, output: Output, node: string): Promise<void> {
  const { sovereignty } = await hub.get<{ sovereignty: Policy }>(of(node));
  if (output.json) return output.value(sovereignty, '');
  output.say(`${sovereignty.subject}, version ${sovereignty.version}`);
  for (const kind of ['shares', 'takes'] as const) {
    if (sovereignty[kind].length === 0) output.say(`${kind} nothing`);
    for (const { id, categories, with: parties, ...more } of sovereignty[kind]) {
      output.say(`${kind}  ${id}: ${categories.join(', ')} with ${wordsOf(parties)}${wordsOf(more, '; ')}`);
    }
  }
}

function showTrial(output: Output, trial: Trial): void {
  if (output.json) {
    output.value(trial, '');
    return;
  }
  if (trial.effects.length === 0) output.say('nothing would change');
  else output.table(['receiver', 'goes', 'ceases', 'newly_read', 'no_longer_read'], trial.effects);
  for (const { receiver, memory_id, change } of trial.named) output.say(`${change}  ${memory_id}  ${receiver}`);
  if (!trial.complete) output.say('there was more to judge than a trial may: it is more than this');
}

async function showHolders(hub: HubClient, output: Output, memory: string): Promise<void> {
  const all: Held[] = [];
  let cursor: string | undefined;
  do {
    const path = `/memory/${encodeURIComponent(memory)}/holders`;
    const page = await hub.get<{ holders: Held[]; next_cursor: string | null }>(path, { limit: '500', cursor });
    all.push(...page.holders);
    cursor = page.next_cursor ?? undefined;
  } while (cursor);
  output.table(['holder', 'rule', 'policy_version', 'state', 'cause', 'until', 'moved_at'], all);
}

async function policyIn(file: string, command: Command): Promise<object> {
  const reading = file === '-' ? textOf(process.stdin) : readFile(file, 'utf8');
  const text = await reading.catch(({ message }: Error) => command.error(`error: ${message}`, { exitCode: 2 }));
  try {
    const policy = JSON.parse(text) as unknown;
    if (typeof policy === 'object' && policy !== null) return policy;
  } catch {
    // said below
  }
  return command.error(`error: ${file} holds no policy in JSON`, { exitCode: 2 });
}

function wordsOf(members: Readonly<Record<string, unknown>>, before = ''): string {
  const words = Object.entries(members).map(([name, value]) =>
    value === true ? name : `${name} ${Array.isArray(value) ? value.join(' or ') : String(value)}`,
  );
  return words.length > 0 ? before + words.join(', ') : '';
}
