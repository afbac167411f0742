/**
 * The event log in PostgreSQL, for a hub of any number of processes. A flush is one call of one function in the database
 * (log-postgres.sql.ts), which gives positions under a lock: dense, and in the order of commits over all processes.
 * Subscribers are fed by the flush just written, and NOTIFY says what other processes wrote (log-postgres-tail.ts).
 */
import pg from 'pg';
import { Fault } from '../errors.ts';
import type { Kernel } from '../kernel.ts';
import { checkAppend } from './append-check.ts';
import { streamClass } from './catalog.ts';
import type { Offered } from './follow.ts';
import { type AppendObserver, GroupCommit } from './group-commit.ts';
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
import * as sql from './log-postgres.sql.ts';
import { connect, type Listener, listen, mayReadAgain, rethrowWrite } from './log-postgres-connection.ts';
import { parametersOf, parametersOfOne, parted, type VerdictRow, verdictOf } from './log-postgres-flush.ts';
import { type Found, prepareSchema } from './log-postgres-schema.ts';
import { Tail } from './log-postgres-tail.ts';
import { offerOf } from './offer.ts';

export interface PostgresLogOptions {
  /** `postgres://…`; the tables lie in the first schema of its search path. */
  readonly url: string;
  readonly kernel: Kernel;
  /** Positions in a segment of transient events, for a log made now; an old one keeps its own. */
  readonly segmentSize?: number;
  /** Connections for reading. Writing has one, listening another. Default 4. */
  readonly readers?: number;
  /** How long one call to the server may take before it is given up, in milliseconds. Default 10,000. */
  readonly timeoutMs?: number;
  /** Appends waiting at most. */
  readonly queueLimit?: number;
  readonly observer?: AppendObserver;
}

/**
 * Opens the log, making it when the database holds none; several processes may do so at once. Throws for tables of these
 * names that are not a hub's, for a newer hub's, and `log_unavailable` when the server cannot be reached.
 */
export async function openPostgresLog(options: PostgresLogOptions): Promise<EventLog> {
  const { url, kernel, segmentSize = 500_000, readers = 4, timeoutMs = 10_000 } = options;
  const writer = connect(url, kernel, 1, timeoutMs);
  try {
    const found = await prepareSchema(writer, { id: kernel.uuid(), segmentSize });
    return new PostgresLog(options, found, writer, connect(url, kernel, readers, timeoutMs), timeoutMs);
  } catch (error) {
    await writer.end();
    throw error;
  }
}

/** How often a read is tried whose connection was lost. */
const readTries = 3;

class PostgresLog implements EventLog {
  readonly id: string;
  readonly segmentSize: number;
  readonly #kernel: Kernel;
  readonly #writer: pg.Pool;
  readonly #readers: pg.Pool;
  readonly #listener: Listener;
  readonly #appends: GroupCommit;
  readonly #tail: Tail;
  #closing: Promise<void> | undefined;

