/** A log that is older than the keys of the vault, as after a backup that was restored: no key goes that a newer log may still need. */
import { copyFile, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { call } from '../security/visitor.ts';
import { type HubProcess, startHubProcess } from '../setup/hub-process.ts';
import { noLimits } from '../setup/no-limits.ts';

let folder: string;
let token = '';
let hub: HubProcess | undefined;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'fedhub-vault-restored-'));
});
afterAll(async () => {
  await stop();
  await rm(folder, { recursive: true, force: true });
});

const data = (name = '') => path.join(folder, 'data', name);
async function start(): Promise<void> {
  hub = await startHubProcess(folder, { PORT: '0', ...noLimits });
  token = hub.adminToken ?? token;
}
async function stop(): Promise<void> {
  hub?.child.kill('SIGTERM');
  await hub?.exited;
  hub = undefined;
}
const ask = async (method: string, name: string, body?: unknown) =>
  (
    await call({ url: hub!.url, federationId: '', adminToken: '' }, method, `/secrets/@federation:${name}`, {
      token,
      body,
    })
  ).body;

interface KeyRow {
  id: string;
  secret_id: string;
}

/** What is done with the store of keys. */
function withKeys<T>(work: (db: Database.Database) => T): T {
  const db = new Database(data('keyring.db'), { timeout: 5_000 });
  try {
    return work(db);
  } finally {
    db.close();
  }
}
const keysOf = (name: string) =>
  withKeys((db) =>
    db.prepare<[string], KeyRow>('SELECT * FROM federation_vault_keys WHERE secret_id = ?').all(`@federation:${name}`),
  );

/** Keeps the log, or puts back the one that was kept; what is made from it goes. */
async function keepLog(as: string): Promise<void> {
  await copyFile(data('log.db'), path.join(folder, as));
}
async function putLog(as: string): Promise<void> {
  for (const name of await readdir(data()))
    if (!['keyring.db', 'vault.key'].includes(name)) await rm(data(name), { recursive: true });
  await copyFile(path.join(folder, as), data('log.db'));
}

it('keys that the log says are over go, those that it does not know stay for a log that does', async () => {
  await start();
  await ask('PUT', 'kept', { value: 'first' });
  await ask('PUT', 'gone', { value: 'x' });
  const [over] = keysOf('gone');
  await ask('DELETE', 'gone');
  expect(keysOf('gone')).toEqual([]);
  await stop();
  await keepLog('older.db');
  await start();
  await ask('PUT', 'kept', { value: 'second' });
  await ask('PUT', 'late', { value: 'late' });
  await stop();
  await keepLog('newer.db');

  withKeys((db) => {
    // As if a crash had come before it was destroyed.
    db.prepare('INSERT INTO federation_vault_keys VALUES (@id, @secret_id, @created_at, @master_id, @wrapped)').run(
      over,
    );
    const hourAgo = new Date(Date.now() - 3_600_000).toISOString();
    db.prepare('UPDATE federation_vault_keys SET created_at = ?').run(hourAgo); // none of them is of a version that is being written
  });
  await putLog('older.db');
  await start();
  expect((await ask('GET', 'kept')).value).toBe('first');
  expect((await ask('GET', 'late')).code).toBe('not_found');
  await vi.waitFor(() => expect(keysOf('gone')).toEqual([]), 10_000);
  await stop();
  await putLog('newer.db');
  await start();
  expect([(await ask('GET', 'kept')).value, (await ask('GET', 'late')).value]).toEqual(['second', 'late']);
});
