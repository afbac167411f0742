/**
 * A hundred thousand memories at a node and at the hub that differ in a hundred: what it takes to find and move what differs. And how long a
 * search in as many takes.
 */
import { join } from 'node:path';
import { type HubProcess, startHub } from '../hub-process.ts';
import type { Knower } from '../load/knower.ts';
import { type Bench, type Figure, percentile } from '../measure.ts';
import { startChild } from '../processes.ts';

const memories = 100_000;
const differing = 100;
const searches = 300;

export async function knowledge(bench: Bench): Promise<readonly Figure[]> {
  const hub = await startHub({ folder: join(bench.folder, 'hub') });
  const knower = startChild<Knower>(new URL('../load/knower.ts', import.meta.url));
  try {
    const token = await knower.ask('join', hub.url, memories);
    const pushed = [await knower.ask('push')];
    const ms: number[] = [];
    const kilobytes: number[] = [];
    for (let round = 0; round < bench.rounds; round++) {
      await knower.ask('change', differing / 2);
      await changeAtHub(hub, token, round);
      const taken = await knower.ask('sync');
      // What the node wrote anew the hub still has as it was, and may offer it: that is seen only when it came.
      if (taken.pushed !== differing / 2 || taken.pulled < differing / 2)
        throw new Error(`a sync moved ${JSON.stringify(taken)}`);
      ms.push(taken.ms);
      kilobytes.push(taken.frameBytes / 1_000);
    }
    await indexed(hub, token);
    const found: number[] = [];
    for (let round = 0; round < bench.rounds; round++) found.push(await searchP99(hub, token));
    const stores = `two stores of ${memories.toLocaleString('en')} memories that differ in ${differing}`;
    return [
      { what: `SQLite, ${stores}: a sync both ways`, unit: 'ms', hub: ms, target: { atMost: 3_000 } },
      { what: `${stores}: fingerprints moved`, unit: 'KB', hub: kilobytes, target: { atMost: 200 } },
      {
        what: `SQLite, search in ${memories.toLocaleString('en')} memories, p99, over HTTP`,
        unit: 'ms',
        hub: found,
        target: { atMost: 50 },
      },
      { what: `SQLite, memories taken in a sync`, unit: 'per second', hub: pushed },
    ];
  } finally {
    for (const child of [knower, hub]) await child.stop();
  }
}

/** In the node's own name; others than those that the node changes, but for one of the second round, of which both versions stay. */
async function changeAtHub(hub: HubProcess, token: string, round: number): Promise<void> {
  for (let at = 0; at < differing / 2; at++) {
    const id = `m${1 + at * Math.floor(memories / differing) + (round % 5)}`;
    await call(hub, token, 'PUT', `/memory/${id}`, { category: 'kind-1', content: `round ${round} of the benchmark` });
  }
}

/** Waits until the index holds all that was written. */
async function indexed(hub: HubProcess, token: string): Promise<void> {
  const { position } = await call(hub, token, 'PUT', '/memory/m0', { category: 'kind-1', content: 'the last of all' });
  for (;;) {
    const { stale } = await call(hub, token, 'GET', `/memory/search?q=word1&limit=1&min_position=${position}`);
    if (!stale) return;
  }
}

async function searchP99(hub: HubProcess, token: string): Promise<number> {
  const taken: number[] = [];
  for (let at = 0; at < searches; at++) {
    const words = Array.from({ length: 2 + (at % 2) }, () => `word${Math.floor(5_000 ** Math.random()).toString(36)}`);
    const began = performance.now();
    await call(hub, token, 'GET', `/memory/search?q=${words.join('+')}&limit=20`);
    taken.push(performance.now() - began);
  }
  return percentile(taken, 99);
}

async function call({ url }: HubProcess, token: string, method: string, path: string, body?: object) {
  const response = await fetch(`${url}/api/federation${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, ...(body && { 'content-type': 'application/json' }) },
    ...(body && { body: JSON.stringify(body) }),
  });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  return (await response.json()) as { position: number; stale?: boolean };
}