  constructor(
    { url, kernel, queueLimit, observer }: PostgresLogOptions,
    found: Found,
    writer: pg.Pool,
    readers: pg.Pool,
    timeoutMs: number,
  ) {
    this.id = found.id;
    this.segmentSize = found.segmentSize;
    this.#kernel = kernel;
    this.#writer = writer;
    this.#readers = readers;
    this.#tail = new Tail(this, kernel, found.head);
    this.#listener = listen(url, kernel, sql.channel, timeoutMs, {
      heard: (head) => this.#tail.heard(Number(head)),
      missed: () => this.#tail.missed(),
    });
    this.#appends = new GroupCommit((appends) => this.#flush(appends), {
      // 0.1, 0.4 and 1.6 s: a server that restarts is met again
      pause: (attempt) => kernel.sleep(100 * 4 ** attempt * (0.75 + kernel.random() / 2)),
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
    const query = streamClass(stream) === 'kept' ? sql.readStreamKept : sql.readStreamTransient;
    return this.#read<Recorded>(query, [stream, from, limit]);
  }

  async readAll(after: number, limit: number, types?: readonly string[]): Promise<Page> {
    type Row = (Recorded | { position: null }) & { through: number };
    const rows = await this.#read<Row>(sql.readAll, [after, limit, types ?? null]);
    const events: Recorded[] = [];
    for (const row of rows) if (row.position !== null) events.push(recordedOf(row));
    const through = events.length < limit ? rows[0]!.through : (events.at(-1)?.position ?? after);
    return { events, through: Math.max(after, through) };
  }

  async head(): Promise<number> {
    const [row] = await this.#read<{ head: number }>(sql.readHead, []);
    return row!.head;
  }

  async findCommand(id: string): Promise<StoredCommand | undefined> {
    type Row = Omit<StoredCommand, 'bodyHash'> & { body_hash: string };
    const [row] = await this.#read<Row>(sql.readCommand, [id]);
    return row && { id: row.id, bodyHash: row.body_hash, reply: row.reply, time: row.time, position: row.position };
  }

  readCommands(through: number, after: string | undefined, limit: number): Promise<readonly RecordedCommand[]> {
    return this.#read<RecordedCommand>(sql.readCommands, [after ?? sql.beforeAllIds, through, limit]);
  }

  subscribe(after: number, onBatch: OnBatch, options?: SubscribeOptions): Subscription {
    if (this.#closing) throw closed();
    return this.#tail.subscribe(after, onBatch, options);
  }

  async segments(): Promise<readonly Segment[]> {
    const rows = await this.#read<{ first: number; head: number }>(sql.readSegments, []);
    return rows.map(({ first, head }) => {
      const to = first + this.segmentSize - 1;
      return { from: first, to, closed: head > to };
    });
  }

  readSegment(from: number, after: number, limit: number): Promise<readonly Recorded[]> {
    const first = Math.max(from, after + 1);
    return this.#read<Recorded>(sql.readTransient, [first, from + this.segmentSize - 1, limit]);
  }

  async dropSegment(from: number): Promise<void> {
    await this.#read(sql.dropSegment, [from]);
  }

  async forgetCommands(before: string): Promise<number> {
    for (let forgotten = 0; ; ) {
      const some = await this.#query(() => this.#readers.query({ ...sql.forgetCommands, values: [before] }));
      forgotten += some.rowCount ?? 0;
      if (!some.rowCount) return forgotten;
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#appends.close();
    await this.#tail.close();
    await Promise.all([this.#listener.close(), this.#readers.end(), this.#writer.end()]);
  }

  async #flush(appends: readonly Append[]): Promise<readonly Verdict[]> {
    const parts = parted(appends);
    if (parts.length === 1) return this.#write(appends);
    const verdicts = new Map<Append, Verdict>();
    for (const [at, part] of parts.entries()) {
      const written = await this.#write(part).catch((error: unknown) => {
        // the parts before are written, so that this flush as a whole is neither rejected nor without effect
        throw at > 0 ? new Error('a later part of a flush failed', { cause: error }) : error;
      });
      for (const [index, append] of part.entries()) verdicts.set(append, written[index]!);
    }
    return appends.map((append) => verdicts.get(append)!);
  }

  async #write(appends: readonly Append[]): Promise<Verdict[]> {
    const one = parametersOfOne(appends);
    const query = {
      ...(one ? { ...sql.appendOne, values: one } : { ...sql.append, values: parametersOf(appends) }),
      rowMode: 'array' as const,
    };
    let page: Offered | undefined;
    this.#tail.writes();
    try {
      const { rows } = await this.#writer.query<VerdictRow & unknown[]>(query).catch(rethrowWrite);
      const verdicts = rows.map((row, at) => verdictOf(row, appends[at]!));
      page = offerOf(appends, verdicts);
      return verdicts;
    } finally {
      this.#tail.wrote(page);
    }
  }

  async #read<Row extends object>(query: sql.Prepared, values: unknown[]): Promise<Row[]> {
    const result = await this.#query(() => this.#readers.query<Row & pg.QueryResultRow>({ ...query, values }));
    return result.rows;
  }

  /** Runs something that may be done twice, and says its failures as faults of the log. */
  async #query<T>(run: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      if (this.#closing) throw closed();
      try {
        return await run();
      } catch (error) {
        if (error instanceof pg.DatabaseError && error.code === sql.segmentOpen) throw new Error(error.message);
        if (attempt >= readTries || !mayReadAgain(error)) {
          throw new Fault('log_unavailable', 'the event log could not be read', error);
        }
        await this.#kernel.sleep(50 * 4 ** attempt);
      }
    }
  }
}

function recordedOf({ position, stream, revision, id, type, version, time, data, meta }: Recorded): Recorded {
  return { position, stream, revision, id, type, version, time, data, meta };
}

function closed(): Fault {
  return new Fault('log_unavailable', 'the log is closed');
}
