/**
 * Where the projector reads: the log, from inside its own thread. A SQLite file is read over a read-only connection of its
 * own, beside the writer; PostgreSQL over the log's own adapter, woken by its notifications.
 */
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import type { EventLog, Page } from '../events/log.ts';
import { openPostgresLog } from '../events/log-postgres.ts';
import { SqliteLogReader } from '../events/log-sqlite-read.ts';
import type { Kernel } from '../kernel.ts';

/** The reading half of the log. */
export interface LogSource extends Pick<EventLog, 'id' | 'segmentSize' | 'readAll' | 'head'> {
  /** Calls back soon after something was written. A hint: may come late, twice or never. */
  onWritten(callback: () => void): void;
  close(): Promise<void>;
}

/** How often a SQLite file is asked whether it was written: one read of a counter in shared memory. */
const lookMs = 20;

/** Opens the log that a URL names (`sqlite:<folder>` or `postgres://…`) for reading. It must exist. */
export async function openSource(url: string, kernel: Kernel): Promise<LogSource> {
  if (url.startsWith('sqlite:')) return new SqliteSource(url.slice('sqlite:'.length), kernel);
  const log = await openPostgresLog({ url, kernel });
  return {
    id: log.id,
    segmentSize: log.segmentSize,
    readAll: (after, limit, types) => log.readAll(after, limit, types),
    head: () => log.head(),
    onWritten(callback) {
      // Of a type that is rare, so that following costs no second reading of the events themselves.
      void log.head().then(
        (head) => log.subscribe(head, callback, { types: ['views.rebuild-requested'] }),
        () => {},
      );
    },
    close: () => log.close(),
  };
}

class SqliteSource implements LogSource {
  readonly id: string;
  readonly segmentSize: number;
  readonly #reader: SqliteLogReader;
  /** Asks for the counter only: a connection sees the commits of others in it. */
  readonly #db: Sqlite.Database;
  readonly #kernel: Kernel;
  #stopLooking: () => void = () => {};

  constructor(folder: string, kernel: Kernel) {
    const file = join(folder, 'log.db');
    this.#kernel = kernel;
    this.#reader = new SqliteLogReader(file);
    this.#db = new Sqlite(file, { readonly: true, fileMustExist: true });
    const [id, segmentSize] = this.#db.prepare('SELECT log_id, segment_size FROM federation_log_about').raw().get() as [
      string,
      number,
    ]; // both NOT NULL, and made with the table
    this.id = id;
    this.segmentSize = segmentSize;
  }

  async head(): Promise<number> {
    return this.#reader.head();
  }

  async readAll(after: number, limit: number): Promise<Page> {
    return this.#reader.readAll(after, limit);
  }

  onWritten(callback: () => void): void {
    let seen: unknown;
    this.#stopLooking = this.#kernel.every(lookMs, () => {
      const version = this.#db.pragma('data_version', { simple: true });
      if (version !== seen) callback();
      seen = version;
    });
  }

  async close(): Promise<void> {
    this.#stopLooking();
    this.#reader.close();
    this.#db.close();
  }
}
