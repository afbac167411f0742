/**
 * What the guards of the HTTP door cost: one read route with all of them against the same hub whose slots hold guards that do nothing,
 * limits counted in memory and in Redis; and what it costs to find out who asks.
 */
import { join } from 'node:path';
import { startRedis } from '../../test/setup/redis.ts';
import type { Requests } from '../load/requests.ts';
import { type Bench, type Figure, takeTurns } from '../measure.ts';
import type { GuardedHub, GuardedHubOptions } from '../peers/guarded-hub.ts';
import { startChild } from '../processes.ts';

const nodeId = 'bench-node';
const connections = 16;
const roundMs = 3_000;
const verifications = { known: 50_000, fresh: 2_000, signed: 1_000 };

export async function guards(bench: Bench): Promise<readonly Figure[]> {
  const redis = await startRedis();
  const hubs = {
    bare: await hub({ guards: false, folder: join(bench.folder, 'bare') }),
    inMemory: await hub({ guards: true, folder: join(bench.folder, 'memory') }),
    inRedis: await hub({ guards: true, folder: join(bench.folder, 'redis'), redis: redis.url }),
  };
  const load = startChild<Requests>(new URL('../load/requests.ts', import.meta.url));
  try {
    const asked =
      ({ url, token }: { url: string; token: string }) =>
      (ms: number) =>
        load.ask('closedLoop', `${url}/api/federation/nodes/${nodeId}`, token, connections, ms);
    const rates = await takeTurns(bench.rounds, roundMs, {
      bare: asked(hubs.bare),
      inMemory: asked(hubs.inMemory),
      inRedis: asked(hubs.inRedis),
    });
    const { child } = hubs.inMemory;
    const costs = await takeTurns(bench.rounds, roundMs, {
      known: () => child.ask('verifyTokens', verifications.known, true),
      fresh: () => child.ask('verifyTokens', verifications.fresh, false),
      signed: () => child.ask('verifySigned', verifications.signed),
    });
    const peer = { name: 'the same route without guards', values: rates.bare };
    const target = { atLeast: 0.7 };
    return [
      { what: 'reading a node, all guards', unit: 'per second', hub: rates.inMemory, peer, target },
      { what: 'reading a node, all guards, limits in Redis', unit: 'per second', hub: rates.inRedis, peer, target },
      { what: 'verifying a session token seen before', unit: 'per second', hub: costs.known },
      { what: 'verifying a session token never seen', unit: 'per second', hub: costs.fresh },
      { what: 'verifying a signed request', unit: 'per second', hub: costs.signed },
    ];
  } finally {
    for (const stopped of [load, ...Object.values(hubs).map(({ child }) => child)]) await stopped.stop();
    await redis.remove();
  }
}

async function hub(settings: Omit<GuardedHubOptions, 'nodeId'>) {
  const child = startChild<GuardedHub>(new URL('../peers/guarded-hub.ts', import.meta.url));
  return { child, ...(await child.ask('start', { nodeId, ...settings })) };
}
