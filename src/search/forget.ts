/** Takes an index away: it is made again from the log that there is when a hub starts. For a place that no hub serves from. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { inTransaction } from '../projections/postgres-session.ts';
import { dropTables } from './store-postgres-tables.ts';

/** In the folder of the views. */
export async function forgetSqliteIndex(folder: string): Promise<void> {
  for (const end of ['', '-wal', '-shm']) await rm(join(folder, `search.db${end}`), { force: true });
}

/** In the database of the views. */
export async function forgetPostgresIndex(url: string): Promise<void> {
  const pool = new pg.Pool({ connectionString: url, max: 1, connectionTimeoutMillis: 5_000 });
  try {
    await inTransaction(pool, dropTables);
  } finally {
    await pool.end();
  }
}
