/** Reads views in SQLite through a thread, by a Kysely dialect that sends it compiled queries. */
import {
  type CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  Kysely,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely';
import { Fault } from '../errors.ts';
import { Thread } from '../thread.ts';
import type { ViewTables } from './catalog.ts';
import type { ViewsDigest } from './digest.ts';
import type { ProjectorState } from './projector.ts';
import { JsonColumns, type Standing, type StoredSnapshot, type ViewReader } from './view-reader.ts';
import type { ReaderApi, ReaderData } from './views-sqlite-reader.ts';

/** Queries under way at most; beyond it, `overloaded` at once. */
const queriesLimit = 1_000;

export class SqliteViewReader implements ViewReader {
  readonly db: Kysely<ViewTables>;
  readonly #thread: Thread<ReaderApi>;
  #state: ProjectorState | undefined;

  /** Starts the thread; the views must be there by the first query. */
  constructor(folder: string) {
    this.#thread = new Thread<ReaderApi>('projections/views-sqlite-reader', {
      folder,
    } satisfies ReaderData);
    this.db = new Kysely<ViewTables>({ dialect: threadDialect(this.#thread), plugins: [new JsonColumns()] });
  }

  async standing(): Promise<Standing> {
    const { generation, position, rebuild } = this.#state ?? { generation: 0, position: 0, rebuild: null };
    return { generation, position, rebuild };
  }

  snapshot(table: string): Promise<StoredSnapshot> {
    return this.#thread.call('snapshot', table);
  }

  digest(): Promise<ViewsDigest> {
    return this.#thread.call('digest');
  }

  moved(state: ProjectorState): void {
    const switched = state.generation !== this.#state?.generation;
    this.#state = state;
    // Calls are answered in order: what is asked after this is answered by the new generation.
    if (switched && state.generation > 0) this.#thread.call('reopen').catch(() => {}); // a dead thread fails the queries themselves
  }

  async close(): Promise<void> {
    await this.db.destroy();
    await this.#thread.call('close').catch(() => {}); // it may be dead already
    await this.#thread.end();
  }
}

function threadDialect(thread: Thread<ReaderApi>): Dialect {
  return {
    createAdapter: () => new SqliteAdapter(),
    createDriver: () => new ThreadDriver(thread),
    createIntrospector: (db) => new SqliteIntrospector(db),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  };
}

/** Reads only, one statement at a time: there are no transactions to keep connections apart for. */
class ThreadDriver implements Driver {
  readonly #connection: DatabaseConnection;

  constructor(thread: Thread<ReaderApi>) {
    let running = 0;
    this.#connection = {
      async executeQuery<R>({ sql, parameters }: CompiledQuery): Promise<QueryResult<R>> {
        if (running >= queriesLimit) throw new Fault('overloaded', `${queriesLimit} queries are waiting already`);
        running++;
        try {
          return { rows: (await thread.call('query', sql, parameters)) as R[] }; // Kysely's own claim about the query it compiled
        } finally {
          running--;
        }
      },
      // biome-ignore lint/correctness/useYield: refused, not streamed
      async *streamQuery() {
        throw new Error('views in SQLite are not streamed: page by key');
      },
    };
  }

  async init(): Promise<void> {}
  async acquireConnection(): Promise<DatabaseConnection> {
    return this.#connection;
  }
  async beginTransaction(): Promise<void> {
    throw new Error('views are read one statement at a time');
  }
  async commitTransaction(): Promise<void> {}
  async rollbackTransaction(): Promise<void> {}
  async releaseConnection(): Promise<void> {}
  async destroy(): Promise<void> {}
}
