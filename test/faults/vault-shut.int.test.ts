/** The vault without its master key, or with another: it says so and stays shut, the hub runs on, and it opens by itself. */
import { randomBytes, randomUUID } from 'node:crypto';
import { chmod, copyFile, mkdtemp, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { call, joinByHttp } from '../security/visitor.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { type HubProcess, startHubProcess } from '../setup/hub-process.ts';
import { noLimits } from '../setup/no-limits.ts';

let folder: string;
let token: string;
let hub: HubProcess | undefined;
const made = randomBytes(32).toString('hex');

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'fedhub-shut-'));
});
afterAll(async () => {
  await stop();
  await rm(folder, { recursive: true, force: true });
});

const keyFile = () => path.join(folder, 'data', 'vault.key');
async function start(env: Record<string, string> = {}): Promise<void> {
  await stop();
  hub = await startHubProcess(folder, { PORT: '0', ...noLimits, ...env });
  token = hub.adminToken ?? token;
}
async function stop(): Promise<void> {
  hub?.child.kill('SIGTERM');
  await hub?.exited;
  hub = undefined;
}
const ask = async (method: string, route: string, body?: unknown) => {
  const { status, body: answer } = await call({ url: hub!.url, federationId: '', adminToken: '' }, method, route, {
    token,
    body,
  });
  return { status, ...answer } as Record<string, unknown> & { status: number };
};
const read = async () => (await ask('GET', '/secrets/@federation:s')).value;
const vaultInStatus = async () => {
  const { services } = (await ask('GET', '/status')) as unknown as { services: { name: string }[] };
  return services.find(({ name }) => name === 'secrets-vault') as unknown as { state: string; reason?: string };
};
/** It is tried again with growing pauses. */
const opens = () => vi.waitFor(async () => expect(await read()).toBe('kept'), 25_000);
const isShut = async (reason: RegExp) => {
  for (const [method, route] of [
    ['GET', '/secrets'],
    ['GET', '/secrets/@federation:s'],
    ['DELETE', '/secrets/@federation:s'],
    ['POST', '/secrets/master/rotate'],
  ] as const) {
    const { status, code, detail } = await ask(method, route);
    expect([route, status, code, detail]).toEqual([route, 503, 'vault_shut', expect.stringMatching(reason)]);
  }
  await vi.waitFor(async () =>
    expect(await vaultInStatus()).toMatchObject({ state: 'failed', reason: expect.stringMatching(reason) }),
  ); // while it is tried again it is starting
  expect(JSON.stringify(await ask('GET', '/status'))).not.toContain(folder);
  await joinByHttp({ url: hub!.url, federationId: hub!.federationId, adminToken: '' }, `node-${randomUUID()}`); // the hub runs on
};

it('the first start makes a key file that its owner alone may read', async () => {
  await start();
  expect(await ask('PUT', '/secrets/@federation:s', { value: 'kept' })).toMatchObject({ status: 200 });
  expect((await stat(keyFile())).mode & 0o777).toBe(0o600);
  await start();
  expect(await read()).toBe('kept');
});

it('without its key file it is shut and makes no other; when the file is back, it opens by itself', async () => {
  await stop();
  await rename(keyFile(), `${keyFile()}.away`);
  await start();
  await isShut(/missing/);
  expect((await readdir(path.join(folder, 'data'))).filter((name) => name.startsWith('vault.key'))).toEqual([
    'vault.key.away',
  ]);
  await chmod(`${keyFile()}.away`, 0o640);
  await rename(`${keyFile()}.away`, keyFile());
  await vi.waitFor(async () => expect((await vaultInStatus()).reason).toMatch(/others may read/), 25_000);
  await chmod(keyFile(), 0o600);
  await opens();
  expect((await vaultInStatus()).state).toBe('running');
});

it('with another key it is shut, and says which it needs', async () => {
  const { master } = await ask('GET', '/secrets/master');
  await start({ FEDERATION_VAULT_KEY: made });
  await isShut(new RegExp(`${master}.*this replica has`));
});

it('with the new key and the one before, it turns to the new one by itself; then the old one counts no more', async () => {
  const [, old] = /^current (.+)$/m.exec(await readFile(keyFile(), 'utf8'))!;
  await start({ FEDERATION_VAULT_KEY: made, FEDERATION_VAULT_KEY_PREVIOUS: old! });
  expect(await read()).toBe('kept');
  await vi.waitFor(async () => {
    expect(await ask('GET', '/secrets/master')).toMatchObject({ source: 'environment', rotating: false, remaining: 0 });
  }, 10_000);
  expect(await ask('POST', '/secrets/master/rotate')).toMatchObject({ status: 409, code: 'master_key_external' });
  const { master } = await ask('GET', '/secrets/master');
  await start({ FEDERATION_VAULT_KEY: Buffer.from(made, 'hex').toString('base64') });
  expect([await read(), (await ask('GET', '/secrets/master')).master]).toEqual(['kept', master]);
  await start({ FEDERATION_VAULT_KEY: old! });
  await isShut(new RegExp(`${master}`));
  // A replica that was not told yet which of the two is the newer does not turn the vault back.
  await start({ FEDERATION_VAULT_KEY: old!, FEDERATION_VAULT_KEY_PREVIOUS: made });
  expect(await read()).toBe('kept');
  await ask('PUT', '/secrets/@federation:t', { value: 'x' });
  expect(await ask('GET', '/secrets/master')).toMatchObject({ master, rotating: false, remaining: 0 });
});

it('a replica that lacks the key to which the others turned says so and is shut, and opens by itself when it has it', async () => {
  const files = ['one', 'two'].map((name) => path.join(folder, `${name}.key`)) as [string, string];
  const first = await startTestHub({ database: 'postgres', env: { FEDERATION_VAULT_KEY_FILE: files[0] } });
  let second: TestHub | undefined;
  try {
    await copyFile(...files);
    second = await startTestHub({ env: { DATABASE_URL: first.databaseUrl!, FEDERATION_VAULT_KEY_FILE: files[1] } });
    const at = async (hub: TestHub, method: string, route: string, more?: unknown) =>
      (await call(hub, method, route, { token: first.adminToken, body: more })).body;
    await at(first, 'PUT', '/secrets/@federation:s', { value: 'kept' });
    expect((await at(second, 'GET', '/secrets/@federation:s')).value).toBe('kept');
    await at(first, 'POST', '/secrets/master/rotate'); // by the first, which has the duty
    const vaultOfSecond = async () =>
      ((await at(second!, 'GET', '/status')).services as { name: string }[]).find(
        ({ name }) => name === 'secrets-vault',
      );
    await vi.waitFor(async () => {
      expect(await vaultOfSecond()).toMatchObject({ state: 'failed', reason: expect.stringMatching(/master key/) });
    }, 10_000);
    expect((await at(first, 'GET', '/secrets/@federation:s')).value).toBe('kept');
    expect(await at(second, 'GET', '/secrets/@federation:s')).toMatchObject({ code: 'vault_shut' });
    await copyFile(...files);
    await vi.waitFor(async () => {
      expect((await at(second!, 'GET', '/secrets/@federation:s')).value).toBe('kept');
      expect(await vaultOfSecond()).toMatchObject({ state: 'running' });
    }, 25_000);
  } finally {
    await second?.stop();
    await first.stop();
  }
});
