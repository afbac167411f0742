/** Which models the federation has: as nodes say, for as long as they are heard; one hub on SQLite, two replicas on one PostgreSQL. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { FederationNode, type FederationNodeOptions, generateKey, type Reading } from '../../src/client/node.ts';
import { call } from '../security/visitor.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

const env = { FEDERATION_HEARTBEAT_SECONDS: '0.3' };
const odd = 'org/llama 3.3:70b%2F ü';

interface Model {
  model_id: string;
  nodes: { node_id: string; ready: boolean; queue_depth?: number }[];
  loaded: number;
  capacity: number;
  tokens_per_second: number;
}

describe.each(['one hub on SQLite', 'two replicas on PostgreSQL'] as const)('%s', (setting) => {
  let first: TestHub;
  let second: TestHub;
  const nodes: FederationNode[] = [];

  beforeAll(async () => {
    const replicas = setting === 'two replicas on PostgreSQL';
    first = await startTestHub({ database: replicas ? 'postgres' : 'sqlite', env });
    second = replicas ? await startTestHub({ env: { ...env, DATABASE_URL: first.databaseUrl! } }) : first;
  });
  afterAll(async () => {
    for (const node of nodes) node.close();
    if (second !== first) await second.stop();
    await first.stop();
  });

  const join = async (nodeId: string, options: Partial<FederationNodeOptions> = {}) => {
    const node = new FederationNode({ url: first.url, nodeId, key: await generateKey(), ...options });
    nodes.push(node);
    return node.connect();
  };
  const ask = (path: string) => call(second, 'GET', path, { token: first.adminToken });
  const modelsOf = async (query = '') => (await ask(`/models${query}`)).body.models as Model[];
  const best = (id: string, query = '') => ask(`/models/${encodeURIComponent(id)}/best${query}`);

  it('a node declares its models, and everyone finds them by name, type and capability', async () => {
    const ada = await join('ada');
    await ada.models([
      { model_id: odd, type: 'chat', context_length: 8_192, capacity: 4, tokens_per_second: 30, loaded: true },
      { model_id: 'bge', type: 'embedding', capabilities: ['batch'] },
    ]);
    await vi.waitFor(async () => expect(await modelsOf()).toHaveLength(2), 10_000);
    for (const [query, found] of [
      [`?model=${encodeURIComponent(odd)}`, [odd]],
      ['?type=embedding', ['bge']],
      ['?capability=batch', ['bge']],
      ['?capability=bat', []],
    ] as const) {
      expect((await modelsOf(query)).map(({ model_id }) => model_id)).toEqual(found);
    }
    const { body } = await ask('/models?limit=1');
    expect(body.models).toMatchObject([{ model_id: 'bge' }]);
    expect((await ask(`/models?limit=1&cursor=${body.next_cursor}`)).body.models).toMatchObject([{ model_id: odd }]);
    expect(body.federation).toEqual({ models: 2, nodes: 1, loaded: 1, capacity: 4, tokens_per_second: 30 });
  });

  it('names of profiles and of heartbeats count too, and heartbeats say what is ready', async () => {
    const said: { models: NonNullable<Reading['models']> } = {
      models: [{ model_id: 'seen', status: 'loaded', queue_depth: 2 }],
    };
    await join('bob', { models: ['named'], reading: () => ({ models: said.models }) });
    const nodesOf = async (id: string) => (await modelsOf(`?model=${id}`))[0]?.nodes;
    await vi.waitFor(
      async () => expect(await nodesOf('seen')).toEqual([{ node_id: 'bob', ready: true, queue_depth: 2 }]),
      5_000,
    );
    expect(await nodesOf('named')).toEqual([{ node_id: 'bob', ready: false }]);
    said.models = [{ model_id: 'named', status: 'loaded' }];
    await vi.waitFor(async () => expect(await nodesOf('seen')).toBeUndefined(), 5_000);
    expect(await nodesOf('named')).toEqual([{ node_id: 'bob', ready: true }]);
  });

  it('the best node for a model is told with the reason and how the others compare, whatever the name holds', async () => {
    const cara = await join('cara');
    await cara.models([{ model_id: odd, context_length: 2_048 }]);
    await vi.waitFor(async () => expect((await best(odd)).body.others).toHaveLength(1), 10_000);
    const { body } = await best(odd);
    expect(body).toMatchObject({ model_id: odd, best: { node_id: 'ada', ready: true, why: { ready: 100 } } });
    expect(body.others).toMatchObject([{ node_id: 'cara', ready: false, why: { ready: 0 } }]);
    expect((await best(odd, '?min_context=4096')).body).toMatchObject({ best: { node_id: 'ada' }, others: [] });
    for (const [id, query] of [
      [odd, '?min_context=10000'],
      ['nosuch', ''],
    ] as const) {
      expect(await best(id, query)).toMatchObject({ status: 503, body: { code: 'no_target' } });
    }
  });

  it('the longest name that is allowed is found in a path', async () => {
    const dan = await join('dan');
    const long = '🦙'.repeat(128);
    await dan.models([{ model_id: long }]);
    await vi.waitFor(async () => expect((await best(long)).body).toMatchObject({ best: { node_id: 'dan' } }), 10_000);
  });

  it('an unchanged declaration is not written again', async () => {
    const eve = await join('eve');
    await eve.models([{ model_id: 'm' }]);
    await vi.waitFor(async () => expect(await modelsOf('?model=m')).toHaveLength(1), 10_000);
    await eve.models([{ model_id: 'm' }]);
    await eve.models([{ model_id: 'm', loaded: true }]);
    await vi.waitFor(async () => expect((await modelsOf('?model=m'))[0]?.loaded).toBe(1), 10_000);
    const { position } = (await ask('/models')).body;
    const { body } = await ask(`/audit?action=models.declared&actor=node:eve&min_position=${position}`);
    expect(body.entries).toHaveLength(2);
    await expect(eve.models([{ model_id: 'm' }, { model_id: 'm' }])).rejects.toMatchObject({ code: 'invalid_input' });
  });

  it('models are gone with their node, and back with it', async () => {
    const key = await generateKey();
    const fay = await join('fay', { key });
    await fay.models([{ model_id: 'rare' }]);
    await vi.waitFor(async () => expect(await modelsOf('?model=rare')).toHaveLength(1), 10_000);
    await fay.leave();
    await vi.waitFor(async () => expect(await modelsOf('?model=rare')).toEqual([]), 10_000);
    await join('fay', { key });
    await vi.waitFor(async () => expect(await modelsOf('?model=rare')).toHaveLength(1)); // it needs not say so again
    await call(first, 'DELETE', '/nodes/fay', { token: first.adminToken });
    await vi.waitFor(async () => expect(await modelsOf('?model=rare')).toEqual([]), 10_000);
    const anew = await join('fay', { key });
    expect(await modelsOf('?model=rare')).toEqual([]);
    await anew.models([{ model_id: 'rare' }]);
    await vi.waitFor(async () => expect(await modelsOf('?model=rare')).toHaveLength(1), 10_000);
  });
});
