/**
 * Three replicas under load, over one PostgreSQL and one Redis: each is killed, Redis is taken away and emptied, PostgreSQL is
 * restarted. At the end the log is read: what was acknowledged is there, and each task was completed once.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openLog } from '../../src/backends.ts';
import type { Recorded } from '../../src/events/log.ts';
import { createKernel } from '../../src/kernel.ts';
import { type Cluster, type Replica, startCluster } from '../setup/cluster.ts';
import { readExposition } from '../setup/exposition.ts';
import { noLimits } from '../setup/no-limits.ts';
import { failsOnce, Load } from './cluster-load.ts';

const takeoverMs = 5_000;
const pace = { FEDERATION_HEARTBEAT_SECONDS: '1', FEDERATION_SILENCE_SECONDS: '6', LOG_LEVEL: 'warn' };

let cluster: Cluster;
let load: Load;

beforeAll(async () => {
  cluster = await startCluster({ env: { ...noLimits, ...pace } });
  load = await Load.start(cluster, 6);
  await moreDone(50);
}, 120_000);
afterAll(async () => {
  await load?.close();
  await cluster?.stop();
});

/** Waits until so many tasks that are not handed in yet were begun. */
async function moreDone(count: number): Promise<void> {
  const from = load.next;
  const begun = () => [...load.begun.keys()].filter((number) => number >= from).length;
  await until(60_000, () => begun() >= count);
}

/** Looks again and again, for so long at most. */
async function until(mostMs: number, done: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + mostMs;
  while (!(await done())) {
    if (performance.now() > end) throw new Error(`this did not come about within ${mostMs} ms: ${done}`);
    await sleep(100);
  }
}

/** One number of a replica's /metrics. */
async function gauge({ url }: Replica, name: string, labels: Record<string, string> = {}): Promise<number | undefined> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const samples = readExposition(text).get(name)?.samples ?? [];
  return samples.find(({ labels: its }) => Object.entries(labels).every(([key, value]) => its[key] === value))?.value;
}

/** The replica that fills the views. */
async function projecting(): Promise<Replica> {
  for (;;) {
    for (const replica of cluster.replicas)
      if (replica.alive && (await gauge(replica, 'federation_projecting')) === 1) return replica;
    await sleep(100);
  }
}

/** Kills a replica, and answers after how many ms the views moved on, and a task that was handed in since was begun. */
async function kill(victim: Replica): Promise<{ projected: number; dispatched: number }> {
  const survivor = cluster.replicas.find((replica) => replica !== victim)!;
  const viewsAt = async () => (await gauge(survivor, 'federation_views_position')) ?? 0;
  await victim.kill();
  const killed = performance.now();
  const [position, task] = [await viewsAt(), load.next];
  let projected: number | undefined;
  let dispatched: number | undefined;
  while (projected === undefined || dispatched === undefined) {
    if (performance.now() - killed > 30_000)
      throw new Error(`no takeover: ${JSON.stringify({ projected, dispatched })}`);
    if (projected === undefined && (await viewsAt()) > position) projected = performance.now() - killed;
    const begun = load.begunSince(task);
    if (begun !== undefined) dispatched = begun - killed;
    await sleep(50);
  }
  return { projected, dispatched };
}

describe('a replica that is killed under load', () => {
  it('is replaced as projector and as dispatcher within five seconds, whichever it was', async () => {
    const killed = new Set<Replica>();
    while (killed.size < cluster.replicas.length) {
      const holder = await projecting();
      const victim = killed.has(holder) ? cluster.replicas.find((replica) => !killed.has(replica))! : holder;
      const duty = (await gauge(victim, 'federation_lease_held', { duty: 'task-dispatcher' })) === 1;
      const took = await kill(victim);
      console.log(
        `replica ${cluster.replicas.indexOf(victim) + 1}, ${victim === holder ? 'the projector' : 'no projector'}, ${duty ? 'the dispatcher' : 'no dispatcher'}: views moved on after ${Math.round(took.projected)} ms, a new task was begun after ${Math.round(took.dispatched)} ms`,
      );
      killed.add(victim);
      await victim.start();
      expect(took.projected).toBeLessThan(takeoverMs);
      expect(took.dispatched).toBeLessThan(takeoverMs);
      await moreDone(30);
    }
  });
});

describe('Redis', () => {
  it('may be away for a while: tasks go on', async () => {
    await cluster.redis.stop();
    await moreDone(30);
    await cluster.redis.start();
    await moreDone(30);
  });

  it('may be emptied at any moment: tasks go on', async () => {
    for (let times = 0; times < 3; times++) {
      await cluster.redis.flush();
      await moreDone(15);
    }
  });
});

describe('PostgreSQL', () => {
  it('may be restarted: what was refused meanwhile is taken at a later try', async () => {
    await cluster.postgres.stop();
    await sleep(1_000);
    await cluster.postgres.start();
    const back = performance.now();
    await moreDone(30);
    console.log(`PostgreSQL came back, and 30 new tasks were begun ${Math.round(performance.now() - back)} ms later`);
    expect(cluster.replicas.every(({ alive }) => alive)).toBe(true);
  });
});

describe('at the end', () => {
  let events: Recorded[];
  const of = (type: string) => events.filter((event) => event.type === type);
  const taskIdOf = ({ data }: Recorded) => (JSON.parse(data) as { task_id: string }).task_id;

  beforeAll(async () => {
    await load.settle();
    const log = await openLog(cluster.postgres.url, createKernel({ logLevel: 'silent' }));
    const completed = async () => {
      events = [];
      for (;;) {
        const page = await log.readAll(events.at(-1)?.position ?? 0, 1_000);
        events.push(...page.events);
        if (page.events.length === 0) break;
      }
      return new Set(of('task.completed').map(taskIdOf)).size;
    };
    try {
      await until(90_000, async () => (await completed()) === load.tasks.size);
    } finally {
      await log.close();
    }
  }, 120_000);

  it('every acknowledged task and event lies where the hub said', () => {
    expect(load.wrong).toEqual([]);
    const at = new Map(events.map((event) => [event.position, event]));
    for (const { id, position } of load.tasks.values()) {
      const event = at.get(position)!;
      expect([event?.type, event && taskIdOf(event)]).toEqual(['task.submitted', id]);
    }
    for (const { id, position } of load.announcements) {
      expect(at.get(position)?.data).toContain(id);
    }
    expect(events.map(({ position }) => position)).toEqual(events.map((_, place) => place + 1)); // none is missing or there twice
  });

  it('nothing was handed in twice, and every task was completed exactly once, under its newest lease', () => {
    const ids = [...load.tasks.values()].map(({ id }) => id).sort();
    expect(of('task.submitted').map(taskIdOf).sort()).toEqual(ids);
    expect(of('task.completed').map(taskIdOf).sort()).toEqual(ids);
    expect([...of('task.failed'), ...of('task.cancelled')]).toEqual([]);
    const leases = new Map<string, number>();
    for (const event of events) {
      const { task_id, lease } = JSON.parse(event.data) as { task_id: string; lease: number };
      if (event.type === 'task.assigned') leases.set(task_id, lease);
      if (event.type === 'task.completed') expect(lease).toBe(leases.get(task_id));
    }
    const failing = [...load.tasks.keys()].filter(failsOnce).length;
    const runs = [...load.runs.values()].reduce((sum, each) => sum + each, 0);
    console.log(
      `${ids.length} tasks, ${failing} of which fail once, begun ${runs} times; ${of('task.assigned').length} assignments, ${events.length} events`,
    );
  });
});
