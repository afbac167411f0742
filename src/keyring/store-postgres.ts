/**
 * The keyring in three tables of the log's database, which a backup of the log leaves out. PostgreSQL keeps deleted rows until
 * they are vacuumed, and in its write-ahead log for as long as that is kept: who archives that keeps keys too.
 */
import pg from 'pg';
import { Fault } from '../errors.ts';
import type { DataKeyRecord, KeyRecord, KeyringStore } from './store.ts';
import { postgresVaultKeys, vaultColumns, vaultTable } from './vault-keys-postgres.ts';

/** Connections of one replica; keys are cached, so few are ever needed. */
const mostConnections = 2;
const timeoutMs = 10_000;

/** `url` as PostgreSQL takes it. Throws `Fault('log_unavailable')` when the server is not there. */
export function postgresKeyring(url: string): KeyringStore {
  const pool = new pg.Pool({
    connectionString: url,
    max: mostConnections,
    connectionTimeoutMillis: timeoutMs,
    query_timeout: timeoutMs,
    statement_timeout: timeoutMs,
    application_name: 'federation-hub keyring',
  });
  pool.on('error', () => {}); // an idle connection was lost; the next call makes another
  const query = (text: string, values: unknown[] = []) => told(() => pool.query(text, values));
  const dataKey = async (subject: string): Promise<unknown> => {
    const { rows } = await query(`SELECT ${dataKeyColumns} FROM federation_data_keys WHERE subject = $1`, [subject]);
    return rows[0];
  };
  return {
    ensure: (make) => told(() => inTransaction(pool, (client) => ensureRows(client, make))),
    keys: async () => (await query(selectKeys)).rows,
    async add(records) {
      await told(() => inTransaction(pool, (client) => insertKeys(client, records)));
    },
    async remove(ids) {
      await query('DELETE FROM federation_keyring WHERE id = ANY($1)', [ids]);
    },
    dataKey,
    async dataKeyIds(subjects) {
      const { rows } = await query('SELECT id FROM federation_data_keys WHERE subject = ANY($1)', [subjects]);
      return rows.map(({ id }) => id as string); // the column is text
    },
    async keepDataKey({ id, subject, created_at, wrap_id, wrapped }: DataKeyRecord) {
      await query(
        `INSERT INTO federation_data_keys (${dataKeyColumns}) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (subject) DO NOTHING`,
        [id, subject, created_at, wrap_id, wrapped],
      );
      return dataKey(subject);
    },
    async removeDataKeys(subject) {
      const { rowCount } = await query('DELETE FROM federation_data_keys WHERE subject = $1', [subject]);
      return rowCount ?? 0;
    },
    vault: postgresVaultKeys(query),
    async close() {
      if (!pool.ending) await pool.end();
    },
  };
}

const dataKeyColumns = 'id, subject, created_at, wrap_id, wrapped';
const selectKeys = 'SELECT id, purpose, created_at, active_at, secret FROM federation_keyring';

const tables = `
CREATE TABLE IF NOT EXISTS federation_keyring (
  id text PRIMARY KEY, purpose text NOT NULL, created_at text NOT NULL, active_at text NOT NULL, secret text NOT NULL);
CREATE TABLE IF NOT EXISTS federation_data_keys (
  subject text PRIMARY KEY, id text NOT NULL, created_at text NOT NULL, wrap_id text NOT NULL, wrapped text NOT NULL);
${vaultTable}`;

/** Under a lock, because `CREATE TABLE IF NOT EXISTS` alone fails when two replicas start at once. */
async function ensureRows(client: pg.PoolClient, make: () => Promise<KeyRecord[]>): Promise<unknown[]> {
  await client.query("SELECT pg_advisory_xact_lock(hashtext('federation_keyring'))");
  await client.query(tables);
  await client.query(`SELECT ${dataKeyColumns} FROM federation_data_keys LIMIT 0`); // fails for a table that is not ours
  await client.query(`SELECT ${vaultColumns} FROM federation_vault_keys LIMIT 0`);
  const { rows } = await client.query(selectKeys);
  if (rows.length > 0) return rows;
  await insertKeys(client, await make());
  return (await client.query(selectKeys)).rows;
}

async function insertKeys(client: pg.PoolClient, records: readonly KeyRecord[]): Promise<void> {
  for (const { id, purpose, created_at, active_at, secret } of records) {
    await client.query(
      'INSERT INTO federation_keyring (id, purpose, created_at, active_at, secret) VALUES ($1, $2, $3, $4, $5)',
      [id, purpose, created_at, active_at, secret],
    );
  }
}

async function inTransaction<T>(pool: pg.Pool, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  client.on('error', () => {}); // a connection that breaks fails the query under way, which says so
  try {
    await client.query('BEGIN');
    const value = await work(client);
    await client.query('COMMIT');
    client.release();
    return value;
  } catch (error) {
    client.release(true); // ends the connection, and with it the transaction
    throw error;
  }
}

async function told<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof pg.DatabaseError && error.code === '42703') {
      const detail =
        'a table federation_keyring, federation_data_keys or federation_vault_keys was not made by this hub; it was left as it is';
      throw new Error(detail, { cause: error }); // undefined_column
    }
    throw new Fault('log_unavailable', 'the keyring in PostgreSQL could not be reached', error);
  }
}
