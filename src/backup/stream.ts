/**
 * A backup of the log of a hub that serves, as a stream of bytes: read page by page, no faster than it is taken.
 *
 * It ends at the position that the digest of the views stands for, so that who restores it can hold the rebuilt views against
 * that digest. Everything that was acknowledged before it began is in it.
 */
import { Fault } from '../errors.ts';
import type { EventLog, Recorded, Segment } from '../events/log.ts';
import { MerkleTree } from '../events/merkle.ts';
import type { Hub } from '../hub.ts';
import type { ViewsDigest } from '../projections/digest.ts';
import { type BackupFoot, type BackupHead, backupFormat, commandLine, eventLine } from './format.ts';

const pageRows = 500;
/** Bytes that are handed on together. */
const pieceBytes = 64 * 1024;

export type BackupSource = Pick<Hub, 'log' | 'views' | 'federationId' | 'version'>;

/** Sums up the views and fixes the position. Throws a `Fault` when the log cannot be read. */
export async function beginBackup({ log, views, federationId, version }: BackupSource): Promise<BackupHead> {
  const head = await log.head();
  const { stale } = await views.read(head, async () => {});
  const summed = stale ? undefined : await views.digest().catch(unlessViewsAreAway);
  return {
    format: backupFormat,
    log_id: log.id,
    segment_size: log.segmentSize,
    federation_id: federationId,
    hub_version: version,
    position: summed?.position ?? head,
    views_fingerprint: summed?.fingerprint ?? null,
    views_digest: summed?.digest ?? null,
  };
}

/** A backup without a digest is worth more than none: it says that it has none. */
function unlessViewsAreAway(error: unknown): ViewsDigest | undefined {
  if (error instanceof Fault && error.code === 'views_unavailable') return undefined;
  throw error;
}

/** The bytes of the backup that `head` begins. Ends early when who reads it goes away. */
export async function* backupBytes(log: EventLog, head: BackupHead): AsyncGenerator<Buffer> {
  const before = await log.segments();
  const pieces = new Pieces();
  pieces.add(JSON.stringify(head));
  const events = new MerkleTree();
  const commands = new MerkleTree();
  const foot = { events: 0, commands: 0 };
  for await (const page of eventsThrough(log, head.position)) {
    for (const event of page) {
      events.add(pieces.add(eventLine(event)));
      foot.events++;
    }
    yield* pieces.take();
  }
  for await (const page of commandsThrough(log, head.position)) {
    for (const command of page) {
      commands.add(pieces.add(commandLine(command)));
      foot.commands++;
    }
    yield* pieces.take();
  }
  if (vanished(before, await log.segments(), head.position)) {
    pieces.add(JSON.stringify({ broken: 'readings were rolled up and dropped while they were read; begin again' }));
  } else {
    const roots = { root: events.root().toString('hex'), commands_root: commands.root().toString('hex') };
    pieces.add(JSON.stringify({ ...foot, ...roots } satisfies BackupFoot));
  }
  yield* pieces.take(true);
}

async function* eventsThrough(log: EventLog, position: number): AsyncGenerator<readonly Recorded[]> {
  for (let through = 0; through < position; ) {
    const page = await log.readAll(through, pageRows);
    if (page.through <= through) throw new Error(`the log ends at ${through}, before ${position}`);
    through = page.through;
    yield through > position ? page.events.filter((event) => event.position <= position) : page.events;
  }
}

async function* commandsThrough(log: EventLog, position: number) {
  for (let after: string | undefined; ; ) {
    const page = await log.readCommands(position, after, pageRows);
    yield page;
    if (page.length < pageRows) return;
    after = page.at(-1)?.id;
  }
}

/** Whether a segment went whose roll-up may lie beyond the end of the backup. */
function vanished(before: readonly Segment[], now: readonly Segment[], position: number): boolean {
  return before.some(({ from }) => from <= position && !now.some((segment) => segment.from === from));
}

/** Gathers lines until there are enough to hand on. */
class Pieces {
  #lines: Buffer[] = [];
  #bytes = 0;

  /** Answers the line as bytes, without its end. */
  add(text: string): Buffer {
    const line = Buffer.from(`${text}\n`);
    this.#lines.push(line);
    this.#bytes += line.length;
    return line.subarray(0, -1);
  }

  /** What there is, if it is enough or the last. */
  *take(last = false): Generator<Buffer> {
    if (this.#bytes === 0 || (this.#bytes < pieceBytes && !last)) return;
    yield Buffer.concat(this.#lines);
    this.#lines = [];
    this.#bytes = 0;
  }
}
