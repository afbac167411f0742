/** Restores the log in one transaction that makes its tables and fills them: nobody sees any of it before it is all there. */
import pg from 'pg';
import { Fault } from '../errors.ts';
import type { Recorded, RecordedCommand } from './log.ts';
import * as sql from './log-postgres.sql.ts';
import { prepareEmpty } from './log-postgres-schema.ts';
import type { LogRestore, RestoredAbout } from './restore.ts';
import { streamClass } from './stream-class.ts';

const connectMs = 10_000;

/**
 * Throws when there is a log in the database, or anything else of its names; `log_unavailable` when the server cannot be
 * reached. Until the restore is published or discarded, a hub that starts on this database waits.
 */
export async function beginPostgresRestore(url: string, about: RestoredAbout): Promise<LogRestore> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: connectMs,
    keepAlive: true,
    application_name: 'fedhub restore',
    // whatever the server's own limits are: reading the backup takes its time
    options: '-c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c synchronous_commit=on',
  });
  client.on('error', () => {}); // a connection that is lost fails the next query, which says so
  try {
    await client.connect();
  } catch (error) {
    throw new Fault('log_unavailable', 'the PostgreSQL server to restore to cannot be reached', error);
  }
  try {
    await client.query('BEGIN');
    await prepareEmpty(client, about);
    return new PostgresRestore(client, about.segmentSize);
  } catch (error) {
    await client.end();
    throw error;
  }
}

class PostgresRestore implements LogRestore {
  readonly #client: pg.Client;
  readonly #segmentSize: number;
  /** First positions of the partitions that are there: two are made with the log. */
  readonly #made: Set<number>;
  /** Those that hold readings. */
  readonly #filled = new Set<number>();
  #ended = false;

  constructor(client: pg.Client, segmentSize: number) {
    this.#client = client;
    this.#segmentSize = segmentSize;
    this.#made = new Set([1, 1 + segmentSize]);
  }

  async writeEvents(events: readonly Recorded[]): Promise<void> {
    const kept = events.filter((event) => streamClass(event.stream) === 'kept');
    const transient = events.filter((event) => streamClass(event.stream) === 'transient');
    if (kept.length > 0) {
      await this.#client.query({ ...sql.restoreKept, values: columnsOf(kept, [...ofEvent, 'revision']) });
    }
    if (transient.length > 0) {
      for (const { position } of transient) await this.#fill(this.#segmentOf(position));
      await this.#client.query({ ...sql.restoreTransient, values: columnsOf(transient, ofEvent) });
    }
  }

  async writeCommands(commands: readonly RecordedCommand[]): Promise<void> {
    if (commands.length > 0) {
      await this.#client.query({ ...sql.restoreCommands, values: columnsOf(commands, ofCommand) });
    }
  }

  async publish(head: number): Promise<void> {
    const next = this.#segmentOf(head + 1);
    for (const from of [next, next + this.#segmentSize]) await this.#make(from); // a whole one ahead, as the writer wants
    await this.#client.query('UPDATE federation_log_head SET head = $1, made_through = $2', [
      head,
      next + 2 * this.#segmentSize - 1,
    ]);
    for (const from of this.#made) {
      if (from < next && !this.#filled.has(from)) await this.#client.query({ ...sql.dropSegment, values: [from] });
    }
    try {
      await this.#client.query('COMMIT');
    } catch (error) {
      const unknown = 'the connection was lost while the restore was committed: look whether there is a log now';
      throw new Fault('log_unavailable', unknown, error);
    }
    await this.#end();
  }

  async discard(): Promise<void> {
    await this.#end(); // which rolls back what was not committed
  }

  async #end(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await this.#client.end().catch(() => {}); // it may be lost already
  }

  #segmentOf(position: number): number {
    return position - ((position - 1) % this.#segmentSize);
  }

  async #fill(from: number): Promise<void> {
    if (this.#filled.has(from)) return;
    this.#filled.add(from);
    await this.#make(from);
  }

  /** Only those that are needed: of segments that were dropped nothing is made. */
  async #make(from: number): Promise<void> {
    if (this.#made.has(from)) return;
    this.#made.add(from);
    const size = this.#segmentSize;
    await this.#client.query('SELECT federation_make_segments($1, $2, $3)', [from + size - 1, from - 1, size]);
  }
}

const ofEvent = ['position', 'stream', 'id', 'type', 'version', 'time', 'data', 'meta'] as const;
const ofCommand = ['id', 'bodyHash', 'reply', 'time', 'position', 'revision'] as const;

/** Rows as the arrays of their columns. */
function columnsOf<Row>(rows: readonly Row[], names: readonly (keyof Row)[]): unknown[][] {
  return names.map((name) => rows.map((row) => row[name]));
}
