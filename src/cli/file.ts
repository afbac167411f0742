/** `fedhub file`: sends files, fetches them, lists and removes them. */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import type { Files, SharedFile } from '../client/files.ts';
import { type HubClient, HubProblem } from './hub-client.ts';
import type { Output } from './output.ts';
import type { Progress } from './progress.ts';

interface Wish {
  readonly role?: true;
  readonly channel?: true;
  readonly entity?: true;
  readonly everyone?: true;
  readonly name?: string;
  readonly type?: string;
  readonly ttl?: number;
  readonly once?: true;
}

/** A hub that does not answer for so long in a row is given up. */
const patienceMs = 60_000;

export function registerFiles(program: Command, client: () => HubClient, output: () => Output): void {
  const file = program.command('file').description('files: sent, fetched, listed, removed');
  file
    .command('put <path> [to]')
    .description(
      'send a file to a node; it goes on where it was when the hub comes back. With --everyone there is no [to]',
    )
    .option('--role', '[to] is a role: admin, member or observer')
    .option('--channel', '[to] is a channel')
    .option('--entity', '[to] is an entity')
    .option('--everyone', 'to all members')
    .option('--name <name>', 'what it is called there')
    .option('--type <type>', 'its media type')
    .option('--ttl <time>', 'how long it is kept: 90s, 15m, 12h, 2d', seconds)
    .option('--once', 'each recipient may have it once')
    .action(async (source: string, to: string | undefined, wish: Wish, command: Command) => {
      const address = addressOf(to, wish, command);
      await put(client(), output(), source, address, wish);
    });
  file
    .command('get <id> [path]')
    .description('fetch a file, and check its hash; what came before goes on')
    .action((id: string, target: string | undefined) => get(client(), output(), id, target));
  file
    .command('ls')
    .description('what you sent and may fetch, the newest first')
    .option('--sent', 'only what you sent')
    .option('--received', 'only what is for you')
    .action(({ sent, received }: { sent?: true; received?: true }) =>
      list(client(), output(), sent ? 'sent' : received ? 'received' : undefined),
    );
  file
    .command('rm <id>')
    .description('take a file away, or give up its upload')
    .action(async (id: string) => {
      await client().delete(`/files/${encodeURIComponent(id)}`);
      output().value({ file_id: id, removed: true }, `${id} is gone`);
    });
}

async function put(hub: HubClient, output: Output, source: string, to: object, wish: Wish): Promise<void> {
  await stat(source); // what is not there is not sent
  const bar = await barOn(output);
  const { name, type: mediaType, ttl: ttlSeconds, once } = wish;
  const sent = await asked(async () =>
    (await filesOf(hub)).put(source, {
      to: to as never, // checked by the hub
      ...(name !== undefined && { name }),
      ...(mediaType !== undefined && { mediaType }),
      ...(ttlSeconds !== undefined && { ttlSeconds }),
      ...(once && { once }),
      onProgress: (bytes, size) => bar.show('sent', bytes, size),
      patienceMs,
    }),
  ).finally(() => bar.stop());
  const { fileId: file_id, size, sha256 } = sent;
  output.value({ file_id, size, sha256 }, file_id);
}

async function get(hub: HubClient, output: Output, id: string, target: string | undefined): Promise<void> {
  const bar = await barOn(output);
  const into = target ?? (await nameOf(hub, id));
  const options = { onProgress: (bytes: number, size: number) => bar.show('fetched', bytes, size), patienceMs };
  const file = await asked(async () => (await filesOf(hub)).get(id, into, options)).finally(() => bar.stop());
  output.value({ path: into, ...file }, into);
}

/** What its sender called it, as a name in this folder, unless there is such a file. */
async function nameOf(hub: HubClient, id: string): Promise<string> {
  const { file } = await hub.get<{ file: SharedFile }>(`/files/${encodeURIComponent(id)}/info`);
  const name = path.basename(file.name);
  const isTaken = await stat(name).then(
    () => true,
    () => false,
  );
  if (isTaken) throw new Error(`${name} is there already; say where to put it`);
  return name;
}

async function list(hub: HubClient, output: Output, direction: 'sent' | 'received' | undefined): Promise<void> {
  const files = await asked(async () => (await filesOf(hub)).list(direction ? { direction } : {}));
  if (output.json) return output.table([], files as never[]); // as they are
  const rows = files.map(({ file_id: file, from, to, name, size, status, expires_at: until }) => ({
    file,
    from,
    to: Object.entries(to)
      .map(([kind, who]) => (kind === 'everyone' ? kind : `${kind}:${who}`))
      .join(),
    name,
    size,
    status,
    until,
  }));
  output.table(['file', 'from', 'to', 'name', 'size', 'status', 'until'], rows);
}

async function barOn(output: Output): Promise<Progress> {
  const { Progress } = await import('./progress.ts');
  return new Progress(output);
}

async function filesOf(hub: HubClient): Promise<Files> {
  const { processClock } = await import('../client/clock.ts');
  const { Files } = await import('../client/files.ts'); // other commands have no use for it
  return new Files({ url: hub.url, clock: processClock, token: () => hub.token ?? '', fixedToken: true });
}

/** What the hub refused is told as everywhere. */
async function asked<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { code, message } = error as { code?: unknown; message?: unknown }; // an error, or something like it
    if (typeof code === 'string' && /^[a-z_]+$/.test(code)) throw new HubProblem({ code, detail: String(message) });
    throw error;
  }
}

function addressOf(to: string | undefined, { role, channel, entity, everyone }: Wish, command: Command): object {
  if ([role, channel, entity, everyone].filter(Boolean).length > 1)
    command.error('error: give one of --role, --channel, --entity and --everyone', { exitCode: 2 });
  if (everyone) return { everyone: true };
  if (to === undefined) return command.error('error: say whom it is for', { exitCode: 2 });
  return role ? { role: to } : channel ? { channel: to } : entity ? { entity: to } : { node: to };
}

const unitSeconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };

function seconds(text: string): number {
  const [, count = '', unit = ''] = /^([1-9]\d{0,6})([smhd])$/.exec(text) ?? [];
  const perUnit = unitSeconds[unit];
  if (!perUnit) throw new InvalidArgumentError('Give a time such as 90s, 15m, 12h or 2d.');
  return Number(count) * perUnit;
}
