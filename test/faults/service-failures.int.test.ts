/**
 * What still works when a service does not: each of them is made to fail at the start of a hub, and while one runs. In this process, as no
 * setting takes a service away.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { FederationNode, generateKey, type ReceivedMessage } from '../../src/client/node.ts';
import { readConfig } from '../../src/config.ts';
import { refuse } from '../../src/errors.ts';
import type { Hub } from '../../src/hub.ts';
import { createKernel } from '../../src/kernel.ts';
import { type RunningHub, startHub } from '../../src/main.ts';
import { manifest } from '../../src/services/manifest.ts';
import type { AnyService, Standing } from '../../src/services/service.ts';
import type { WebsocketPool } from '../../src/services/websocket-pool.ts';
import type { ServiceName, tiers } from '../../src/tiers.ts';
import { call } from '../security/visitor.ts';
import { fetchBytes, upload } from '../services/tus.ts';
import { noLimits } from '../setup/no-limits.ts';

const services = manifest as AnyService[]; // the array itself, which `startHub` reads; restored after each test
const whole = [...services];

/** A hub with two nodes: ada works and answers, bob asks. */
interface Place {
  readonly hub: RunningHub;
  readonly token: string;
  readonly ada: FederationNode;
  readonly bob: FederationNode;
  readonly heard: ReceivedMessage[];
}

let count = 0;
const fresh = (what: string) => `${what}-${++count}`;

