/**
 * Views in PostgreSQL: one schema a generation, `federation_views_<N>`, and in `public` one SQL view a table that shows the
 * generation that serves. Switching replaces all SQL views in one transaction.
 *
 * Locks are waited for shortly and tried again, so that neither a switch nor a drop queues in front of readers, and well
 * below the time after which the server looks for deadlocks and would end a reader.
 */
import pg from 'pg';
import { type AnyProjection, columnOf, type DeadLetter, deadLetterTable, type Row, tablesOf } from './catalog.ts';
import type { ColumnType, Sweep, TableSpec } from './define.ts';
import { digestOf, type ViewsDigest } from './digest.ts';
import { type Checkpoint, Fenced, Generation, type RebuildNote, type ViewStore } from './generation.ts';
import { inTransaction, isLockTimeout, numberTypes } from './postgres-session.ts';
import type { Batch } from './project.ts';
import { columnNames, fromStored, toStored } from './rows.ts';
import { prepareDatabase, publishViews, refuseIfNewer, schemaOf } from './views-postgres-public.ts';

const sqlTypes: Record<ColumnType, string> = {
  // Byte order, as SQLite sorts.
  text: 'text COLLATE "C"',
  integer: 'bigint',
  real: 'double precision',
  json: 'text COLLATE "C"',
};
const arrayTypes: Record<ColumnType, string> = {
  text: 'text[]',
  integer: 'bigint[]',
  real: 'float8[]',
  json: 'text[]',
};

export interface PostgresViewOptions {
  readonly url: string;
  readonly views: readonly AnyProjection[];
}

/** Opens the views of a database; makes the tables about them when they are missing. Refuses foreign tables of their names. */
export async function openPostgresViewStore({ url, views }: PostgresViewOptions): Promise<ViewStore> {
  const pool = new pg.Pool({
    connectionString: url,
    max: 3,
    types: numberTypes,
    connectionTimeoutMillis: 5_000,
    application_name: 'federation-hub projector',
    // A replica that was paused in mid-batch must not hold its locks against its successor.
    options:
      '-c search_path=public -c idle_in_transaction_session_timeout=5000 -c statement_timeout=60000 -c lock_timeout=5000',
  });
  pool.on('error', () => {}); // an idle connection was lost: the next call takes another, and fails by itself if none can be had
  try {
    await prepareDatabase(pool, views);
  } catch (error) {
    await pool.end();
    throw error;
  }
  return new PostgresViewStore(pool, views);
}

class PostgresViewStore implements ViewStore {
  readonly #pool: pg.Pool;
  readonly #views: readonly AnyProjection[];

  constructor(pool: pg.Pool, views: readonly AnyProjection[]) {
    this.#pool = pool;
    this.#views = views;
  }

