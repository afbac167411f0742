/** Reads views in PostgreSQL: Kysely over a pool, under the public names. */
import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import type { Kernel } from '../kernel.ts';
import { allProjections, deadLetterTable, type ViewTables } from './catalog.ts';
import type { ViewsDigest } from './digest.ts';
import type { RebuildNote } from './generation.ts';
import { inTransaction, numberTypes } from './postgres-session.ts';
import { JsonColumns, rebuildProgress, type Standing, type StoredSnapshot, type ViewReader } from './view-reader.ts';
import { digestOfSchema } from './views-postgres.ts';
import { schemaOf } from './views-postgres-public.ts';

const statementMs = 30_000;

export class PostgresViewReader implements ViewReader {
  readonly db: Kysely<ViewTables>;
  readonly #pool: pg.Pool;

  constructor(url: string, kernel: Kernel) {
    this.#pool = new pg.Pool({
      connectionString: url,
      max: 8,
      types: numberTypes,
      connectionTimeoutMillis: 5_000,
      application_name: 'federation-hub views',
      options: `-c search_path=public -c statement_timeout=${statementMs}`,
    });
    this.#pool.on('error', (error) => kernel.log.debug({ err: error }, 'an idle connection to the views was lost'));
    this.db = new Kysely<ViewTables>({
      dialect: new PostgresDialect({ pool: this.#pool }),
      plugins: [new JsonColumns()],
    });
  }

  async standing(): Promise<Standing> {
    const { rows } = await this.#pool.query<{
      generation: number;
      position: number;
      rebuild: string | null;
      filled: number;
    }>({
      name: 'views-standing',
      text: `SELECT serving.generation, serving.position, serving.rebuild,
          coalesce((SELECT position FROM federation_views_checkpoints AS next
            WHERE next.generation = serving.generation + 1), serving.position) AS filled
        FROM federation_views_checkpoints AS serving WHERE serves`,
    });
    if (!rows[0]) return { generation: 0, position: 0, rebuild: null };
    const { generation, position, rebuild, filled } = rows[0];
    const note = rebuild === null ? null : (JSON.parse(rebuild) as RebuildNote); // written by `Generation.note` alone
    return { generation, position, rebuild: rebuildProgress(note, filled) };
  }

  /** Reads the tables of the generation by their own names: a SQL view may be switched within a transaction's snapshot. */
  snapshot(table: string): Promise<StoredSnapshot> {
    return inTransaction(this.#pool, async (client) => {
      await client.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY');
      const { rows } = await client.query<{ generation: number; logId: string; fingerprint: string; position: number }>(
        `SELECT generation, log_id AS "logId", fingerprint, position FROM federation_views_checkpoints WHERE serves`,
      );
      const { generation, ...about } = rows[0]!; // the views were there when this reader was made
      const schema = schemaOf(generation);
      const stored = await client.query(`SELECT * FROM ${schema}.${table}`);
      const parked = await client.query<{ id: string }>(
        `SELECT id FROM ${schema}.${deadLetterTable.name} WHERE view = $1`,
        [table],
      );
      return { ...about, rows: stored.rows, parkedIds: parked.rows.map((row) => row.id) };
    });
  }

  async digest(): Promise<ViewsDigest> {
    const { generation } = await this.standing();
    return digestOfSchema(this.#pool, generation, allProjections);
  }

  moved(): void {}

  async close(): Promise<void> {
    await this.db.destroy(); // ends the pool
  }
}
