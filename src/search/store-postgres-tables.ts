/** The tables of the index in PostgreSQL: made when they are missing, made anew when they are of an older hub, left alone when they are another's. */
import type pg from 'pg';
import { inTransaction } from '../projections/postgres-session.ts';
import { searchVersion } from './store.ts';

/** Everything of ours carries this comment; what has one of our names without it belongs to someone else. */
const mark = 'made by the federation hub';

/** Several replicas that start at once do this one after the other: 'feds'. */
const startLock = 0x66656473;

const names = ['federation_search_about', 'federation_search_documents'];

/** The words of a document, of its text and title and what stands for its labels: the index is over this. */
export const vector = `array_to_tsvector(string_to_array(btrim(labels || title || text, '<>'), '><'))`;

const aboutTable = `CREATE TABLE IF NOT EXISTS federation_search_about (
  log_id text NOT NULL, version integer NOT NULL, position bigint NOT NULL, documents bigint NOT NULL)`;

/** The list of what came lately is kept short: each question reads all of it. */
const documentsTable = `
CREATE TABLE federation_search_documents (
  number bigint PRIMARY KEY, position bigint NOT NULL UNIQUE, kind text NOT NULL, id text COLLATE "C" NOT NULL,
  rank text COLLATE "C" NOT NULL, subject text, expires_at bigint, labels text NOT NULL, title text NOT NULL, text text NOT NULL,
  letters integer NOT NULL, UNIQUE (kind, id));
COMMENT ON TABLE federation_search_documents IS '${mark}';
CREATE INDEX federation_search_words ON federation_search_documents USING gin ((${vector}))
  WITH (fastupdate = on, gin_pending_list_limit = 512);
CREATE INDEX federation_search_subjects ON federation_search_documents (subject) WHERE subject IS NOT NULL;
CREATE INDEX federation_search_expiries ON federation_search_documents (expires_at) WHERE expires_at IS NOT NULL`;

/** What the index says of itself. */
export interface AboutIndex {
  readonly logId: string;
  readonly version: number;
  readonly position: number;
}

/** Throws, and changes nothing, when a name is taken by something the hub did not make. */
export async function prepareTables(pool: pg.Pool): Promise<void> {
  await inTransaction(pool, async (client) => {
    await client.query('SELECT pg_advisory_xact_lock($1)', [startLock]);
    const { rows } = await client.query<{ relname: string }>(
      `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = ANY($1::text[])
       AND obj_description(oid, 'pg_class') IS DISTINCT FROM $2`,
      [names, mark],
    );
    if (rows[0]) throw new Error(`public.${rows[0].relname} exists and was not made by the federation hub`);
    await client.query(aboutTable);
    await client.query(`COMMENT ON TABLE federation_search_about IS '${mark}'`);
  });
}

/** Undefined before there is an index. `lock`: holds other writers off until the transaction ends. */
export async function aboutIndex(client: pg.Pool | pg.PoolClient, lock = ''): Promise<AboutIndex | undefined> {
  const { rows } = await client.query<AboutIndex>(
    `SELECT log_id AS "logId", version, position FROM federation_search_about ${lock}`,
  );
  return rows[0];
}

/** Makes an empty index in place of what is there. */
export async function beginAnew(client: pg.PoolClient, logId: string): Promise<void> {
  await client.query('SELECT pg_advisory_xact_lock($1)', [startLock]);
  await client.query('DROP TABLE IF EXISTS federation_search_documents');
  await client.query(documentsTable);
  await client.query('DELETE FROM federation_search_about');
  await client.query('INSERT INTO federation_search_about VALUES ($1, $2, 0, 0)', [logId, searchVersion]);
}

/** Takes away what is ours of the index; what has one of our names and is another's stays. */
export async function dropTables(client: pg.PoolClient): Promise<void> {
  await client.query('SELECT pg_advisory_xact_lock($1)', [startLock]);
  const { rows } = await client.query<{ relname: string }>(
    `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = ANY($1::text[])
     AND obj_description(oid, 'pg_class') = $2`,
    [names, mark],
  );
  for (const { relname } of rows) await client.query(`DROP TABLE public.${relname}`);
}
