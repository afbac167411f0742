/** What nodes and operators live through, against one hub on SQLite and against two replicas on one PostgreSQL. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FederationNode, type FederationNodeOptions, generateKey, HubRefusal } from '../../src/client/node.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

/** Scaled from 15 s and 90 s, so that a death takes seconds. */
const pace = { FEDERATION_HEARTBEAT_SECONDS: '0.5', FEDERATION_SILENCE_SECONDS: '4' };

interface Listed {
  node_id: string;
  status: string;
  public_key: string;
  reading: { resources?: Record<string, number> } | null;
  suspicion: { phi: number; silent_ms: number } | null;
}

describe.each(['one hub on SQLite', 'two replicas on PostgreSQL'] as const)('%s', (setting) => {
  let first: TestHub;
  /** Another replica of the same federation; the same hub where there is one only. */
  let second: TestHub;
  let folder: string;
  const nodes: FederationNode[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'fedhub-journey-'));
    const replicas = setting === 'two replicas on PostgreSQL';
    first = await startTestHub({ database: replicas ? 'postgres' : 'sqlite', redis: replicas, env: pace });
    second = replicas ? await startTestHub({ redis: true, env: { ...pace, DATABASE_URL: first.databaseUrl! } }) : first;
  });

  afterAll(async () => {
    await Promise.all(nodes.map((node) => node.close()));
    if (second !== first) await second.stop();
    await first.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const newNode = (nodeId: string, hub = first, options: Partial<FederationNodeOptions> = {}) => {
    const made = new FederationNode({
      url: hub.url,
      nodeId,
      ...(options.key ? {} : { keyFile: join(folder, `${nodeId}.json`) }),
      ...options,
    });
    made.on('error', () => {});
    nodes.push(made);
    return made;
  };
  const call = (hub: TestHub, method: string, path: string, body?: object, headers: Record<string, string> = {}) =>
    fetch(`${hub.url}/api/federation${path}`, {
      method,
      headers: {
        authorization: `Bearer ${first.adminToken}`,
        ...(body && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body && { body: JSON.stringify(body) }),
    });
  const get = async <T>(hub: TestHub, path: string) => (await (await call(hub, 'GET', path)).json()) as T;
  const nodeOn = async (hub: TestHub, nodeId: string) => (await get<{ node?: Listed }>(hub, `/nodes/${nodeId}`)).node;

  it('a node joins at one replica, and every replica knows it', async () => {
    const ada = newNode('ada', first, { capabilities: ['gpu'], owner: 'lovelace', models: ['m-7b'] });
    await ada.connect();
    for (const hub of [first, second]) {
      await expect.poll(() => nodeOn(hub, 'ada')).toMatchObject({ status: 'online', owner: 'lovelace' });
      for (const query of ['capability=gpu', 'model=m-7b', 'owner=lovelace', 'status=online']) {
        const { nodes: found } = await get<{ nodes: Listed[] }>(hub, `/nodes?${query}`);
        expect(found.map(({ node_id }) => node_id)).toContain('ada');
      }
      expect((await get<{ nodes: Listed[] }>(hub, '/nodes?capability=GPU')).nodes).toEqual([]);
    }
  });

  it('its heartbeats are seen by every replica', async () => {
    const bob = newNode('bob', second, { reading: () => ({ resources: { cpu_percent: 42 } }) });
    await bob.connect();
    for (const hub of [first, second]) {
      await expect
        .poll(async () => (await nodeOn(hub, 'bob'))?.reading)
        .toMatchObject({ resources: { cpu_percent: 42 } });
      expect((await nodeOn(hub, 'bob'))?.suspicion?.phi).toBeLessThan(8);
    }
  });

  it('members hear who joins and who leaves, wherever that happens', async () => {
    const heard: string[] = [];
    const listener = newNode('listener', first);
    listener.on('node-joined', (packet) => heard.push(`joined ${packet.node_id}`));
    listener.on('node-left', (packet) => heard.push(`${packet.cause} ${packet.node_id}`));
    await listener.connect();
    const guest = newNode('guest', second);
    await guest.connect();
    await expect.poll(() => heard).toContain('joined guest');
    await guest.leave();
    await expect.poll(() => heard).toContain('left guest');
    await expect.poll(async () => (await nodeOn(second, 'guest'))?.status).toBe('offline');
  });

  it('a node that goes silent is doubted, then lost, and is back when it speaks again', async () => {
    // A rhythm by HTTP alone: no socket whose end would tell.
    const key = await generateKey();
    const silent = newNode('silent', first, { key });
    await silent.connect();
    await expect.poll(async () => (await nodeOn(second, 'silent'))?.status).toBe('online');
    await silent.close();
    await expect
      .poll(async () => (await nodeOn(second, 'silent'))?.status, { timeout: 20_000, interval: 100 })
      .toBe('offline');
    const again = newNode('silent', second, { key });
    await again.connect();
    await expect.poll(async () => (await nodeOn(first, 'silent'))?.status).toBe('online');
  });

  it('alerts open and close with the load of a node, and members hear of it', async () => {
    let cpu = 50;
    const heard: string[] = [];
    const hot = newNode('hot', second, { reading: () => ({ resources: { cpu_percent: cpu } }) });
    hot.on('health-alert', (alert) => heard.push(`${alert.status} ${alert.measure} ${alert.level ?? ''}`.trim()));
    await hot.connect();
    cpu = 97;
    await expect.poll(() => heard, { timeout: 10_000 }).toContain('opened cpu critical');
    const open = { alerts: expect.arrayContaining([expect.objectContaining({ node_id: 'hot', level: 'critical' })]) };
    await expect.poll(() => get(first, '/hub/alerts?status=open')).toMatchObject(open);
    await expect.poll(() => get(first, '/hub/health')).toMatchObject({ status: 'critical', alerts: { critical: 1 } });
    cpu = 10;
    await expect.poll(() => heard, { timeout: 10_000 }).toContain('closed cpu');
  });

  it('a second key cannot take a node id, nor a second id a key', async () => {
    const key = await generateKey();
    await newNode('owner', first, { key }).connect();
    await expect(newNode('owner', second, { key: await generateKey() }).connect()).rejects.toMatchObject({
      code: 'node_id_taken',
    });
    await expect(newNode('owner-2', second, { key }).connect()).rejects.toMatchObject({ code: 'key_taken' });
  });

  it('a newer session of a node takes over, on whichever replica', async () => {
    const key = await generateKey();
    const older = newNode('twice', first, { key });
    await older.connect();
    const revoked = new Promise((resolve) => older.on('revoked', resolve));
    const newer = newNode('twice', second, { key });
    await newer.connect();
    expect(await revoked).toMatchObject({ reason: 'superseded' });
    await expect.poll(async () => (await nodeOn(first, 'twice'))?.status).toBe('online');
  });

  it('the mode decides who may join, and is known everywhere at once', async () => {
    const changed = await call(second, 'POST', '/governance/mode', { mode: 'invite' });
    expect(await changed.json()).toMatchObject({ mode: 'invite', previous: 'open' });
    await expect.poll(() => get(first, '/status')).toMatchObject({ mode: 'invite' });
    const stranger = newNode('stranger', first);
    await expect(stranger.connect()).rejects.toBeInstanceOf(HubRefusal);
    await expect(newNode('ada', second).connect()).resolves.toBeDefined(); // members come back
    await call(first, 'POST', '/governance/mode', { mode: 'open' });
    await expect.poll(() => get(second, '/status')).toMatchObject({ mode: 'open' });
  });

  it('a removed node is cut within a second, and its key is free again', async () => {
    const key = await generateKey();
    const leaver = newNode('leaver', second, { key });
    await leaver.connect();
    const { token } = leaver;
    const revoked = new Promise((resolve) => leaver.on('revoked', resolve));
    const began = performance.now();
    expect((await call(first, 'DELETE', '/nodes/leaver')).status).toBe(200);
    expect(await revoked).toMatchObject({ reason: 'removed' });
    expect(performance.now() - began).toBeLessThan(1_000);
    await expect
      .poll(async () => (await call(second, 'GET', '/nodes', undefined, { authorization: `Bearer ${token}` })).status)
      .toBe(401);
    await expect(newNode('successor', first, { key }).connect()).resolves.toBeDefined();
  });

  it('a write repeated under its idempotency key is done once, on whichever replica', async () => {
    const headers = { 'idempotency-key': 'change-1' };
    const one = await (await call(first, 'POST', '/governance/mode', { mode: 'approval' }, headers)).json();
    await call(first, 'POST', '/governance/mode', { mode: 'open' });
    const two = await (await call(second, 'POST', '/governance/mode', { mode: 'approval' }, headers)).json();
    expect(two).toEqual(one);
    const other = await call(second, 'POST', '/governance/mode', { mode: 'invite' }, headers);
    expect([other.status, await other.json()]).toMatchObject([422, { code: 'idempotency_mismatch' }]);
    await expect.poll(() => get(second, '/status')).toMatchObject({ mode: 'open' });
  });

  it('a read that names the position of a write sees it, on whichever replica', async () => {
    for (let turn = 0; turn < 10; turn++) {
      const [writer, reader] = turn % 2 ? [first, second] : [second, first];
      const answer = await call(writer, 'PATCH', '/nodes/ada', { owner: `turn ${turn}` });
      const { position } = (await answer.json()) as { position: number };
      expect(await get(reader, `/nodes/ada?min_position=${position}`)).toMatchObject({
        stale: false,
        node: { owner: `turn ${turn}` },
      });
    }
    expect(await get(first, '/nodes/ada?min_position=999999999')).toMatchObject({ stale: true });
  });

  it('lists page by cursor', async () => {
    const all: string[] = [];
    let cursor = '';
    do {
      const page = await get<{ nodes: Listed[]; next_cursor: string | null }>(first, `/nodes?limit=2${cursor}`);
      all.push(...page.nodes.map(({ node_id }) => node_id));
      cursor = page.next_cursor ? `&cursor=${page.next_cursor}` : '';
    } while (cursor);
    expect(all).toEqual([...all].sort());
    expect(new Set(all).size).toBe(all.length);
    expect(all).toContain('ada');
  });

  it('views are rebuilt while the hub serves, and read the same afterwards', async () => {
    const strip = ({ nodes: listed }: { nodes: Listed[] }) =>
      listed.map(({ node_id, public_key }) => ({ node_id, public_key }));
    const before = strip(await get(first, '/nodes'));
    const { generation } = await get<{ generation: number }>(first, '/views');
    expect((await call(second, 'POST', '/views/rebuild')).status).toBe(202);
    await expect
      .poll(() => get(first, '/views'), { timeout: 15_000 })
      .toMatchObject({ generation: generation + 1, rebuild: null });
    expect(strip(await get(second, '/nodes'))).toEqual(before);
    expect(await get(first, '/views')).toMatchObject({ dead_letters: 0 });
  });
});
