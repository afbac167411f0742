/**
 * Where the projector reads: the log, from inside its own thread. A SQLite file is read over a read-only connection of its
 * own, beside the writer; PostgreSQL over the log's own adapter. Neither is watched: who writes wakes the projector.
 */
import { join } from 'node:path';
import type { EventLog, Page } from '../events/log.ts';
import { SqliteLogReader } from '../events/log-sqlite-read.ts';
import type { Kernel } from '../kernel.ts';

/** The reading half of the log. */
export interface LogSource extends Pick<EventLog, 'id' | 'segmentSize' | 'readAll' | 'head'> {
  close(): Promise<void>;
}

/** Opens the log that a URL names (`sqlite:<folder>` or `postgres://…`) for reading. It must exist. */
export async function openSource(url: string, kernel: Kernel): Promise<LogSource> {
  if (url.startsWith('sqlite:')) return new SqliteSource(url.slice('sqlite:'.length));
  const { openPostgresLog } = await import('../events/log-postgres.ts'); // on SQLite the thread is sooner there without
  const log = await openPostgresLog({ url, kernel });
  return {
    id: log.id,
    segmentSize: log.segmentSize,
    readAll: (after, limit, types) => log.readAll(after, limit, types),
    head: () => log.head(),
    close: () => log.close(),
  };
}

class SqliteSource implements LogSource {
  readonly id: string;
  readonly segmentSize: number;
  readonly #reader: SqliteLogReader;

  constructor(folder: string) {
    this.#reader = new SqliteLogReader(join(folder, 'log.db'));
    this.id = this.#reader.about.id;
    this.segmentSize = this.#reader.about.segmentSize;
  }

  async head(): Promise<number> {
    return this.#reader.head();
  }

  async readAll(after: number, limit: number): Promise<Page> {
    return this.#reader.readAll(after, limit);
  }

  async close(): Promise<void> {
    this.#reader.close();
  }
}
