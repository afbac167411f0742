/** A replica is killed while a node fetches through it: the sync goes on at another, and all that there is comes, each written down as moved. */
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import type { FederationNode } from '../../src/client/node.ts';
import { call, knowing, openHanded } from '../journeys/knowledge.ts';
import { type Cluster, startCluster } from '../setup/cluster.ts';
import { noLimits } from '../setup/no-limits.ts';

const count = 1_500;
let cluster: Cluster;
const nodes: FederationNode[] = [];

beforeAll(async () => {
  cluster = await startCluster({ replicas: 2, env: { ...noLimits, LOG_LEVEL: 'warn' } });
}, 120_000);
afterAll(async () => {
  for (const node of nodes) node.close();
  await cluster?.stop();
});

it('goes on under its name, at the replica that is left', async () => {
  const hub = { url: cluster.front.url, adminToken: cluster.adminToken };
  const ada = await knowing(hub, 'ada', openHanded);
  nodes.push(ada.node);
  for (let at = 0; at < count; at++) await ada.knowledge.put({ category: 'notes', content: `n${at}` });
  expect((await ada.knowledge.sync()).pushed).toBe(count);
  ada.node.close();
  const bob = await knowing(hub, 'bob', openHanded);
  nodes.push(bob.node);
  const held = await vi.waitFor(async () => {
    for (const replica of cluster.replicas) {
      const { body } = await call(replica.url, undefined, 'GET', '/status');
      if (body.connections === 1) return replica;
    }
    throw new Error('no replica has the node yet');
  });
  let killed: Promise<void> | undefined;
  const names = new Set<string>();
  const done = await bob.knowledge.sync({
    onProgress({ syncId, pulled }) {
      names.add(syncId);
      if (pulled > 200) killed ??= held.kill();
    },
  });
  await killed;
  expect(killed).toBeDefined();
  expect([...names]).toEqual([done.syncId]);
  expect(await bob.knowledge.list()).toHaveLength(count);
  const other = cluster.replicas.find((replica) => replica !== held)!;
  await vi.waitFor(
    async () => {
      const { body } = await call(other.url, cluster.adminToken, 'GET', `/knowledge/syncs/${done.syncId}`);
      expect(body.sync).toMatchObject({ status: 'completed', node_id: 'bob' });
    },
    { timeout: 10_000 },
  );
  const [first] = await bob.knowledge.list();
  const holders = await call(other.url, cluster.adminToken, 'GET', `/memory/${first}/holders`);
  expect(holders.body.holders).toMatchObject([{ holder: 'bob', state: 'held' }]);
  const again = await bob.knowledge.sync();
  expect(again).toMatchObject({ pulled: 0, pushed: 0 });
}, 180_000);