  async current(epoch: number): Promise<Generation | undefined> {
    for (;;) {
      // Waits for what the former holder is committing. It may be a switch: then this finds neither row, and looks again.
      const claimed = await this.#pool.query<{ generation: number }>(
        'UPDATE federation_views_checkpoints SET epoch = greatest(epoch, $1) WHERE serves RETURNING generation',
        [epoch],
      );
      if (claimed.rows[0]) return this.#openGeneration(claimed.rows[0].generation, epoch);
      const { rowCount } = await this.#pool.query('SELECT FROM federation_views_checkpoints WHERE serves');
      if (rowCount === 0) return undefined;
    }
  }

  async create(number: number, epoch: number, start: Omit<Checkpoint, 'position'>): Promise<Generation> {
    await inTransaction(this.#pool, async (client) => {
      const schema = schemaOf(number);
      // The epoch is judged under the lock on the generation that serves, as every write is.
      await refuseIfNewer(client, epoch);
      await client.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
      await client.query(`CREATE SCHEMA ${schema}`);
      for (const table of tablesOf(this.#views)) await client.query(createTable(schema, table));
      await client.query(
        `INSERT INTO federation_views_checkpoints (generation, serves, log_id, fingerprint, position, epoch, rebuild)
         VALUES ($1, false, $2, $3, 0, $4, $5)
         ON CONFLICT (generation) DO UPDATE SET log_id = $2, fingerprint = $3, position = 0, epoch = $4, rebuild = $5`,
        [number, start.logId, start.fingerprint, epoch, start.rebuild && JSON.stringify(start.rebuild)],
      );
    });
    return this.#openGeneration(number, epoch);
  }

  async serve(generation: Generation, rebuild: RebuildNote | null): Promise<void> {
    await generation.note(rebuild);
    for (let attempt = 0; ; attempt++) {
      try {
        await inTransaction(this.#pool, (client) => publishViews(client, this.#views, generation));
        return;
      } catch (error) {
        if (!isLockTimeout(error) || attempt >= 50) throw error; // readers come and go; each try waits 200 ms for a gap
      }
    }
  }

  async retireAllBut(numbers: readonly number[]): Promise<boolean> {
    const { rows } = await this.#pool.query<{ nspname: string }>(
      `SELECT nspname FROM pg_namespace WHERE nspname ~ '^federation_views_[0-9]+$'`,
    );
    let gone = true;
    for (const { nspname } of rows) {
      const number = Number(nspname.slice('federation_views_'.length));
      if (numbers.includes(number)) continue;
      try {
        await inTransaction(this.#pool, async (client) => {
          await client.query(`SET LOCAL lock_timeout = '200ms'`);
          const known = await client.query(
            'DELETE FROM federation_views_checkpoints WHERE generation = $1 AND NOT serves',
            [number],
          );
          if (known.rowCount === 1) await client.query(`DROP SCHEMA ${nspname} CASCADE`);
        });
      } catch (error) {
        if (!isLockTimeout(error)) throw error;
        gone = false;
      }
    }
    return gone;
  }

  async close(): Promise<void> {
    if (!this.#pool.ended) await this.#pool.end();
  }

  async #openGeneration(number: number, epoch: number): Promise<Generation> {
    const { rows } = await this.#pool.query<StoredCheckpoint>(
      'SELECT * FROM federation_views_checkpoints WHERE generation = $1',
      [number],
    );
    const { log_id, fingerprint, position, rebuild } = rows[0]!;
    const letters = await this.#pool.query<DeadLetter>(`SELECT * FROM ${schemaOf(number)}.${deadLetterTable.name}`);
    const checkpoint = { logId: log_id, fingerprint, position, rebuild: rebuild === null ? null : JSON.parse(rebuild) };
    return new PostgresGeneration(this.#pool, number, epoch, this.#views, checkpoint, letters.rows);
  }
}

interface StoredCheckpoint {
  readonly log_id: string;
  readonly fingerprint: string;
  readonly position: number;
  readonly rebuild: string | null;
}

/** In one snapshot, on a connection of its own, so that projecting goes on. */
export function digestOfSchema(pool: pg.Pool, number: number, views: readonly AnyProjection[]): Promise<ViewsDigest> {
  return inTransaction(pool, async (client) => {
    await client.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY');
    const checkpoint = await client.query<Pick<ViewsDigest, 'position' | 'fingerprint'>>(
      'SELECT position, fingerprint FROM federation_views_checkpoints WHERE generation = $1',
      [number],
    );
    const digest = await digestOf(views, async (table, after, limit) => {
      const { rows } = await client.query<Row>(
        `SELECT * FROM ${schemaOf(number)}.${table.name} WHERE ${table.key} > $1 ORDER BY ${table.key} LIMIT ${limit}`,
        [after ?? ''],
      );
      return rows.map((stored) => fromStored(table, stored));
    });
    return { digest, ...checkpoint.rows[0]! }; // made with its schema
  });
}

class PostgresGeneration extends Generation {
  readonly #pool: pg.Pool;
  readonly #views: readonly AnyProjection[];
  readonly #schema: string;

  constructor(
    pool: pg.Pool,
    number: number,
    epoch: number,
    views: readonly AnyProjection[],
    checkpoint: Checkpoint,
    letters: readonly DeadLetter[],
  ) {
    super(number, epoch, checkpoint, letters);
    this.#pool = pool;
    this.#views = views;
    this.#schema = schemaOf(number);
  }

