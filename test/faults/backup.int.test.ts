/** A hub that serves is backed up, and lives on from the backup: in a place of its own kind, or of the other. */
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { FederationNode } from '../../src/client/node.ts';
import { until } from '../projections/backends.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { freshDatabase } from '../setup/postgres.ts';

const program = process.env.FEDHUB_PROGRAM ?? resolve(import.meta.dirname, '../../dist/cli/fedhub.js');
const pace = { FEDERATION_HEARTBEAT_SECONDS: '1', FEDERATION_SILENCE_SECONDS: '6' };
const once = { 'idempotency-key': 'before the backup' };

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs `fedhub` to its end. */
async function fedhub(args: readonly string[], env: Record<string, string> = {}): Promise<Ran> {
  const options = { env: { PATH: process.env.PATH, ...env } };
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [program, ...args], options);
    return { code: 0, out: stdout, err: stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string }; // of a process that ended with a code
    return { code, out: stdout, err: stderr };
  }
}

const call = (hub: TestHub, token: string, method: string, path: string, body?: object, headers = {}) =>
  fetch(`${hub.url}/api/federation${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, ...(body && { 'content-type': 'application/json' }), ...headers },
    ...(body && { body: JSON.stringify(body) }),
  });

describe.each(['one hub on SQLite', 'two replicas on PostgreSQL'] as const)('%s', (setting) => {
  const database = setting === 'one hub on SQLite' ? 'sqlite' : 'postgres';
  let folder: string;
  let hub: TestHub;
  let second: TestHub;
  let settings: Record<string, string>;
  let adminToken: string;
  let sessionToken: string;
  let invite: string;
  let answered: unknown;
  let backedUp: { position: number; events: number; commands: number; root: string; views_digest: string };
  /** What the source had beyond the backup. */
  let headAfter: number;
  const nodes: FederationNode[] = [];
  const open: { stop(): Promise<unknown> }[] = [];
  /** Places where a hub went on from the backup. */
  const lived = new Map<string, Record<string, string>>();
  const places: (() => Promise<void>)[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'fedhub-backup-'));
    hub = await startTestHub({ database, env: { ...pace, FEDERATION_DATA_DIR: join(folder, 'source') } });
    second = database === 'postgres' ? await startTestHub({ env: { ...pace, DATABASE_URL: hub.databaseUrl! } }) : hub;
    settings =
      database === 'postgres' ? { DATABASE_URL: hub.databaseUrl! } : { FEDERATION_DATA_DIR: join(folder, 'source') };
    adminToken = hub.adminToken;
    for (const name of ['ada', 'bob', 'cyd', 'dan']) {
      const made = new FederationNode({
        url: nodes.length % 2 ? second.url : hub.url,
        nodeId: name,
        keyFile: join(folder, `${name}.json`),
        reading: () => ({ resources: { cpu_percent: 40 } }),
      });
      made.on('error', () => {});
      nodes.push(made);
      await made.connect();
    }
    sessionToken = nodes[0]!.token!;
    const invited = await call(hub, adminToken, 'POST', '/governance/invites', {});
    expect(invited.status).toBe(201);
    ({ invite } = (await invited.json()) as { invite: string });
    expect(invite).toMatch(/.{20}/);
    answered = await (await call(hub, adminToken, 'PATCH', '/nodes/ada', { owner: 'lovelace' }, once)).json();
    expect(answered).toMatchObject({ profile: { owner: 'lovelace' } });

    let stop = false;
    let changes = 0;
    const load = Promise.all(
      [hub, second].map(async (replica, which) => {
        for (let n = 0; !stop; n++) {
          const headers = { 'idempotency-key': `load ${which} ${n}` };
          const done = await call(
            replica,
            adminToken,
            'PATCH',
            `/nodes/${which ? 'bob' : 'cyd'}`,
            { owner: `${n}` },
            headers,
          );
          if (done.status === 200) changes++;
        }
      }),
    );
    await until('there is load', () => changes > 50);
    const during = changes;
    const ran = await fedhub(
      [
        '--json',
        '--url',
        second.url,
        '--token',
        adminToken,
        'backup',
        join(folder, 'backup'),
        '--keyring',
        join(folder, 'keys'),
      ],
      settings,
    );
    expect(ran).toMatchObject({ code: 0, err: '' });
    backedUp = JSON.parse(ran.out);
    expect(changes).toBeGreaterThan(during); // it went on meanwhile
    stop = true;
    await load;
    const after = await call(hub, adminToken, 'PATCH', '/nodes/dan', { owner: 'later' });
    headAfter = ((await after.json()) as { position: number }).position;
  }, 120_000);

  afterEach(async () => {
    for (const thing of open.splice(0).reverse()) await thing.stop();
  });

  afterAll(async () => {
    await Promise.all(nodes.map((node) => node.close()));
    if (second !== hub) await second.stop();
    await hub?.stop();
    for (const remove of places) await remove();
    await rm(folder, { recursive: true, force: true });
  });

  async function emptyPlace(kind: string): Promise<Record<string, string>> {
    const data = await mkdtemp(join(folder, 'place-'));
    if (kind === 'SQLite') return { FEDERATION_DATA_DIR: data };
    const { url, drop } = await freshDatabase();
    places.push(drop);
    return { FEDERATION_DATA_DIR: data, DATABASE_URL: url };
  }

  async function serve(env: Record<string, string>): Promise<TestHub> {
    const started = await startTestHub({ env: { ...pace, ...env } });
    open.push(started);
    return started;
  }

  /** Whether there is an index of words beside the views. */
  async function indexed({ DATABASE_URL: url, FEDERATION_DATA_DIR: data }: Record<string, string>): Promise<boolean> {
    if (url === undefined) return (await readdir(data!)).includes('search.db');
    const client = new pg.Client(url);
    await client.connect();
    const { rows } = await client.query("SELECT to_regclass('public.federation_search_documents') AS there");
    await client.end();
    return rows[0].there !== null;
  }

  const restore = (env: Record<string, string>, ...more: string[]) =>
    fedhub(['--json', 'restore', join(folder, 'backup'), ...more], env);

  it('holds what was acknowledged before it began, and not what came after', () => {
    expect(backedUp.position).toBeLessThan(headAfter);
    expect(backedUp.events).toBe(backedUp.position); // no readings were dropped
    expect(backedUp.commands).toBeGreaterThan(50);
    expect(backedUp.views_digest).toMatch(/^[0-9a-f]{64}$/);
  });

  it('holds no secret in plain text, and neither file may be read by others', async () => {
    const text = gunzipSync(await readFile(join(folder, 'backup', 'log.ndjson.gz'))).toString();
    const manifest = await readFile(join(folder, 'backup', 'manifest.json'), 'utf8');
    expect(text).toContain('lovelace');
    const keys = (await readFile(join(folder, 'keys'), 'utf8')).trim().split('\n').slice(1);
    const hubSecrets = keys.map((line) => (JSON.parse(line) as { secret: string }).secret);
    expect(hubSecrets.length).toBeGreaterThanOrEqual(2);
    const secrets = await Promise.all(
      ['ada', 'bob'].map(
        async (name) => (JSON.parse(await readFile(join(folder, `${name}.json`), 'utf8')) as { d: string }).d, // a JWK
      ),
    );
    for (const secret of [adminToken, sessionToken, invite, ...hubSecrets, ...secrets]) {
      expect(secret).toMatch(/^[\w.-]{30,}$/);
      expect(text).not.toContain(secret);
      expect(manifest).not.toContain(secret);
    }
    for (const path of ['backup/log.ndjson.gz', 'backup/manifest.json', 'keys']) {
      expect((await stat(join(folder, path))).mode & 0o077, path).toBe(0);
    }
  });

  it('does not overwrite a backup, nor puts the keyring beside it', async () => {
    const again = ['--url', hub.url, '--token', adminToken, 'backup'];
    const there = await fedhub([...again, join(folder, 'backup')], settings);
    expect(there).toMatchObject({ code: 1, err: expect.stringContaining('never overwritten') });
    const beside = await fedhub(
      [...again, join(folder, 'other'), '--keyring', join(folder, 'other', 'keys')],
      settings,
    );
    expect(beside).toMatchObject({ code: 1, err: expect.stringContaining('apart') });
    expect(await readdir(folder)).not.toContain('other');
  });

  it('is for those who may operate', async () => {
    const ran = await fedhub(['--url', hub.url, '--token', sessionToken, 'backup', join(folder, 'stolen')], settings);
    expect(ran).toMatchObject({ code: 1, err: expect.stringContaining('(forbidden)') });
    expect(await readdir(folder)).not.toContain('stolen');
  });

  it.each(['SQLite', 'PostgreSQL'])('is restored on %s: same log, same views, same federation', async (kind) => {
    const env = await emptyPlace(kind);
    const ran = await restore(env, '--keyring', join(folder, 'keys'));
    expect(ran).toMatchObject({ code: 0, err: '' });
    const { root, views_digest, position } = backedUp;
    expect(JSON.parse(ran.out)).toMatchObject({ same: true, position, restored: { root, views_digest } });

    const restored = await serve(env);
    expect(restored.federationId).toBe(hub.federationId);
    expect(restored.adminToken).toBeUndefined();
    const known = await call(restored, sessionToken, 'GET', '/nodes/ada');
    expect(await known.json()).toMatchObject({ node: { owner: 'lovelace' } }); // a session of before, by the keyring
    const again = await call(restored, adminToken, 'PATCH', '/nodes/ada', { owner: 'lovelace' }, once);
    expect(await again.json()).toEqual(answered);
    const other = await call(restored, adminToken, 'PATCH', '/nodes/ada', { owner: 'someone else' }, once);
    expect(other.status).toBe(422);

    const back = new FederationNode({
      url: restored.url,
      nodeId: 'ada',
      keyFile: join(folder, 'ada.json'),
      owner: 'ada',
    });
    back.on('error', () => {});
    nodes.push(back);
    await back.connect();
    expect(back.position).toBeGreaterThan(backedUp.position);
    await expect
      .poll(async () => (await call(restored, adminToken, 'GET', '/nodes/ada')).json())
      .toMatchObject({ node: { status: 'online', role: 'member', owner: 'ada' } });
    const impostor = new FederationNode({ url: restored.url, nodeId: 'ada', keyFile: join(folder, 'impostor.json') });
    impostor.on('error', () => {});
    nodes.push(impostor);
    await expect(impostor.connect()).rejects.toMatchObject({ code: 'node_id_taken' });
    expect(restored.stderr()).not.toContain('"level":50');
    const searched = async () => (await call(restored, adminToken, 'GET', '/messages?q=any')).status;
    await expect.poll(searched).toBe(200); // once its index is made
    for (let n = 0; n < 5; n++) await call(restored, adminToken, 'PATCH', '/nodes/dan', { owner: `lost ${n}` });
    expect(await restore(env)).toMatchObject({ code: 1, out: '' }); // there is a log, and a hub that serves from it
    expect((await call(restored, adminToken, 'GET', '/nodes')).status).toBe(200);
    expect(await searched()).toBe(200); // its index is there still
    lived.set(kind === 'SQLite' ? 'sqlite' : 'postgres', env);
  });

  it('is restored without the keyring: new keys, so sessions of before count no more, and members come back', async () => {
    const env = await emptyPlace('SQLite');
    expect(await restore(env)).toMatchObject({ code: 0 });
    const restored = await serve(env);
    expect((await call(restored, sessionToken, 'GET', '/nodes')).status).toBe(401);
    expect((await call(restored, adminToken, 'GET', '/nodes')).status).toBe(200);
    const back = new FederationNode({ url: restored.url, nodeId: 'bob', keyFile: join(folder, 'bob.json') });
    back.on('error', () => {});
    nodes.push(back);
    await expect(back.connect()).resolves.toBeDefined();
  });

  it('begins views and search index anew that had come further than the backup', async () => {
    const env = lived.get(database)!;
    const elsewhere = await emptyPlace('SQLite'); // the log is lost, the views are not
    const views =
      database === 'postgres'
        ? { FEDERATION_VIEWS_URL: env.DATABASE_URL! }
        : { FEDERATION_VIEWS_URL: `sqlite:${env.FEDERATION_DATA_DIR}` };
    expect(await indexed(env)).toBe(true);
    const ran = await restore({ ...elsewhere, ...views });
    expect(JSON.parse(ran.out)).toMatchObject({ same: true, restored: { views_digest: backedUp.views_digest } });
    expect(await indexed(env)).toBe(false); // it is made again, of what is in the log now
    const restored = await serve({ ...elsewhere, ...views });
    const { node } = (await (await call(restored, adminToken, 'GET', '/nodes/dan')).json()) as {
      node: { owner?: string };
    };
    expect(node.owner).toBeUndefined();
  });

  it('refuses a backup without a manifest, or of another federation than the settings name', async () => {
    const damaged = join(folder, 'damaged');
    await cp(join(folder, 'backup'), damaged, { recursive: true });
    await rm(join(damaged, 'manifest.json'));
    const env = await emptyPlace('SQLite');
    const before = await fedhub(['restore', damaged], env);
    expect(before).toMatchObject({ code: 1, err: expect.stringContaining('no complete backup') });
    const foreign = await restore({ ...env, FEDERATION_ID: 'another' });
    expect(foreign).toMatchObject({ code: 1, err: expect.stringContaining('FEDERATION_ID') });
    expect((await readdir(env.FEDERATION_DATA_DIR!)).filter((name) => name.startsWith('log'))).toEqual([]);
    await rm(damaged, { recursive: true });
  });
});