/** What a user does, each with its outcome; all that is refused or missing throws. */
const features = {
  async health({ hub }: Place) {
    await ok(hub, 'GET', '/health');
  },
  async status({ hub }) {
    await ok(hub, 'GET', '/status');
  },
  async join(place) {
    const node = await newNode(place.hub, fresh('carol'));
    try {
      await node.connect({ timeoutMs });
    } finally {
      node.close();
    }
  },
  async directory({ hub, token }) {
    expect(await ok(hub, 'GET', '/nodes', token)).toMatchObject({ nodes: expect.any(Array) });
  },
  async heartbeat({ hub, bob }) {
    await ok(hub, 'POST', '/nodes/bob/heartbeat', bob.token, {});
  },
  async governance({ hub, token }) {
    await ok(hub, 'GET', '/governance', token);
  },
  async bans({ hub, token }) {
    await ok(hub, 'GET', '/governance/bans', token);
  },
  async blocks({ hub, token }) {
    await ok(hub, 'GET', '/access/blocked', token);
  },
  async entities({ hub, bob }) {
    await ok(hub, 'POST', '/entities', bob.token, { entity_id: fresh('mind'), kind: 'ai' });
  },
  async limits({ hub, token }) {
    await ok(hub, 'GET', '/limits', token);
  },
  async audit({ hub, token }) {
    await ok(hub, 'GET', '/audit', token);
  },
  async export({ hub, token }) {
    await ok(hub, 'GET', '/audit/export?format=ndjson', token);
  },
  async events({ hub, bob }) {
    await ok(hub, 'GET', '/subscriptions', bob.token);
    await (await inTime(bob.subscribe(['entity.*'], () => {}))).unsubscribe();
  },
  async models({ ada, hub, bob }) {
    await inTime(ada.models([{ model_id: fresh('model') }]));
    await ok(hub, 'GET', '/models', bob.token);
  },
  async tasks({ hub, bob }) {
    const task = await bob.submit({ type: 'double', payload: 21 }, { timeoutMs });
    expect(await inTime(Promise.any([task.done(), resultOf(hub, task.taskId, bob.token)]))).toBe(42);
  },
  async routes({ hub, bob }) {
    expect(await ok(hub, 'GET', '/route/ada/echo/hello', bob.token)).toEqual({ path: '/hello' });
  },
  async memories({ hub, bob }) {
    const note = { memory_id: fresh('note'), category: 'notes', content: 'remember me' };
    const { position } = await ok(hub, 'POST', '/memory/store', bob.token, note);
    const { memory } = await ok(hub, 'GET', `/memory/${note.memory_id}?min_position=${position}`, bob.token);
    expect(memory).toMatchObject({ content: 'remember me' });
  },
  async messages({ bob, heard }) {
    const text = fresh('hello');
    await bob.send('ada', text, { timeoutMs });
    await expect.poll(() => heard.map(({ content }) => content)).toContain(text);
  },
  async roster({ hub, token }) {
    await expect
      .poll(() => ok(hub, 'GET', '/p2p/roster', token))
      .toMatchObject({ roster: { members: expect.any(Array) } });
  },
  async files({ hub, bob }) {
    const at = { url: hub.url, token: bob.token ?? '' };
    const bytes = Buffer.from(fresh('bytes'));
    const id = await upload(at, bytes, { to: 'node:ada' });
    expect((await fetchBytes(at, id)).bytes.equals(bytes)).toBe(true);
  },
  async secrets({ hub, bob }) {
    const secret_id = `bob:${fresh('key')}`;
    await ok(hub, 'POST', '/secrets', bob.token, { secret_id, value: 'open sesame' });
    expect(await ok(hub, 'GET', `/secrets/${secret_id}`, bob.token)).toMatchObject({ value: 'open sesame' });
  },
  async levels({ hub, token }) {
    expect(await ok(hub, 'GET', '/degradation', token)).toMatchObject({ level: 'normal' });
    await ok(hub, 'PUT', '/degradation', token, { level: 'normal', seconds: 1 });
  },
  async metrics({ hub, token }) {
    const answer = await fetch(`${hub.url}/metrics`, { headers: { authorization: `Bearer ${token}` } });
    expect(answer.status).toBe(200);
    expect(await answer.text()).toMatch(/^federation_nodes\{/m);
  },
} satisfies Record<string, (place: Place) => Promise<void>>;
type Feature = keyof typeof features;
const all = Object.keys(features) as Feature[];

/** Over sockets alone: they need no HTTP door. */
const bySocket: readonly Feature[] = ['join', 'tasks', 'messages'];
/** What needs nobody to prove who he is. */
const open: readonly Feature[] = ['health', 'status', 'metrics'];
const but = (...left: readonly Feature[]) => all.filter((feature) => !left.includes(feature));

type P0 = { [S in ServiceName]: (typeof tiers)[S] extends 'P0' ? S : never }[ServiceName];
/** Without one of these there is no hub. */
const p0 = ['node-registry', 'websocket-pool', 'health-aggregator'] as const satisfies readonly P0[];
/** What goes when a service does; all else stays. Each of the 22 has its row, but for those of P0. */
const lost = {
  'service-router': ['routes'],
  'model-registry': ['models', 'tasks'],
  'task-queue': ['tasks'],
  'event-bus': ['events'],
  'knowledge-sync': ['memories'],
  'identity-auth': but(...open),
  'secrets-vault': ['secrets'],
  governance: but(...open),
  'access-control': but(...open),
  'rate-limiter': but('health', 'metrics'),
  'audit-logger': ['export'],
  'offline-queue': ['messages', 'roster', 'files'],
  'message-persistence': ['messages', 'roster', 'files'],
  'file-transfer': ['files'],
  'p2p-fallback': ['roster'],
  'entity-registry': ['entities'],
  metrics: ['metrics'],
  degradation: ['levels'],
  'nexus-api': but(...bySocket),
} satisfies Record<Exclude<ServiceName, P0>, readonly Feature[]>;
type Row = keyof typeof lost;
const rows = Object.keys(lost) as Row[];
/** In the order in which they are tried. */
const lostBy = (row: Row) => all.filter((feature) => (lost[row] as readonly Feature[]).includes(feature));
/** Who had proved who he is before goes on at his socket. */
const lostLater = (row: Row) =>
  row === 'identity-auth'
    ? lostBy(row).filter((feature) => feature === 'join' || !bySocket.includes(feature))
    : lostBy(row);

/** Long enough for all that works. */
const timeoutMs = 5_000;

async function inTime<T>(work: Promise<T>): Promise<T> {
  const late = new Promise<never>(
    (_, reject) => void setTimeout(() => reject(new Error('it took too long')), timeoutMs).unref(),
  );
  return Promise.race([work, late]);
}

async function ok(hub: RunningHub, method: string, at: string, token?: string, body?: unknown) {
  const answer = await call(hub as never, method, at, { token, body }); // it looks at the URL alone
  if (answer.status >= 300) throw new Error(`${at}: ${answer.status} ${answer.body.code}`);
  return answer.body;
}

/** The features that do not work, in their order. */
async function failing(place: Place): Promise<Feature[]> {
  const tries = all.map(async (feature) => {
    try {
      await features[feature](place);
      return [];
    } catch {
      return [feature];
    }
  });
  return (await Promise.all(tries)).flat();
}

/** Whoever is not told of the end of a task asks for it. */
async function resultOf(hub: RunningHub, taskId: string, token: string | undefined): Promise<unknown> {
  for (;;) {
    const { task } = (await ok(hub, 'GET', `/tasks/${taskId}`, token).catch(() => ({}))) as {
      task?: { status: string; result: unknown };
    };
    if (task?.status === 'completed') return task.result;
    await new Promise((done) => setTimeout(done, 100));
  }
}

const folders: string[] = [];

/** A hub with its nodes; a node that could not come for want of a guard goes on trying. */
async function settle(): Promise<Place> {
  const folder = await mkdtemp(path.join(tmpdir(), 'fedhub-failures-'));
  folders.push(folder);
  const config = readConfig({ PORT: '0', FEDERATION_DATA_DIR: folder, ...noLimits });
  const hub = await startHub(config, createKernel({ logLevel: 'silent' }));
  const heard: ReceivedMessage[] = [];
  const ada = await newNode(hub, 'ada');
  ada.messages((message) => void heard.push(message));
  ada.work({ double: ({ payload }) => 2 * Number(payload) });
  ada.serve('echo', (request) => Response.json({ path: new URL(request.url).pathname }));
  const bob = await newNode(hub, 'bob');
  bob.messages(() => {});
  await Promise.allSettled([ada.connect({ timeoutMs }), bob.connect({ timeoutMs })]);
  return { hub, token: hub.adminToken!, ada, bob, heard };
}

async function newNode(hub: RunningHub, nodeId: string): Promise<FederationNode> {
  return new FederationNode({ url: hub.url, nodeId, key: await generateKey(), logger: { info() {}, warn() {} } });
}

async function leave(place: Place | undefined): Promise<void> {
  place?.ada.close();
  place?.bob.close();
  await place?.hub.stop();
}

const stateOf = ({ hub }: Place, name: ServiceName) => hub.services().find((service) => service.name === name);

afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

describe('a hub at whose start a service fails', () => {
  let place: Place | undefined;
  afterEach(async () => {
    services.splice(0, services.length, ...whole);
    await leave(place);
    place = undefined;
  });

  const breakAtStart = (name: ServiceName) => {
    const at = services.findIndex((service) => service.name === name);
    services[at] = { ...services[at]!, start: () => Promise.reject(new Error('made to fail')) };
  };

  test.each(p0)('does not start without %s, and says so', async (name) => {
    breakAtStart(name);
    await expect(settle()).rejects.toThrow(`${name} is needed and did not start: made to fail`);
  });

  test.each(rows)('goes on without %s, but for what needs it', async (name) => {
    breakAtStart(name);
    place = await settle();
    expect(stateOf(place, name)).toMatchObject({ state: 'failed', reason: 'made to fail' });
    expect(await failing(place)).toEqual(lostBy(name));
  });
});

describe('a hub in which a service fails', () => {
  const standings = new Map<string, Standing>();
  const apis = new Map<string, unknown>();
  let parts: Hub;
  let place: Place;

  beforeAll(async () => {
    const listened = whole.map((service) => ({
      ...service,
      start(...[hub, others, standing]: Parameters<AnyService['start']>) {
        standings.set(service.name, standing);
        parts = hub;
        if (broken.has(service.name)) return Promise.reject(new Error('still broken'));
        return service.start(hub, others, standing).then((running) => {
          apis.set(service.name, running.api);
          return running;
        });
      },
    }));
    services.splice(0, services.length, ...listened);
    place = await settle();
  });
  afterAll(async () => {
    services.splice(0, services.length, ...whole);
    await leave(place);
  });
  const broken = new Set<string>();

  test.each(rows)('goes on without %s, and is whole when that is back', async (name) => {
    broken.add(name);
    standings.get(name)!.failed(new Error('made to fail'));
    await expect.poll(() => stateOf(place, name)).toMatchObject({ state: 'failed' });
    const gone = await failing(place);
    broken.delete(name);
    expect(gone).toEqual(lostLater(name));
    await expect
      .poll(() => place.hub.services().filter(({ state }) => state !== 'running'), { timeout: 40_000 })
      .toEqual([]);
    await expect.poll(() => failing(place), { timeout: 40_000, interval: 500 }).toEqual([]);
  });

  test('is at the level that was ordered, and says so, also when what counts limits comes and goes', async () => {
    const { hub, token } = place;
    const levels = async () => {
      const { level, replica, replicas } = await ok(hub, 'GET', '/degradation', token);
      const [one, ...others] = replicas as { replica: string; level: string }[];
      return [level, one?.replica === replica, one?.level, others.length];
    };
    await ok(hub, 'PUT', '/degradation', token, { level: 'reduced' });
    await expect.poll(levels).toEqual(['reduced', true, 'reduced', 0]);
    const before = standings.get('degradation');
    standings.get('rate-limiter')!.failed(new Error('made to fail'));
    await expect.poll(() => standings.get('degradation')).not.toBe(before);
    const without = standings.get('degradation');
    await expect.poll(() => standings.get('degradation'), { timeout: 40_000 }).not.toBe(without);
    const answers = () => ok(hub, 'GET', '/status').catch(() => undefined);
    await expect.poll(answers).toBeDefined();
    await new Promise((done) => setTimeout(done, 1_000)); // the ones of before are gone by then
    expect(await levels()).toEqual(['reduced', true, 'reduced', 0]);
    await ok(hub, 'DELETE', '/degradation', token);
    await expect.poll(levels).toEqual(['normal', false, undefined, 0]);
  });

  test('goes on with the services that run when a start that nobody waited for any more comes and is stopped', async () => {
    const sockets = apis.get('websocket-pool') as WebsocketPool;
    const late = sockets.handle('federation:models', async () => refuse('conflict', 'this one is late'));
    const door = parts.doors.serveHttp(
      (_request, response) => void response.end(),
      () => undefined,
    );
    late();
    door();
    expect(await failing(place)).toEqual([]);
  });

  test.each(p0)('ends when %s fails, without which it is none', async (name) => {
    const other = await settle();
    try {
      standings.get(name)!.failed(new Error('made to fail'));
      expect((await other.hub.failed).message).toBe(`${name} is needed and failed: made to fail`);
    } finally {
      await leave(other);
    }
  });
});
