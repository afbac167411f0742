/** `fedhub events tail` and `fedhub subscriptions`: what happens, as it happens, and who is told of it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { type HubClient, HubProblem } from './hub-client.ts';
import type { Output } from './output.ts';

interface Shown {
  readonly id: string;
  readonly type: string;
  readonly subject?: string;
  readonly time: string;
  readonly position: number;
  readonly data: unknown;
}

interface Listed {
  readonly subscription_id: string;
  readonly owner: string;
  readonly label: string;
  readonly patterns: readonly string[];
  readonly delivery: { readonly kind: string; readonly url?: string };
  readonly status: string;
  readonly reason: string | null;
  readonly position: number;
}

interface Page {
  readonly subscriptions: readonly Listed[];
  readonly next_cursor: string | null;
}

/** Adds the commands of this file; `client` and `output` are asked when a command runs. */
export function registerEvents(program: Command, client: () => HubClient, output: () => Output): void {
  program
    .command('events')
    .description('what happens in the federation')
    .command('tail')
    .description('events as they happen, until it is interrupted; comes back by itself when the hub goes')
    .option('--pattern <pattern...>', 'types of events: node.*, task.>', ['>'])
    .option('--filter <name=value...>', filterHelp, member)
    .option('--after <position>', 'first what happened after this position', position)
    .action((wish: Tail) => tail(client(), output(), wish));
  const subscriptions = program.command('subscriptions').description('events that are kept for or sent to someone');
  subscriptions
    .command('list')
    .description('your own; if you govern, all')
    .action(() => list(client(), output()));
  subscriptions
    .command('create')
    .description('subscribe: to be read over the API or, with --webhook, to be sent')
    .requiredOption('--label <text>', 'what it is for')
    .requiredOption('--pattern <pattern...>', 'types of events: node.*, task.>')
    .option('--filter <name=value...>', filterHelp, member)
    .option('--webhook <url>', 'where events are sent to')
    .option('--after <position>', 'begin with what happened after this position', position)
    .action((wish: Wish) => create(client(), output(), wish));
  for (const [name, description] of [
    ['delete', 'end a subscription'],
    ['pause', 'deliver nothing until it is resumed'],
    ['resume', 'deliver on from where it was'],
  ] as const) {
    subscriptions
      .command(`${name} <id>`)
      .description(description)
      .action((id: string) => change(client(), output(), name, id));
  }
}

const filterHelp = 'members that the data must have: node_id=a';

interface Tail {
  readonly pattern: string[];
  readonly filter?: Readonly<Record<string, string>>;
  readonly after?: number;
}

interface Wish extends Tail {
  readonly label: string;
  readonly webhook?: string;
}

const longestWaitMs = 10_000;
/** An event holds a payload of 256 KiB at most, which escapes may make six times as long. */
const mostBuffered = 4 * 1024 * 1024;

/** Prints events for as long as it can: a hub that went is waited for, one that refuses is not asked again. */
async function tail(hub: HubClient, output: Output, { pattern, filter = {}, after }: Tail): Promise<void> {
  const filters = Object.fromEntries(Object.entries(filter).map(([name, value]) => [`filter.${name}`, value]));
  let last = after;
  let failures = 0;
  const print = (event: Shown) => {
    last = event.position;
    output.value(event, lineOf(event));
  };
  for (let waitMs = 500, connected = false; ; ) {
    try {
      const query = { patterns: pattern.join(','), ...filters, ...(last !== undefined && { after: String(last) }) };
      const response = await hub.open('/events', query);
      connected = true;
      failures = 0;
      last ??= Number(response.headers.get('federation-position') ?? 0); // nothing is missed, whatever happens to the connection
      await readEvents(response, print, (ms) => {
        waitMs = ms;
      });
    } catch (error) {
      if (!connected || (error instanceof HubProblem && !passing.has(error.problem.code))) throw error;
      failures++;
    }
    await sleep(Math.min(longestWaitMs, waitMs * 2 ** Math.min(failures, 5)));
  }
}

/** What a hub says that will be another hub, or free again, in a while. */
const passing: ReadonlySet<string> = new Set([
  'overloaded',
  'not_ready',
  'rate_limited',
  'guard_unavailable',
  'service_unavailable',
  'log_unavailable',
]);

/** Reads a stream to its end. Throws when the connection breaks. */
async function readEvents(
  response: Response,
  onEvent: (event: Shown) => void,
  onRetry: (ms: number) => void,
): Promise<void> {
  const { createParser } = await import('eventsource-parser');
  const parser = createParser({
    maxBufferSize: mostBuffered,
    onEvent: ({ data }) => onEvent(JSON.parse(data) as Shown), // the hub's own schema made it
    onRetry,
  });
  const text = new TextDecoder();
  for await (const bytes of response.body ?? []) parser.feed(text.decode(bytes, { stream: true }));
}

function lineOf({ time, position: at, type, subject = '-', data }: Shown): string {
  return `${time}  ${String(at).padStart(8)}  ${type.padEnd(22)}  ${subject.padEnd(20)}  ${JSON.stringify(data)}`;
}

async function list(hub: HubClient, output: Output): Promise<void> {
  const listed: Listed[] = [];
  let cursor: string | undefined;
  do {
    const page = await hub.get<Page>('/subscriptions', { limit: '500', cursor });
    listed.push(...page.subscriptions);
    cursor = page.next_cursor ?? undefined;
  } while (cursor);
  if (output.json) return output.table([], listed);
  output.table(
    ['id', 'label', 'owner', 'patterns', 'delivery', 'status', 'position', 'reason'],
    listed.map(({ subscription_id: id, patterns, delivery, ...row }) => ({
      ...row,
      id,
      patterns: patterns.join(' '),
      delivery: delivery.url ?? delivery.kind,
    })),
  );
}

async function create(hub: HubClient, output: Output, wish: Wish): Promise<void> {
  const { pattern: patterns, webhook: url, ...rest } = wish;
  const delivery = url === undefined ? { kind: 'cursor' } : { kind: 'webhook', url };
  const body = { ...rest, patterns, delivery };
  const made = await hub.post<{ subscription_id: string; position: number }>('/subscriptions', body);
  output.value(made, made.subscription_id);
}

async function change(hub: HubClient, output: Output, name: 'delete' | 'pause' | 'resume', id: string): Promise<void> {
  const path = `/subscriptions/${encodeURIComponent(id)}`;
  const done =
    name === 'delete'
      ? await hub.delete<{ position: number }>(path)
      : await hub.post<{ position: number }>(`${path}/${name}`);
  output.value({ subscription_id: id, ...done }, `${id}: ${name}d`);
}

function position(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError('not a position of the log');
  return value;
}

function member(text: string, before: Readonly<Record<string, string>> = {}): Record<string, string> {
  const [, name = '', value = ''] = /^([a-z_]{1,64})=(.*)$/s.exec(text) ?? [];
  if (name === '') throw new InvalidArgumentError('Give name=value.');
  if (Object.hasOwn(before, name)) throw new InvalidArgumentError(`${name} can have one value only.`);
  return { ...before, [name]: value };
}
