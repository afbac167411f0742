/** The tables of the log in PostgreSQL: made here, refused here when they are not ours or newer than this hub. */
import type pg from 'pg';
import { Fault } from '../errors.ts';
import * as sql from './log-postgres.sql.ts';

export interface About {
  readonly id: string;
  readonly segmentSize: number;
}

/** What a log in the database says of itself, and the position it had reached. */
export interface Found extends About {
  readonly head: number;
}

/** Any number that nothing else in the database is likely to lock: 'fedl' and the version of this protocol. */
const creationLock = 0x6665646c_01;

/**
 * Makes the tables in a database that has none of them, or reads what a log of ours says of itself. All in one transaction
 * and under a lock, so that replicas may start at once. Throws for tables of somebody else, for a newer schema, for a
 * database that is not UTF-8, and `log_unavailable` when the server cannot be reached.
 */
export async function prepareSchema(pool: pg.Pool, about: About): Promise<Found> {
  if (!Number.isSafeInteger(about.segmentSize) || about.segmentSize < 1) {
    throw new TypeError(`${about.segmentSize} is no size of a segment`);
  }
  let client: pg.PoolClient | undefined;
  try {
    client = await pool.connect();
    const found = await inTransaction(client, about);
    client.release();
    return found;
  } catch (error) {
    client?.release(true);
    if (error instanceof Refused) throw new Error(error.message);
    throw new Fault('log_unavailable', 'the event log in PostgreSQL could not be opened', error);
  }
}

class Refused extends Error {}

/**
 * Makes the tables in the transaction that `client` is in, for a log that is restored. Throws when tables of these names are
 * there, whoever made them.
 */
export async function prepareEmpty(client: pg.ClientBase, about: About): Promise<void> {
  const there = await tablesThere(client);
  if (there > 0) throw new Error('the database has a log already: a log is restored into an empty place only');
  await client.query(sql.createLog(about.id, about.segmentSize));
}

async function inTransaction(client: pg.PoolClient, about: About): Promise<Found> {
  await client.query('BEGIN');
  const there = await tablesThere(client);
  if (there === 0) await client.query(sql.createLog(about.id, about.segmentSize));
  else if (there < sql.tables.length) throw new Refused('the database has only some of the tables of a log');
  const found = await readAbout(client);
  await client.query('COMMIT');
  return found;
}

/** How many of the tables are there; nobody makes any until the transaction ends. Throws for those of somebody else. */
async function tablesThere(client: pg.ClientBase): Promise<number> {
  await client.query('SELECT pg_advisory_xact_lock($1)', [creationLock]);
  await checkEncoding(client);
  const { rows } = await client.query<{ name: string; comment: string | null }>(sql.readTables, [sql.tables]);
  const foreign = rows.filter((table) => table.comment !== sql.mark).map((table) => table.name);
  if (foreign.length > 0) {
    throw new Refused(`the database has tables that no hub made: ${foreign.join(', ')}; they are left alone`);
  }
  return rows.length;
}

async function checkEncoding(client: pg.ClientBase): Promise<void> {
  const { rows } = await client.query<{ server_encoding: string }>('SHOW server_encoding');
  const encoding = rows[0]?.server_encoding;
  if (encoding !== 'UTF8') throw new Refused(`the encoding of the database is ${encoding}; the log needs UTF8`);
}

async function readAbout(client: pg.PoolClient): Promise<Found> {
  const { rows } = await client.query<{ id: string; size: number; version: number; head: number }>(sql.readAbout);
  const row = rows[0];
  if (!row) throw new Refused('the log in the database says nothing of itself');
  if (row.version > sql.schemaVersion) {
    throw new Refused(
      `the log was made by a newer hub (schema ${row.version}, this one knows ${sql.schemaVersion}); start that version`,
    );
  }
  return { id: row.id, segmentSize: row.size, head: row.head };
}
