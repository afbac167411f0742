/** The value of a secret is found nowhere but in the answers to those who may read it: not on any disk, in Redis, logs, metrics, events or errors. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { startCluster } from '../setup/cluster.ts';
import { program, startHubProcess } from '../setup/hub-process.ts';
import { noLimits } from '../setup/no-limits.ts';
import { call, joinByHttp, joinBySocket } from './visitor.ts';

const canary = 'Canary-9Qx7"w\\ü-Zb41Kq0Rm8';
const second = 'Second-3Tz5"v\\ö-Yc62Lp9Sn7';
/** What the search must find, or it would find nothing at all. */
const control = 'Control-5Wd8Hj2Fk6';

const access = { readers: { nodes: ['reader'] } };

/** The ways a value may lie somewhere: as it is, written in other letters, in part, or as a hash that a short one can be guessed from. */
function formsOf(value: string): Map<string, Buffer> {
  const bytes = Buffer.from(value);
  const forms = new Map<string, Buffer>([
    ['plain', bytes],
    ['UTF-16', Buffer.from(value, 'utf16le')],
    ['JSON', Buffer.from(JSON.stringify(value).slice(1, -1))],
    ['JSON twice', Buffer.from(JSON.stringify(JSON.stringify(value)).slice(1, -1))],
    ['URL', Buffer.from(encodeURIComponent(value))],
    ['hex', Buffer.from(bytes.toString('hex'))],
    ['HEX', Buffer.from(bytes.toString('hex').toUpperCase())],
    ['first part', bytes.subarray(0, 10)],
    ['last part', bytes.subarray(-10)],
  ]);
  for (const shift of [0, 1, 2]) {
    // Within a longer text in base64 the letters depend on what stands before; those at the ends, on what stands around.
    const inner = Buffer.concat([Buffer.alloc(shift), bytes])
      .toString('base64')
      .slice(4, -4);
    forms.set(`base64, moved by ${shift}`, Buffer.from(inner));
    forms.set(`base64url, moved by ${shift}`, Buffer.from(inner.replaceAll('+', '-').replaceAll('/', '_')));
  }
  for (const asked of [value, { value }, [{}, { value }], [{ id: '@federation:canary' }, { value, ...access }]]) {
    const text = typeof asked === 'string' ? asked : JSON.stringify(asked);
    for (const encoding of ['hex', 'base64', 'base64url'] as const)
      forms.set(
        `SHA-256 of ${text.length} in ${encoding}`,
        Buffer.from(createHash('sha256').update(text).digest(encoding)),
      );
  }
  return forms;
}

const forms = new Map(
  [...formsOf(canary)].concat([...formsOf(second)].map(([name, form]) => [`second ${name}`, form])),
);

interface Ground {
  readonly url: string;
  /** Another replica, where there is one. */
  readonly other: string;
  readonly federationId: string;
  readonly adminToken: string;
  /** Folders of everything that is on a disk. */
  readonly folders: readonly string[];
  said(): string;
  stop(): Promise<unknown>;
}

async function sqlite(folder: string): Promise<Ground> {
  const hub = await startHubProcess(folder, { PORT: '0', LOG_LEVEL: 'trace', ...noLimits });
  return {
    url: hub.url,
    other: hub.url,
    federationId: hub.federationId,
    adminToken: hub.adminToken!,
    folders: [folder],
    said: hub.stderr,
    async stop() {
      hub.child.kill('SIGTERM');
      await hub.exited;
    },
  };
}

const redisSaid: string[] = [];

async function cluster(folder: string): Promise<Ground> {
  const env = { LOG_LEVEL: 'trace', FEDERATION_DATA_DIR: folder, ...noLimits };
  const { replicas, postgres, redis, federationId, adminToken, stop } = await startCluster({ replicas: 2, env });
  const watching = new Redis(redis.url);
  const monitor = await watching.monitor();
  monitor.on('monitor', (_time: string, args: string[]) => redisSaid.push(args.join(' ')));
  return {
    url: replicas[0]!.url,
    other: replicas[1]!.url,
    federationId,
    adminToken,
    folders: [folder, postgres.folder],
    said: () => replicas.map((replica) => replica.stderr()).join('\n') + postgres.said(),
    async stop() {
      monitor.disconnect();
      watching.disconnect();
      await stop();
    },
  };
}

