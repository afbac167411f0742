/** Stopping, starting and dying: what nodes notice, and what is still there afterwards. */
import { execFile, spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FederationNode } from '../../src/client/node.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

const program = process.env.FEDHUB_PROGRAM ?? resolve(import.meta.dirname, '../../dist/cli/fedhub.js');
const pace = { FEDERATION_HEARTBEAT_SECONDS: '0.5', FEDERATION_SILENCE_SECONDS: '4' };
let folder: string;
const open: { close?(): unknown; stop?(): unknown }[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fedhub-restart-'));
});

afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await (thing.close?.() ?? thing.stop?.());
  await rm(folder, { recursive: true, force: true });
});

const start = async (env: Record<string, string> = {}) => {
  const hub = await startTestHub({ env: { ...pace, FEDERATION_DATA_DIR: join(folder, 'data'), ...env } });
  open.push(hub);
  return hub;
};

const enlist = async (hub: TestHub, nodeId: string) => {
  const node = new FederationNode({ url: hub.url, nodeId, keyFile: join(folder, `${nodeId}.json`) });
  node.on('error', () => {});
  open.push(node);
  return node.connect();
};

const get = async (hub: TestHub, token: string, path: string): Promise<unknown> =>
  (await fetch(`${hub.url}/api/federation${path}`, { headers: { authorization: `Bearer ${token}` } })).json();

describe('a hub that is stopped', () => {
  it('tells its nodes to come back, ends their sessions, and exits cleanly within five seconds', async () => {
    const hub = await start();
    const nodes = await Promise.all(Array.from({ length: 20 }, (_, at) => enlist(hub, `n${at}`)));
    const told = nodes.map((node) => new Promise((done) => node.once('degraded', done)));
    const began = performance.now();
    const exit = hub.stop();
    for (const packet of await Promise.all(told)) expect(packet).toMatchObject({ reason: 'draining' });
    expect(await exit).toBe(0);
    expect(performance.now() - began).toBeLessThan(5_000);
    expect(hub.stderr()).not.toContain('"level":50');
  });

  it('has the same federation, nodes and admin token when it starts again, and shows no new token', async () => {
    const hub = await start();
    const { adminToken, federationId, port } = hub;
    const node = await enlist(hub, 'ada');
    await hub.stop();
    const again = await start({ PORT: String(port) });
    expect(again.federationId).toBe(federationId);
    expect(again.adminToken).toBeUndefined();
    expect(await get(again, adminToken, '/nodes/ada')).toMatchObject({ node: { node_id: 'ada' } });
    await new Promise((done) => node.once('connected', done)); // it came back by itself
    expect(await get(again, adminToken, '/status')).toMatchObject({ nodes: { online: 1, total: 1 } });
  });

  it('lets a node that was away catch up on what it missed, in order and once', async () => {
    const hub = await start();
    const missed: string[] = [];
    const listener = await enlist(hub, 'listener');
    const { position } = listener;
    await listener.close();
    for (const name of ['a', 'b', 'c']) await enlist(hub, name);
    const back = new FederationNode({
      url: hub.url,
      nodeId: 'listener',
      keyFile: join(folder, 'listener.json'),
      position: position!,
    });
    open.push(back);
    back.on('node-joined', ({ node_id }) => missed.push(node_id));
    await back.connect();
    await enlist(hub, 'd');
    await expect.poll(() => missed.filter((name) => name !== 'listener')).toEqual(['a', 'b', 'c', 'd']);
  });
});

describe('a hub that is killed', () => {
  it('has everything it acknowledged when it starts again', async () => {
    const hub = await start();
    const { adminToken, port } = hub;
    const names = Array.from({ length: 10 }, (_, at) => `n${at}`);
    await Promise.all(names.map((name) => enlist(hub, name)));
    process.kill(hub.pid, 'SIGKILL');
    const again = await start({ PORT: String(port) });
    for (const name of names) expect(await get(again, adminToken, `/nodes/${name}`)).toHaveProperty('node');
    await expect
      .poll(() => get(again, adminToken, '/status'), { timeout: 20_000 })
      .toMatchObject({ nodes: { online: 10, total: 10 }, connections: 10 });
  });
});

