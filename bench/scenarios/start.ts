/** From the start of `fedhub serve` on existing data to its first "ready". */
import { get } from 'node:http';
import { join } from 'node:path';
import { freePort } from '../../test/setup/free-port.ts';
import { type HubSettings, spawnHub, startHub } from '../hub-process.ts';
import type { Load } from '../load/nodes.ts';
import type { Bench, Figure } from '../measure.ts';
import { childOf, startChild } from '../processes.ts';

const askEveryMs = 5;
const patienceMs = 20_000;

export async function start(bench: Bench): Promise<readonly Figure[]> {
  const stores = [{ name: 'SQLite' }, { name: 'PostgreSQL', database: await bench.database() }];
  const figures: Figure[] = [];
  for (const { name, database } of stores) {
    const settings = { folder: join(bench.folder, name), database, port: await freePort() };
    await fill(settings);
    const ready: number[] = [];
    for (let round = 0; round < bench.rounds; round++) ready.push(await startOnce(settings));
    figures.push({ what: `${name}, start to ready`, unit: 'ms', hub: ready, target: { atMost: 1_000 } });
  }
  return figures;
}

/** A federation of fifty nodes that heartbeat for a while. */
async function fill(settings: HubSettings): Promise<void> {
  const hub = await startHub(settings);
  const load = startChild<Load>(new URL('../load/nodes.ts', import.meta.url));
  await load.ask('connect', hub.url, 50, true);
  await load.ask('closedLoop', 2_000);
  await load.stop();
  await hub.stop();
}

async function startOnce(settings: HubSettings): Promise<number> {
  const began = performance.now();
  const { child, said } = spawnHub(settings);
  const hub = childOf(child);
  try {
    while (!(await isReady(settings.port!))) {
      if (child.exitCode !== null || performance.now() - began > patienceMs) {
        throw new Error(`the hub did not become ready. It said:\n${said.join('')}`);
      }
      await new Promise((later) => setTimeout(later, askEveryMs));
    }
    return performance.now() - began;
  } finally {
    await hub.stop();
  }
}

function isReady(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const request = get({ port, host: '127.0.0.1', path: '/api/federation/ready', agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on('error', () => resolve(false));
  });
}
