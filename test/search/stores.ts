/** Indexes over real databases, each in an empty place of its own. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PostgresSearchStore } from '../../src/search/store-postgres.ts';
import { SqliteSearchStore } from '../../src/search/store-sqlite.ts';
import { freshDatabase } from '../setup/postgres.ts';
import type { OpenedStore } from './conformance.ts';

export async function sqliteStore(): Promise<OpenedStore & { readonly folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'fedhub-search-'));
  let store = new SqliteSearchStore(join(folder, 'search.db'));
  return {
    folder,
    store,
    async reopen() {
      await store.close();
      store = new SqliteSearchStore(join(folder, 'search.db'));
      return store;
    },
    async remove() {
      await store.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export async function postgresStore(): Promise<OpenedStore & { readonly url: string }> {
  const { url, drop } = await freshDatabase();
  let store = new PostgresSearchStore(url);
  return {
    url,
    store,
    async reopen() {
      await store.close();
      store = new PostgresSearchStore(url);
      return store;
    },
    async remove() {
      await store.close();
      await drop();
    },
  };
}