describe.each([
  ['on SQLite', sqlite],
  ['on PostgreSQL and Redis', cluster],
] as const)('%s', (_where, start) => {
  let folder: string;
  let ground: Ground;
  const answers: string[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'fedhub-canary-'));
    ground = await start(folder);
  });
  afterAll(async () => {
    await ground?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const hub = () => ({ url: ground.url, federationId: ground.federationId, adminToken: ground.adminToken });
  const ask = async (method: string, route: string, body?: unknown, { token = ground.adminToken, key = '' } = {}) => {
    const headers = key === '' ? {} : { 'idempotency-key': key };
    const answer = await call({ ...hub(), url: ground.other }, method, route, { token, body, headers });
    const given = method === 'GET' && /^\/secrets\/@federation:canary(\?|$)/.test(route) && answer.status === 200;
    if (!given) answers.push(`${method} ${route} ${JSON.stringify(answer.body)}`);
    return answer;
  };
  const fedhub = (args: readonly string[], input = '') =>
    new Promise<void>((resolve) => {
      const env = { PATH: process.env.PATH, FEDHUB_URL: ground.url, FEDHUB_TOKEN: ground.adminToken };
      const child = execFile(process.execPath, [program, ...args], { env }, (_error, out, err) => {
        answers.push(out, err);
        resolve();
      });
      child.stdin?.end(input);
    });

  it('is stored, read, refused, mistaken, rotated and destroyed, and found nowhere', async () => {
    const eve = await joinByHttp(hub(), 'eve');
    const reader = await joinBySocket(hub(), 'reader');
    await reader.socket.ask('federation:subscribe', { patterns: ['>'] });
    const stream = new AbortController();
    void streamed(`${ground.url}/api/federation/events?patterns=%3E`, stream.signal);
    await ask('POST', '/entities', { entity_id: 'known', kind: 'ai', display_name: control });

    const id = '/secrets/@federation:canary';
    expect((await ask('PUT', id, { value: canary, ...access }, { key: 'k' })).status).toBe(200);
    expect((await ask('PUT', id, { value: canary, ...access }, { key: 'k' })).status).toBe(200);
    expect((await ask('PUT', id, { value: second }, { key: 'k' })).body.code).toBe('idempotency_mismatch');
    expect((await ask('GET', id)).body.value).toBe(canary);
    expect((await ask('GET', id, undefined, { token: reader.token })).body.value).toBe(canary);
    expect((await ask('PUT', id, { value: canary }, { token: eve.token })).status).toBe(404);
    expect((await ask('GET', id, undefined, { token: eve.token })).status).toBe(404);
    await ask('PUT', id, { value: second });
    await mistakes(id);
    await fedhub(['secret', 'put', 'canary'], `${canary}\n`);
    await fedhub(['secret', 'put', canary], 'x');
    await fedhub(['secret', 'ls']);
    expect((await ask('GET', `${id}?version=3`)).body.value).toBe(canary);
    expect((await ask('POST', '/secrets/master/rotate')).status).toBe(202);
    await vi.waitFor(async () => expect((await ask('GET', '/secrets/master')).body.rotating).toBe(false), 10_000);
    expect((await ask('GET', `${id}?version=2`)).body.value).toBe(second);
    await fedhub(['backup', path.join(folder, 'backup'), '--json']);
    const halfway = await found();
    await ask('DELETE', `${id}/versions/1`);
    await ask('DELETE', id);
    expect((await ask('GET', id)).status).toBe(404);
    for (const route of [
      '/status',
      '/secrets',
      '/audit?limit=500',
      '/audit/export',
      '/views/dead-letters',
      '/entities',
    ])
      await ask('GET', route);
    answers.push(await (await fetch(`${ground.url}/metrics`)).text(), JSON.stringify(reader.socket.pushed));
    stream.abort();
    reader.socket.close();

    expect(halfway).toEqual([]);
    expect(await found()).toEqual([]);
    const said = Buffer.from([...answers, ...redisSaid, ground.said()].join('\n'));
    expect([...forms].filter(([, form]) => said.includes(form)).map(([name]) => name)).toEqual([]);
    expect(said.includes('event: secret.stored')).toBe(true);
    expect(said.includes('no name of a secret')).toBe(true);
    expect(await found(new Map([['control', Buffer.from(control)]]))).not.toEqual([]);
  }, 120_000);

  /** What is wrong around a value, in every way that a parser or a check may want to quote. */
  async function mistakes(id: string): Promise<void> {
    const bodies = [
      `{"value": ${canary}}`,
      `{"value": ${JSON.stringify(canary)} ${canary}`,
      JSON.stringify(canary),
      { value: canary, encoding: 'base64' },
      { value: canary, encoding: canary },
      { value: [canary] },
      { value: { text: canary } },
      { value: canary, readers: { nodes: [canary] } },
      { value: canary, more: canary },
      { value: `${canary}\ud800` },
      { value: canary.repeat(4_000) },
      { value: canary.repeat(40_000) },
    ];
    for (const body of bodies) expect((await ask('PUT', id, body)).status).toBeOneOf([400, 413]);
    for (const body of bodies) expect((await ask('POST', '/secrets', body)).status).toBeOneOf([400, 413]);
  }

  /** Everything that an operator hears of what happens. */
  async function streamed(url: string, signal: AbortSignal): Promise<void> {
    try {
      const response = await fetch(url, { headers: { authorization: `Bearer ${ground.adminToken}` }, signal });
      for await (const chunk of response.body!) answers.push(Buffer.from(chunk).toString());
    } catch {
      // it is ended in the end
    }
  }

  /** In which files it lies, and how. */
  async function found(wanted: ReadonlyMap<string, Buffer> = forms): Promise<string[]> {
    const hits: string[] = [];
    for (const root of ground.folders) {
      for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile()) continue;
        const file = path.join(entry.parentPath, entry.name);
        const raw = await readFile(file).catch(() => Buffer.alloc(0)); // it may be gone by now
        const content = file.endsWith('.gz') ? gunzipSync(raw) : raw;
        for (const [name, form] of wanted) if (content.includes(form)) hits.push(`${entry.name}: ${name}`);
      }
    }
    return hits;
  }
});
