/** Three hubs in a ring, each a member of the one before: knowledge goes round once, as far as the rules let it, and comes home as nothing new. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { SyncSide } from '../../src/client/node.ts';
import type { ShareRule } from '../../src/events/sovereignty.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { call, type Json, knowing, openHanded, says } from './knowledge.ts';

/** A → B → C → A. */
const hubs: Record<'a' | 'b' | 'c', TestHub> = {} as never; // filled before the first test
const before = { a: 'c', b: 'a', c: 'b' } as const;
const within = { timeout: 20_000, interval: 100 };

const everyone = { everyone: true as const };
const passedOn: ShareRule = { id: 'on', categories: ['open/*'], with: everyone, pass_on: true };
const kept: ShareRule = { id: 'kept', categories: ['near/*'], with: everyone };

beforeAll(async () => {
  const env = { FEDERATION_EGRESS_ALLOW: '127.0.0.0/8' };
  const [a, b, c] = await Promise.all([startTestHub({ env }), startTestHub({ env }), startTestHub({ env })]);
  Object.assign(hubs, { a, b, c });
  for (const name of ['a', 'b', 'c'] as const) {
    const there = hubs[before[name]];
    const link = { peer_id: before[name], url: there.url, node_id: `hub-${name}`, direction: 'pull', every_seconds: 1 };
    const { status, body } = await asked(hubs[name], 'POST', '/knowledge/peers', link);
    expect(status, JSON.stringify(body)).toBe(201);
    // What came from elsewhere is of @federation: it goes on where the rule that let it out says so, and no further.
    await says(hubs[name], '@federation', { shares: [passedOn, kept] });
  }
}, 120_000);
afterAll(async () => {
  await Promise.all(Object.values(hubs).map((hub) => hub.stop()));
});

function asked(hub: TestHub, method: string, path: string, body?: object) {
  return call(hub.url, hub.adminToken, method, path, body);
}

async function stores(hub: TestHub, memory: object): Promise<Json> {
  const { status, body } = await asked(hub, 'POST', '/memory/store', memory);
  expect(status, JSON.stringify(body)).toBe(201);
  return body;
}

async function shown(hub: TestHub, id: string): Promise<Json> {
  const { status, body } = await asked(hub, 'GET', `/memory/${id}`);
  return status === 200 ? body.memory : undefined;
}

/** Facts of memories in the log of a hub, by the one who audits. */
async function facts(hub: TestHub, memoryId: string): Promise<Json[]> {
  const { body } = await asked(hub, 'GET', `/audit?target=${encodeURIComponent(memoryId)}&limit=100`);
  return body.entries.filter(({ action }: Json) => action.startsWith('memory.'));
}