  async digest(): Promise<string> {
    return (await digestOfSchema(this.#pool, this.number, this.#views)).digest;
  }

  async close(): Promise<void> {}

  protected async fetch(table: TableSpec, keys: readonly string[]): Promise<ReadonlyMap<string, Row>> {
    const { rows } = await this.#pool.query<Row>({
      name: `load-${this.#schema}-${table.name}`,
      text: `SELECT * FROM ${this.#schema}.${table.name} WHERE ${table.key} = ANY($1::text[])`,
      values: [keys],
    });
    // keys are text
    return new Map(rows.map((stored) => [stored[table.key] as string, fromStored(table, stored)]));
  }

  protected async write(batch: Batch, next: Checkpoint): Promise<void> {
    await inTransaction(this.#pool, async (client) => {
      const moved = await client.query(
        'UPDATE federation_views_checkpoints SET position = $1, rebuild = $2 WHERE generation = $3 AND epoch = $4',
        [next.position, next.rebuild && JSON.stringify(next.rebuild), this.number, this.epoch],
      );
      if (moved.rowCount === 0) throw new Fenced();
      for (const [table, sweeps] of batch.sweeps) {
        for (const sweep of sweeps) await this.#sweep(client, table, sweep);
      }
      for (const [table, rows] of batch.changes) await this.#upsert(client, table, rows);
      await this.#upsert(client, deadLetterTable, batch.parked as ReadonlyMap<string, Row & DeadLetter>);
    });
  }

  async #sweep(client: pg.PoolClient, { name, key }: TableSpec, { from, to, only }: Sweep): Promise<void> {
    const sql = `DELETE FROM ${this.#schema}.${name} WHERE ${key} >= $1 AND ${key} <= $2`;
    if (only) await client.query(`${sql} AND ${only.column} = $3`, [from, to, only.value]);
    else await client.query(sql, [from, to]);
  }

  async #upsert(client: pg.PoolClient, table: TableSpec, rows: ReadonlyMap<string, Row | null>): Promise<void> {
    const names = columnNames(table);
    const columns: (string | number | null)[][] = names.map(() => []);
    const removed: string[] = [];
    for (const [key, row] of rows) {
      if (row) for (const [at, value] of toStored(table, row).entries()) columns[at]!.push(value);
      else removed.push(key);
    }
    if (columns[0]!.length > 0) {
      await client.query({
        name: `put-${this.#schema}-${table.name}`,
        text: upsertSql(this.#schema, table),
        values: columns,
      });
    }
    if (removed.length > 0) {
      await client.query(`DELETE FROM ${this.#schema}.${table.name} WHERE ${table.key} = ANY($1::text[])`, [removed]);
    }
  }
}

function createTable(schema: string, table: TableSpec): string {
  const columns = columnNames(table).map((name) => {
    const { type, nullable } = columnOf(table, name);
    return `${name} ${sqlTypes[type]}${nullable ? '' : ' NOT NULL'}`;
  });
  const indexes = (table.indexes ?? []).map(
    (names) => `CREATE INDEX ON ${schema}.${table.name} (${names.join(', ')});`,
  );
  return `CREATE TABLE ${schema}.${table.name} (${columns.join(', ')}, PRIMARY KEY (${table.key}));\n${indexes.join('\n')}`;
}

function upsertSql(schema: string, table: TableSpec): string {
  const names = columnNames(table);
  const arrays = names.map((name, at) => `$${at + 1}::${arrayTypes[columnOf(table, name).type]}`);
  const updates = names.filter((name) => name !== table.key).map((name) => `${name} = excluded.${name}`);
  const insert = `INSERT INTO ${schema}.${table.name} (${names.join(', ')}) SELECT * FROM unnest(${arrays.join(', ')})`;
  if (table.appendOnly) return insert;
  return `${insert}
    ON CONFLICT (${table.key}) DO UPDATE SET ${updates.join(', ')}`;
}
