/** A database of its own for each test that wants one, on the server that the set-up started. */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';

export interface FreshDatabase {
  readonly url: string;
  /** Removes it, and cuts whoever is still connected. */
  drop(): Promise<void>;
}

/** Creates an empty database, on the server of the set-up unless another is named. */
export async function freshDatabase(serverUrl: string = inject('postgresUrl')): Promise<FreshDatabase> {
  const name = `fedhub_test_${randomBytes(6).toString('hex')}`;
  // template0 is the one template nobody is connected to, so databases can be made at the same time
  await administer(serverUrl, `CREATE DATABASE ${name} TEMPLATE template0 ENCODING 'UTF8'`);
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return { url: url.href, drop: () => administer(serverUrl, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`) };
}

async function administer(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
