/** Records of keys that do not unwrap: a rotation of the master key goes on with all others, names these everywhere, and ends when they are mended or gone. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { call } from '../security/visitor.ts';
import { type HubProcess, program, startHubProcess } from '../setup/hub-process.ts';
import { noLimits } from '../setup/no-limits.ts';

const secrets = 6;

interface KeyRow {
  readonly id: string;
  readonly secret_id: string;
  readonly master_id: string;
  readonly wrapped: string;
}

let folder: string;
let hub: HubProcess;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'fedhub-vault-damaged-'));
  hub = await startHubProcess(folder, { PORT: '0', ...noLimits });
});
afterAll(async () => {
  hub?.child.kill('SIGTERM');
  await hub?.exited;
  await rm(folder, { recursive: true, force: true });
});

const ask = async (method: string, route: string, body?: unknown) =>
  (await call({ url: hub.url, federationId: '', adminToken: '' }, method, route, { token: hub.adminToken!, body }))
    .body;
const told = (id: string) => ask('GET', `/secrets/${id}`);
const keyFile = () => readFile(path.join(folder, 'data', 'vault.key'), 'utf8');
const fedhub = async (...args: string[]) => {
  const env = { PATH: process.env.PATH, FEDHUB_URL: hub.url, FEDHUB_TOKEN: hub.adminToken! };
  return (await promisify(execFile)(process.execPath, [program, ...args], { env })).stdout;
};
const inMetrics = async () => {
  const text = await (await fetch(`${hub.url}/metrics`)).text();
  return /^federation_vault_keys_stuck (\d+)$/m.exec(text)?.[1];
};

/** What is done with the store of keys. */
function withKeys<T>(work: (db: Database.Database) => T): T {
  const db = new Database(path.join(folder, 'data', 'keyring.db'), { timeout: 5_000 });
  try {
    return work(db);
  } finally {
    db.close();
  }
}
function put({ id, master_id, wrapped }: Pick<KeyRow, 'id' | 'master_id' | 'wrapped'>): void {
  withKeys((db) =>
    db.prepare('UPDATE federation_vault_keys SET master_id = ?, wrapped = ? WHERE id = ?').run(master_id, wrapped, id),
  );
}

it('one that was changed, and one of a master key that nobody has', async () => {
  for (let at = 0; at < secrets; at++) await ask('PUT', `/secrets/@federation:s${at}`, { value: `value ${at}` });
  const rows = withKeys((db) =>
    db.prepare<[], KeyRow>("SELECT * FROM federation_vault_keys WHERE id <> 'first' ORDER BY id").all(),
  );
  expect(rows).toHaveLength(secrets);
  const [changed, foreign, ...sound] = rows as [KeyRow, KeyRow, ...KeyRow[]]; // those that a rotation comes to first
  put({ ...changed, wrapped: sound[0]!.wrapped });
  put({ ...foreign, master_id: 'of-nobody-0000000' });
  const { master } = await ask('GET', '/secrets/master');
  const [, oldKey] = /^current (.+)$/m.exec(await keyFile())!;

  await ask('POST', '/secrets/master/rotate');
  await vi.waitFor(async () => {
    expect(await ask('GET', '/secrets/master')).toMatchObject({ rotating: true, keys: secrets, remaining: 2 });
  }, 10_000);
  const status = await ask('GET', '/secrets/master');
  expect(status.master).not.toBe(master);
  expect(status.stuck).toEqual([changed, foreign].map(({ id, secret_id }) => ({ key_id: id, secret_id, version: 1 })));
  expect(await fedhub('secret', 'status')).toContain(`cannot be unwrapped: ${changed.secret_id}, version 1`);
  expect(await inMetrics()).toBe('2');
  expect([(await told(changed.secret_id)).code, (await told(foreign.secret_id)).code]).toEqual([
    'secret_lost',
    'vault_shut',
  ]);
  for (const { secret_id } of sound) expect((await told(secret_id)).value).toMatch(/^value \d$/);
  expect(await keyFile()).toContain(oldKey); // what is left may still need it

  put(changed);
  await ask('DELETE', `/secrets/${foreign.secret_id}/versions/1`);
  await ask('POST', '/secrets/master/rotate'); // has it tried at once
  await vi.waitFor(async () => {
    expect(await ask('GET', '/secrets/master')).toMatchObject({ rotating: false, remaining: 0, stuck: [] });
  }, 10_000);
  expect((await told(changed.secret_id)).value).toMatch(/^value \d$/);
  expect(await inMetrics()).toBe('0');
  expect(await keyFile()).not.toContain(oldKey);
});

it('a rotation that cannot go on says so in the status of the hub, until it can', async () => {
  const file = path.join(folder, 'data', 'vault.key');
  const vault = async () => {
    const { services } = (await ask('GET', '/status')) as unknown as { services: { name: string }[] };
    return services.find(({ name }) => name === 'secrets-vault');
  };
  expect(await vault()).toMatchObject({ state: 'running' });
  await rename(file, `${file}.away`);
  await ask('POST', '/secrets/master/rotate');
  await vi.waitFor(async () => {
    expect(await vault()).toMatchObject({ state: 'degraded', reason: expect.stringContaining('not done') });
  }, 10_000);
  await rename(`${file}.away`, file);
  await ask('POST', '/secrets/master/rotate');
  await vi.waitFor(async () => {
    expect(await vault()).toMatchObject({ state: 'running' });
    expect(await ask('GET', '/secrets/master')).toMatchObject({ rotating: false, remaining: 0 });
  }, 10_000);
});
