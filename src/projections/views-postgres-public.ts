/** What the hub owns in the schema `public` of a views database: tables about the views, and the SQL views that people query. */
import type pg from 'pg';
import { type AnyProjection, tablesOf } from './catalog.ts';
import { Fenced, type Generation } from './generation.ts';
import { inTransaction } from './postgres-session.ts';

/** Everything of ours carries this comment; what has one of our names without it belongs to someone else. */
const mark = 'made by the federation hub';

/** Several replicas that start at once do this one after the other. */
const startLock = 0x66656476;

/** Schema of a generation. */
export function schemaOf(number: number): string {
  return `federation_views_${number}`;
}

const checkpointsTable = `CREATE TABLE IF NOT EXISTS federation_views_checkpoints (
  generation bigint PRIMARY KEY, serves boolean NOT NULL, log_id text NOT NULL, fingerprint text NOT NULL,
  position bigint NOT NULL, epoch bigint NOT NULL, rebuild text)`;

/** Makes the tables about the views. Throws, and changes nothing, when a name is taken by something the hub did not make. */
export async function prepareDatabase(pool: pg.Pool, views: readonly AnyProjection[]): Promise<void> {
  await inTransaction(pool, async (client) => {
    await client.query('SELECT pg_advisory_xact_lock($1)', [startLock]);
    await refuseForeign(client, [...tablesOf(views).map((table) => table.name), 'federation_views_checkpoints']);
    await client.query(checkpointsTable);
    await client.query(`COMMENT ON TABLE federation_views_checkpoints IS '${mark}'`);
    await client.query(
      'CREATE UNIQUE INDEX IF NOT EXISTS federation_views_checkpoints_serves ON federation_views_checkpoints (serves) WHERE serves',
    );
  });
}

/** Shows a generation under the public names from the commit on. Waits at most 200 ms for each lock. */
export async function publishViews(
  client: pg.PoolClient,
  views: readonly AnyProjection[],
  generation: Generation,
): Promise<void> {
  await client.query(`SET LOCAL lock_timeout = '200ms'`);
  await refuseIfNewer(client, generation.epoch);
  const names = tablesOf(views).map((table) => table.name);
  await refuseForeign(client, names);
  for (const name of names) {
    // Dropped, not replaced: the columns may be others now.
    await client.query(`DROP VIEW IF EXISTS ${name}`);
    await client.query(`CREATE VIEW ${name} AS SELECT * FROM ${schemaOf(generation.number)}.${name}`);
    await client.query(`COMMENT ON VIEW ${name} IS '${mark}'`);
  }
  await client.query('UPDATE federation_views_checkpoints SET serves = false WHERE serves');
  await client.query('UPDATE federation_views_checkpoints SET serves = true WHERE generation = $1', [
    generation.number,
  ]);
}

/** Throws `Fenced` when what serves was claimed under a newer epoch; else holds such a claim back until this transaction ends. */
export async function refuseIfNewer(client: pg.PoolClient, epoch: number): Promise<void> {
  const { rows } = await client.query<{ epoch: number }>(
    'SELECT epoch FROM federation_views_checkpoints WHERE serves FOR UPDATE',
  );
  if (rows[0] && rows[0].epoch > epoch) throw new Fenced();
}

async function refuseForeign(client: pg.PoolClient, names: readonly string[]): Promise<void> {
  const { rows } = await client.query<{ relname: string }>(
    `SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
     WHERE nspname = 'public' AND relname = ANY($1::text[]) AND obj_description(pg_class.oid, 'pg_class') IS DISTINCT FROM $2`,
    [names, mark],
  );
  if (rows.length > 0) {
    const taken = rows.map((row) => `public.${row.relname}`).join(', ');
    throw new Error(
      `${taken} exists and was not made by the federation hub; it is left alone. Give the views a database of their own`,
    );
  }
}