describe('two replicas', () => {
  it('go on when the one that projects is killed: views advance again within five seconds', async () => {
    const first = await startTestHub({ database: 'postgres', redis: true, env: pace });
    open.push(first);
    const second = await startTestHub({ redis: true, env: { ...pace, DATABASE_URL: first.databaseUrl! } });
    open.push(second);
    process.kill(first.pid, 'SIGKILL');
    const began = performance.now();
    await enlist(second, 'late');
    await expect
      .poll(() => get(second, first.adminToken, '/nodes/late'), { timeout: 10_000, interval: 50 })
      .toHaveProperty('node');
    expect(performance.now() - began).toBeLessThan(6_000);
  });
});

describe('the settings', () => {
  const run = (args: string[], env: Record<string, string>) =>
    spawnSync(process.execPath, [program, ...args], {
      cwd: folder,
      encoding: 'utf8',
      timeout: 20_000,
      env: { PATH: process.env.PATH, ...env },
    });

  it('refuse an unknown name or a bad value with exit code 2 and a message that names it', () => {
    const wrong = run(['serve'], { FEDERATION_MOOD: 'x', PORT: '99999', FEDERATION_MODE: 'closed' });
    expect(wrong.status).toBe(2);
    for (const name of ['FEDERATION_MOOD', 'PORT', 'FEDERATION_MODE']) expect(wrong.stderr).toContain(name);
  });

  it('are shown with secrets left out', () => {
    const shown = run(['config', '--json'], { DATABASE_URL: 'postgres://me:hunter2@db/hub' });
    expect(shown.status).toBe(0);
    expect(shown.stdout).toContain('postgres://***@db/hub');
    expect(shown.stdout).not.toContain('hunter2');
  });

  it('refuse a second hub on the same folder', async () => {
    const hub = await start();
    const second = run(['serve'], { PORT: '0', FEDERATION_DATA_DIR: join(folder, 'data') });
    expect(second.status).toBe(1);
    expect(second.stderr).toContain(join(folder, 'data'));
    expect(hub.alive()).toBe(true);
  });

  it('keep the keyring to its owner', async () => {
    await start();
    expect(spawnSync('stat', ['-c', '%a', join(folder, 'data', 'keyring.db')], { encoding: 'utf8' }).stdout).toBe(
      '600\n',
    );
  });
});

describe('the command line', () => {
  it('speaks to a hub: status, nodes and replay, for people and for programs', async () => {
    const hub = await start();
    await enlist(hub, 'ada');
    // Not in step with this process: the node in it goes on sending heartbeats.
    const run = (...args: string[]) =>
      new Promise<{ status: number; stdout: string; stderr: string }>((done) => {
        const env = { PATH: process.env.PATH };
        const all = [program, '--url', hub.url, '--token', hub.adminToken, ...args];
        execFile(process.execPath, all, { env, timeout: 20_000 }, (error, stdout, stderr) =>
          done({ status: error ? Number(error.code) : 0, stdout, stderr }),
        );
      });
    expect((await run('status')).stdout).toContain('1 online of 1');
    expect(JSON.parse((await run('status', '--json')).stdout)).toMatchObject({ mode: 'open' });
    expect((await run('nodes')).stdout).toContain('ada');
    expect((await run('nodes', '--status', 'offline', '--json')).stdout).toBe('');
    expect(JSON.parse((await run('replay', '--json')).stdout)).toMatchObject({ generation: 2 });
    expect((await run('nodes', '--status', 'asleep')).status).toBe(2);
    expect((await run('--url', 'http://127.0.0.1:1', 'status')).status).toBe(1);
    const refused = await run('--token', 'fht_aaaaaaaa_x', 'nodes', '--json');
    expect([refused.status, JSON.parse(refused.stderr)]).toMatchObject([1, { error: { code: 'unauthenticated' } }]);
  });
});
