/** A log as most programs write one: a pool, and a transaction an event that looks up the revision, then inserts. */
import pg from 'pg';
import { aFact, aStream } from '../facts.ts';
import { createTable } from './postgres-tables.ts';

export interface TransactionPeer {
  /** Writes one event to a stream of its own. */
  append(): Promise<void>;
  close(): Promise<void>;
}

/** Prepared statements, as the hub has them. `size`: connections. */
export async function transactionPeer(url: string, size: number): Promise<TransactionPeer> {
  const pool = new pg.Pool({ connectionString: url, max: size, idleTimeoutMillis: 0 });
  await pool.query(createTable);
  return {
    async append() {
      const client = await pool.connect();
      try {
        await client.query('BEGIN');
        const stream = aStream();
        const { rows } = await client.query<{ revision: string }>({ ...lastRevision, values: [stream] });
        const revision = rows[0] ? Number(rows[0].revision) + 1 : 0;
        const { id, type, version, time, data, meta } = aFact();
        await client.query({ ...insert, values: [stream, revision, id, type, version, time, data, meta] });
        await client.query('COMMIT');
      } finally {
        client.release();
      }
    },
    close: () => pool.end(),
  };
}

const lastRevision = {
  name: 'last_revision',
  text: 'SELECT revision FROM bare_log WHERE stream = $1 ORDER BY revision DESC LIMIT 1',
};
const insert = {
  name: 'insert',
  text: `INSERT INTO bare_log (stream, revision, id, type, version, time, data, meta)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
};