describe('a ring', () => {
  it('brings what may be passed on round once, says where it passed, and takes it home as nothing new', async () => {
    const { a, b, c } = hubs;
    const { memory_id, version } = await stores(a, { memory_id: 'bread', category: 'open/food', content: 'flour' });
    expect(memory_id).toBe('bread');
    const there = `bread@${a.federationId}`;
    const atB = await vi.waitFor(async () => {
      const memory = await shown(b, there);
      expect(memory).toBeDefined();
      return memory;
    }, within);
    expect(atB).toMatchObject({
      content: 'flour',
      foreign: { federation: a.federationId, hops: [a.federationId], pass_on: true },
    });
    expect(atB.owner).toMatch(new RegExp(`^operator:.*@${a.federationId}$`));
    expect(atB.version).not.toBe(version);
    const atC = await vi.waitFor(async () => {
      const memory = await shown(c, there);
      expect(memory).toBeDefined();
      return memory;
    }, within);
    expect(atC).toMatchObject({
      version: atB.version,
      content: 'flour',
      foreign: { federation: a.federationId, hops: [a.federationId, b.federationId], pass_on: true },
    });
    await pulledTwice(a);
    for (const [hub, name] of [
      [a, 'bread'],
      [b, there],
      [c, there],
    ] as const) {
      expect(await facts(hub, name), `facts of ${name}`).toHaveLength(1);
    }
    expect(await shown(a, there)).toBeUndefined();
  });

  it('stops after one step what may not be passed on', async () => {
    const { a, b, c } = hubs;
    await stores(a, { memory_id: 'diary', category: 'near/notes', content: 'mine' });
    const there = `diary@${a.federationId}`;
    await vi.waitFor(async () => expect(await shown(b, there)).toMatchObject({ foreign: { pass_on: false } }), within);
    await pulledTwice(c);
    expect(await shown(c, there)).toBeUndefined();
  });

  it('brings an edit to all, and a deletion', async () => {
    const { a, b, c } = hubs;
    const there = `bread@${a.federationId}`;
    const edit = { category: 'open/food', content: 'flour and water' };
    expect((await asked(a, 'PUT', '/memory/bread', edit)).status).toBe(200);
    for (const hub of [b, c]) {
      await vi.waitFor(
        async () => expect(await shown(hub, there)).toMatchObject({ content: 'flour and water', concurrent: [] }),
        within,
      );
    }
    expect((await asked(a, 'DELETE', '/memory/bread')).status).toBe(200);
    for (const hub of [b, c]) {
      await vi.waitFor(async () => expect(await shown(hub, there)).toBeUndefined(), within);
    }
    await pulledTwice(a);
    expect(await facts(a, 'bread')).toHaveLength(3);
  });

  it('withdraws what the rules let go no more, says where it could not, and brings it again when they let it', async () => {
    const { a, b, c } = hubs;
    await stores(a, { memory_id: 'plan', category: 'open/plans', content: 'secret soon' });
    const there = `plan@${a.federationId}`;
    const { node } = await knowing(a, 'keeper', { takes: openHanded.takes });
    const unwilling: SyncSide = {
      items: () => [],
      wanted: (versions) => versions,
      take: () => {},
      give: () => [],
      withdraw: () => false,
    };
    expect((await node.sync(unwilling, { direction: 'pull' })).pulled).toBeGreaterThan(0);
    for (const hub of [b, c]) await vi.waitFor(async () => expect(await shown(hub, there)).toBeDefined(), within);
    const before = await shown(b, there);
    await says(a, '@federation', { shares: [kept] });
    for (const hub of [b, c]) await vi.waitFor(async () => expect(await shown(hub, there)).toBeUndefined(), within);
    await vi.waitFor(async () => {
      const { body } = await asked(a, 'GET', '/knowledge/withdrawals?subject=@federation');
      const plan = body.withdrawals.filter(({ memory_id }: Json) => memory_id === 'plan');
      const states = Object.fromEntries(plan.map(({ holder, state }: Json) => [holder, state]));
      expect(states).toEqual({ 'hub-b': 'honoured', keeper: 'declined' });
    }, within);
    const past = await asked(b, 'GET', `/memory/${there}?version=${before.version}`);
    expect(past).toMatchObject({ status: 404, body: { code: 'not_found' } });
    node.close();
    await says(a, '@federation', { shares: [passedOn, kept] });
    for (const hub of [b, c]) {
      await vi.waitFor(async () => expect(await shown(hub, there)).toMatchObject({ content: 'secret soon' }), within);
    }
  });
});

/** Waits until a hub has synced with the one before it two times more: what was to come has come. */
async function pulledTwice(hub: TestHub): Promise<void> {
  const name = (Object.keys(hubs) as (keyof typeof hubs)[]).find((one) => hubs[one] === hub)!;
  const there = hubs[before[name]];
  const ended = async () => {
    const { body } = await asked(there, 'GET', `/knowledge/syncs?node=hub-${name}&limit=500`);
    return body.syncs.filter(({ status }: Json) => status === 'completed').length;
  };
  const already = await ended();
  await vi.waitFor(async () => expect(await ended()).toBeGreaterThanOrEqual(already + 2), within);
}

