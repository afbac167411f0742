/** `fedhub message`: sends messages, finds them again, and shows what became of one. */
import { text as textOf } from 'node:stream/consumers';
import { type Command, InvalidArgumentError } from 'commander';
import { seconds } from './duration.ts';
import type { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';

type Address =
  | { readonly node: string }
  | { readonly entity: string }
  | { readonly channel: string }
  | { readonly everyone: true };

interface Message {
  readonly message_id: string;
  readonly from: string;
  readonly to: Address;
  readonly content: unknown;
  /** The key that it was sealed with is gone. */
  readonly erased?: true;
  readonly correlation_id?: string;
  readonly sent_at: string;
  readonly expires_at?: string;
}

interface WholeMessage extends Message {
  readonly recipients: readonly {
    readonly node_id: string;
    readonly state: string;
    readonly at?: string;
    readonly code?: string;
    readonly reason?: string;
  }[];
  readonly states: Readonly<Record<string, number>>;
  readonly without?: readonly string[];
}

interface Sent {
  readonly message_id: string;
  readonly delivered?: number;
  readonly without?: readonly string[];
}

interface Wish {
  readonly channel?: true;
  readonly entity?: true;
  readonly everyone?: true;
  readonly ttl?: number;
  readonly persist: boolean;
  readonly correlationId?: string;
  readonly parse?: true;
}

interface Filter {
  readonly peer?: string;
  readonly channel?: string;
  readonly search?: string;
  readonly limit: number;
}

export function registerMessages(program: Command, client: () => HubClient, output: () => Output): void {
  const message = program.command('message').description('words: sent, found again, and what became of them');
  message
    .command('send [to] [content]')
    .description('send a text to a node; - as content reads it from the input. With --everyone there is no <to>')
    .option('--channel', '<to> is a channel')
    .option('--entity', '<to> is an entity')
    .option('--everyone', 'to all members')
    .option('--ttl <time>', 'how long it is kept: 90s, 15m, 12h, 2d; at most 30d', seconds)
    .option('--no-persist', 'for those only who are there now')
    .option('--correlation-id <id>', 'what it belongs to')
    .option('--parse', 'the content is JSON')
    .action(async (to: string | undefined, content: string | undefined, wish: Wish, command: Command) => {
      const [address, text] = destinationOf(to, content, wish, command);
      await send(client(), output(), {
        to: address,
        content: await contentOf(text, wish, command),
        ...headersOf(wish),
      });
    });
  message
    .command('list')
    .description('what you sent, and was sent to you, the newest first')
    .option('--peer <node>', 'only to and from this node')
    .option('--channel <name>', 'only in this channel')
    .option('--search <words>', 'only with all of these words, the best first')
    .option('--limit <n>', 'at most so many (100)', whole, 100)
    .action((filter: Filter) => listMessages(client(), output(), filter));
  message
    .command('get <id>')
    .description('one message, and what became of it at each who was to get it')
    .action((id: string) => showMessage(client(), output(), id));
}

async function send(hub: HubClient, output: Output, message: object): Promise<void> {
  const sent = await hub.post<Sent>('/send', message);
  const { message_id, delivered, without = [] } = sent;
  const reached = delivered === undefined ? '' : `: ${delivered} got it`;
  const left = without.length > 0 ? `\nnot for ${without.join(', ')}: their mailboxes are full` : '';
  output.value(sent, `${message_id}${reached}${left}`);
}

async function listMessages(
  hub: HubClient,
  output: Output,
  { peer, channel, search: q, limit }: Filter,
): Promise<void> {
  const all: Message[] = [];
  let cursor: string | undefined;
  do {
    const query = { peer, channel, q, limit: String(Math.min(100, limit - all.length)), cursor };
    const page = await hub.get<{ messages: Message[]; next_cursor: string | null }>('/messages', query);
    all.push(...page.messages);
    cursor = page.next_cursor ?? undefined;
  } while (cursor && all.length < limit);
  if (output.json) return output.table([], all);
  const rows = all.map((message) => ({
    message: message.message_id,
    from: message.from,
    to: addressText(message.to),
    sent: message.sent_at,
    content: cut(contentText(message)),
  }));
  output.table(['message', 'from', 'to', 'sent', 'content'], rows);
}

async function showMessage(hub: HubClient, output: Output, id: string): Promise<void> {
  const { message } = await hub.get<{ message: WholeMessage }>(`/messages/${encodeURIComponent(id)}`);
  if (output.json) return output.value(message, '');
  const { message_id, from, to, sent_at, expires_at, correlation_id, recipients, states, without } = message;
  output.say(`message   ${message_id}`);
  output.say(`from      ${from}, ${sent_at}`);
  output.say(`to        ${addressText(to)}`);
  if (expires_at) output.say(`until     ${expires_at}`);
  if (correlation_id) output.say(`belongs   ${correlation_id}`);
  if (without) output.say(`not for   ${without.join(', ')}: their mailboxes were full`);
  output.say(
    `states    ${
      Object.entries(states)
        .map(([state, count]) => `${count} ${state}`)
        .join(', ') || 'nobody was to get it'
    }`,
  );
  output.say(`content   ${contentText(message)}\n`);
  const rows = recipients.map(({ node_id: node, state, at, code, reason }) => ({ node, state, at, code, reason }));
  if (rows.length > 0) output.table(['node', 'state', 'at', 'code', 'reason'], rows);
}

/** Without a <to>, what stands in its place is the content. */
function destinationOf(
  to: string | undefined,
  content: string | undefined,
  { channel, entity, everyone }: Wish,
  command: Command,
): readonly [Address, string | undefined] {
  if ([channel, entity, everyone].filter(Boolean).length > 1)
    wrong(command, 'give one of --channel, --entity and --everyone');
  if (everyone && content !== undefined) wrong(command, 'what is for --everyone has no <to>');
  if (everyone) return [{ everyone: true }, to];
  if (to === undefined) return wrong(command, 'say whom it is for');
  return [channel ? { channel: to } : entity ? { entity: to } : { node: to }, content];
}

async function contentOf(given: string | undefined, { parse }: Wish, command: Command): Promise<unknown> {
  if (given === undefined) return wrong(command, 'say what it says; - reads it from the input');
  const text = given === '-' ? await textOf(process.stdin) : given;
  if (!parse) return text;
  try {
    return JSON.parse(text);
  } catch (error) {
    return wrong(command, `the content is no JSON: ${(error as Error).message}`); // JSON.parse throws errors
  }
}

/** What is undefined is left out of JSON. */
function headersOf({ ttl: ttl_seconds, persist, correlationId: correlation_id }: Wish): object {
  return { ttl_seconds, persist, correlation_id };
}

function wrong(command: Command, what: string): never {
  return command.error(`error: ${what}`, { exitCode: 2 });
}

function addressText(to: Address): string {
  if ('node' in to) return to.node;
  if ('everyone' in to) return 'everyone';
  return 'channel' in to ? `channel ${to.channel}` : `entity ${to.entity}`;
}

function contentText({ content, erased }: Message): string {
  if (erased) return '(erased)';
  return typeof content === 'string' ? content : JSON.stringify(content);
}

/** As much as a line of a table takes. */
function cut(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ');
  return line.length > 60 ? `${line.slice(0, 59)}…` : line;
}

function whole(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('Give a whole number above 0.');
  return Number(text);
}
