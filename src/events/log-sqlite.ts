/**
 * The event log in one SQLite file, for a hub of one process. A thread writes, a thread reads; this side gathers, and feeds
 * subscribers at the head from the flush just committed, without reading it back.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Fault } from '../errors.ts';
import type { Kernel } from '../kernel.ts';
import { Thread } from '../thread.ts';
import { checkAppend } from './append-check.ts';
import { type Follower, follow } from './follow.ts';
import { type AppendObserver, GroupCommit, Rejected } from './group-commit.ts';
import type {
  Append,
  CommandRecord,
  EventLog,
  Expected,
  NewEvent,
  OnBatch,
  Page,
  Recorded,
  RecordedCommand,
  Segment,
  StoredCommand,
  SubscribeOptions,
  Subscription,
  Verdict,
} from './log.ts';
import { flatten, unflatten } from './log-sqlite-flush.ts';
import type { Reader } from './log-sqlite-reader.ts';
import type { Writer, WriterData } from './log-sqlite-writer.ts';
import { offerOf } from './offer.ts';

export interface SqliteLogOptions {
  /** The file is `<folder>/log.db`. One process at a time: hold its lock (data-lock.ts). */
  readonly folder: string;
  readonly kernel: Kernel;
  /** Positions in a segment of transient events, for a log made now; an old one keeps its own. */
  readonly segmentSize?: number;
  /** Pages of 4 KiB the file may grow to; unbounded when absent. Beyond it appends fail with `log_full`. */
  readonly maxPages?: number;
  /** Appends waiting at most. */
  readonly queueLimit?: number;
  readonly observer?: AppendObserver;
}

/** Opens the log, making it when the folder holds none. Throws for a file that is not a hub's log, or a newer hub's. */
export async function openSqliteLog(options: SqliteLogOptions): Promise<EventLog> {
  const { folder, kernel, segmentSize = 500_000, maxPages } = options;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, 'log.db');
  const data: WriterData = {
    file,
    about: { id: kernel.uuid(), segmentSize },
    ...(maxPages !== undefined && { maxPages }),
  };
  const writer = new Thread<Writer>('events/log-sqlite-writer', data);
  const reader = new Thread<Reader>('events/log-sqlite-reader', { file });
  try {
    const found = await writer.call('open');
    await reader.call('open');
    return new SqliteLog(options, found, writer, reader);
  } catch (error) {
    await Promise.all([writer.end(), reader.end()]);
    throw error;
  }
}

class SqliteLog implements EventLog {
  readonly id: string;
  readonly segmentSize: number;
  readonly #kernel: Kernel;
  readonly #writer: Thread<Writer>;
  readonly #reader: Thread<Reader>;
  readonly #appends: GroupCommit;
  readonly #followers = new Set<Follower>();
  #head: number;
  #closing: Promise<void> | undefined;

  constructor(
    { kernel, queueLimit, observer }: SqliteLogOptions,
    found: { id: string; segmentSize: number; head: number },
    writer: Thread<Writer>,
    reader: Thread<Reader>,
  ) {
    this.id = found.id;
    this.segmentSize = found.segmentSize;
    this.#head = found.head;
    this.#kernel = kernel;
    this.#writer = writer;
    this.#reader = reader;
    this.#appends = new GroupCommit((appends) => this.#flush(appends), {
      pause: (attempt) => kernel.sleep(20 * 4 ** attempt),
      ...(queueLimit !== undefined && { queueLimit }),
      ...(observer && { observer }),
    });
  }

  async append(
    stream: string,
    expected: Expected,
    events: readonly NewEvent[],
    command?: CommandRecord,
  ): Promise<Verdict> {
    const append: Append = command ? { stream, expected, events, command } : { stream, expected, events };
    checkAppend(append);
    return this.#appends.append(append);
  }

  readStream(stream: string, from: number, limit: number): Promise<readonly Recorded[]> {
    return this.#read('readStream', stream, from, limit);
  }

  readAll(after: number, limit: number, types?: readonly string[]): Promise<Page> {
    return this.#read('readAll', after, limit, types);
  }

  async head(): Promise<number> {
    if (this.#closing) throw closed();
    if (this.#writer.dead) throw new Fault('log_unavailable', 'the thread that writes the log died', this.#writer.dead);
    return this.#head; // this process is the only writer, so it knows
  }

  findCommand(id: string): Promise<StoredCommand | undefined> {
    return this.#read('findCommand', id);
  }

  readCommands(through: number, after: string | undefined, limit: number): Promise<readonly RecordedCommand[]> {
    return this.#read('readCommands', through, after, limit);
  }

  subscribe(after: number, onBatch: OnBatch, options?: SubscribeOptions): Subscription {
    if (this.#closing) throw closed();
    const follower = follow(this, this.#kernel, after, onBatch, options);
    this.#followers.add(follower);
    return {
      get position() {
        return follower.position;
      },
      close: () => {
        this.#followers.delete(follower);
        return follower.close();
      },
    };
  }

  segments(): Promise<readonly Segment[]> {
    return this.#read('segments');
  }

  readSegment(from: number, after: number, limit: number): Promise<readonly Recorded[]> {
    return this.#read('readSegment', from, after, limit);
  }

  async dropSegment(from: number): Promise<void> {
    if (this.#closing) throw closed();
    if (from + this.segmentSize > this.#head) throw new RangeError(`the segment from ${from} is still open`);
    await this.#writer.call('dropSegment', from).catch(unavailable);
  }

  async forgetCommands(before: string): Promise<number> {
    if (this.#closing) throw closed();
    return this.#writer.call('forgetCommands', before).catch(unavailable);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const followers = [...this.#followers];
    await this.#appends.close();
    await Promise.all(followers.map((follower) => follower.close()));
    for (const thread of [this.#reader, this.#writer]) {
      await thread.call('close').catch(() => {}); // a dead thread has nothing left to close
      await thread.end();
    }
  }

  async #read<K extends keyof Reader & string>(
    method: K,
    ...args: Parameters<Reader[K]>
  ): Promise<Awaited<ReturnType<Reader[K]>>> {
    if (this.#closing) throw closed();
    return this.#reader.call(method, ...args).catch(unavailable);
  }

  async #flush(appends: readonly Append[]): Promise<readonly Verdict[]> {
    const flat = await this.#writer.call('flush', flatten(appends)).catch(rejectWhatCannotBeWritten);
    const verdicts = unflatten(flat);
    this.#head = flat.head;
    const page = this.#followers.size > 0 ? offerOf(appends, verdicts) : undefined;
    if (page) for (const follower of this.#followers) follower.offer(page);
    return verdicts;
  }
}

/** Text that SQLite refuses is the fault of one append; whatever else happened is the fault of the log. */
function rejectWhatCannotBeWritten(error: Error & { code?: string }): never {
  const ofData =
    error.code?.startsWith('SQLITE_CONSTRAINT') || error.code === 'SQLITE_TOOBIG' || ofShape.has(error.name);
  if (ofData) throw new Rejected(error.message, { cause: error });
  throw error;
}

const ofShape = new Set(['TypeError', 'RangeError']);

function unavailable(error: unknown): never {
  throw error instanceof Fault
    ? error
    : new Fault('log_unavailable', "the log's file could not be read or written", error);
}

function closed(): Fault {
  return new Fault('log_unavailable', 'the log is closed');
}