describe('a hub that brings as well as fetches', () => {
  it('lets go what a rule names the other for, and nothing that everyone in its own federation may have', async () => {
    const { a, b } = hubs;
    const named: ShareRule = { id: 'far', categories: ['export/*'], with: { nodes: ['peer:both'] }, pass_on: true };
    await says(b, '@federation', { shares: [passedOn, kept, named] });
    const link = { peer_id: 'both', url: a.url, node_id: 'hub-b-too', direction: 'both', every_seconds: 1 };
    const added = await asked(b, 'POST', '/knowledge/peers', link);
    expect(added).toMatchObject({
      status: 201,
      body: { waiting: false, peer: { peer_id: 'both', scope: { mode: 'full' } } },
    });
    await says(a, 'hub-b-too', {
      shares: [{ id: 'all', categories: ['*'], with: { roles: ['member', 'admin'] } }],
      takes: openHanded.takes,
    });
    await stores(b, { memory_id: 'steel', category: 'export/metal', content: 'good steel' });
    await stores(b, { memory_id: 'gossip', category: 'open/talk', content: 'not for them' });
    const there = `steel@${b.federationId}`;
    const { node } = await knowing(a, 'reader', { takes: openHanded.takes });
    await vi.waitFor(async () => {
      const { body } = await call(a.url, node.token, 'GET', `/memory/${there}`);
      expect(body.memory).toMatchObject({
        content: 'good steel',
        foreign: { federation: b.federationId, hops: [b.federationId], pass_on: true },
      });
    }, within);
    expect((await call(a.url, node.token, 'GET', `/memory/gossip@${b.federationId}`)).status).toBe(404);
    const { body } = await asked(b, 'GET', '/memory/steel/holders');
    expect(body.holders).toMatchObject([{ holder: 'peer:both', rule: 'far', state: 'held' }]);
    const one = await asked(b, 'GET', '/memory/steel/holders?limit=1');
    const after = await asked(b, 'GET', `/memory/steel/holders?limit=1&cursor=${one.body.next_cursor}`);
    expect(after).toMatchObject({ status: 200, body: { holders: [], next_cursor: null } });
    await asked(b, 'PUT', '/memory/steel', { category: 'export/metal', content: 'better steel' });
    await vi.waitFor(async () => {
      const changed = await call(a.url, node.token, 'GET', `/memory/${there}`);
      expect(changed.body.memory).toMatchObject({ content: 'better steel', concurrent: [] });
    }, within);
    const peers = await asked(b, 'GET', '/knowledge/peers');
    expect(peers.body.peers.find(({ peer_id }: Json) => peer_id === 'both')).toMatchObject({
      last_outcome: 'completed',
      last_error: null,
    });
    expect((await asked(b, 'DELETE', '/knowledge/peers/both')).status).toBe(200);
    await stores(b, { memory_id: 'iron', category: 'export/metal', content: 'too late' });
    await vi.waitFor(async () => {
      const { body: gone } = await asked(b, 'GET', '/memory/steel/holders');
      expect(gone.holders.every(({ state }: Json) => state === 'unreachable')).toBe(true);
    }, within);
    const back = await asked(b, 'GET', '/knowledge/withdrawals?holder=peer:both&limit=1');
    expect(back).toMatchObject({ status: 200, body: { withdrawals: [{ memory_id: 'steel', state: 'unreachable' }] } });
    const rest = await asked(b, 'GET', `/knowledge/withdrawals?holder=peer:both&cursor=${back.body.next_cursor}`);
    expect(rest).toMatchObject({ status: 200, body: { withdrawals: [] } });
    expect((await call(a.url, node.token, 'GET', `/memory/iron@${b.federationId}`)).status).toBe(404);
    node.close();
  });

  it('joins only where it may call, and who may operate it says where', async () => {
    const { a, b } = hubs;
    const link = { url: a.url, node_id: 'nobody', direction: 'pull' };
    const { node } = await knowing(b, 'curious');
    expect((await call(b.url, node.token, 'POST', '/knowledge/peers', link)).status).toBe(403);
    expect((await call(b.url, node.token, 'GET', '/knowledge/peers')).status).toBe(403);
    node.close();
    const inner = await asked(b, 'POST', '/knowledge/peers', { ...link, url: 'http://10.0.0.1:3002' });
    expect(inner).toMatchObject({ status: 403, body: { code: 'egress_refused' } });
    const taken = await asked(b, 'POST', '/knowledge/peers', { ...link, node_id: 'hub-b' });
    expect(taken).toMatchObject({ status: 502, body: { code: 'target_unreachable' } });
    expect((await asked(b, 'DELETE', '/knowledge/peers/nothing')).status).toBe(404);
  });
});
