/** The most that the same table takes over one connection: multi-row inserts back to back, judging nothing. */
import pg from 'pg';
import { aFact, aStream } from '../facts.ts';
import { createTable } from './postgres-tables.ts';

export interface UnnestPeer {
  /** Inserts `rows` events in one statement, each to a stream of its own. */
  insert(rows: number): Promise<void>;
  close(): Promise<void>;
}

export async function unnestPeer(url: string): Promise<UnnestPeer> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(createTable);
  return {
    async insert(rows) {
      const facts = Array.from({ length: rows }, aFact);
      await client.query({
        ...statement,
        values: [
          facts.map(aStream),
          facts.map(() => 0),
          facts.map(({ id }) => id),
          facts.map(({ type }) => type),
          facts.map(({ version }) => version),
          facts.map(({ time }) => time),
          facts.map(({ data }) => data),
          facts.map(({ meta }) => meta),
        ],
      });
    },
    close: () => client.end(),
  };
}

const statement = {
  name: 'insert_many',
  text: `INSERT INTO bare_log (stream, revision, id, type, version, time, data, meta)
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::uuid[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::text[])`,
};
