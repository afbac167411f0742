/** What is left when readings are let go: hours, counts and a hash; and views that read the same as before. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openLog, openViews } from '../../src/backends.ts';
import { Executor } from '../../src/commands/execute.ts';
import { federation, federationStream, found } from '../../src/commands/governance.ts';
import { healthStream, measure } from '../../src/commands/health.ts';
import { heartbeat, heartbeatStream, node, nodeStream, register, remove } from '../../src/commands/node.ts';
import { requestRebuild, viewsState, viewsStream } from '../../src/commands/views.ts';
import { readConfig } from '../../src/config.ts';
import type { EventLog } from '../../src/events/log.ts';
import { createKernel } from '../../src/kernel.ts';
import { soleLeases } from '../../src/lease.ts';
import type { Views } from '../../src/projections/views.ts';
import { Retention } from '../../src/retention.ts';

const about = { actor: 'hub' };
const dayMs = 86_400_000;
let folder: string;
let log: EventLog;
let views: Views;
let executor: Executor;
let now: number;
const kernel = createKernel({ logLevel: 'silent' }, { now: () => now });

beforeEach(async () => {
  now = Date.parse('2026-01-01T00:30:00.000Z');
  folder = await mkdtemp(join(tmpdir(), 'fedhub-retention-'));
  const url = `sqlite:${folder}`;
  log = await openLog(url, kernel, { segmentSize: 50 });
  views = await openViews({ url, logUrl: url, log, kernel, logLevel: 'silent' });
  executor = await Executor.start(log, kernel);
  await executor.execute(federationStream, federation, found, { federationId: 'f', mode: 'open' }, about);
});

afterEach(async () => {
  await executor.close();
  await views.close();
  await log.close();
  await rm(folder, { recursive: true, force: true });
});

async function live(nodeIds: string[], beats: number): Promise<void> {
  for (const nodeId of nodeIds) {
    const publicKey = nodeId.padEnd(43, 'A');
    await executor.execute(
      nodeStream(nodeId),
      node,
      register,
      { nodeId, publicKey, profile: {}, grant: { role: 'member', admission: { by: 'open' } } },
      about,
    );
  }
  for (let beat = 0; beat < beats; beat++) {
    now += 15 * 60_000;
    for (const nodeId of nodeIds) {
      const reading = { resources: { cpu_percent: (beat * 7) % 100 }, active_tasks: beat };
      await executor.record(nodeStream(nodeId), node, heartbeat, { nodeId, reading }, heartbeatStream(nodeId), about);
    }
    const reading = { online: nodeIds.length, suspect: 0, offline: 0, services_running: 0, services_degraded: 0 };
    const rest = { services_stopped: 0, alerts_warning: 0, alerts_critical: 0, cpu: beat * 100, memory: null };
    await executor.record(federationStream, federation, measure, { ...reading, ...rest }, healthStream, about);
  }
}

async function caughtUp(): Promise<void> {
  const head = await log.head();
  await expect.poll(async () => (await views.state()).position, { timeout: 10_000 }).toBe(head);
}

function retention(): Retention {
  const config = readConfig({ FEDERATION_HEARTBEAT_DAYS: '7' });
  return new Retention({ log, views, kernel, executor, config }, soleLeases(1).acquire('retention'));
}

it('drops only segments that are full, old and read, and writes down what they held', async () => {
  await live(['a', 'b'], 40);
  await caughtUp();
  const keeper = retention();
  await keeper.run();
  expect((await log.segments()).map(({ from }) => from)).toEqual([1, 51, 101]); // nothing is a week old

  now += 8 * dayMs;
  await keeper.run();
  expect((await log.segments()).map(({ from }) => from)).toEqual([101]); // the last is still open
  await caughtUp();
  const { value: dropped } = await views.read(undefined, (db) =>
    db.selectFrom('federation_log_segments_dropped').selectAll().orderBy('from_position').execute(),
  );
  expect(dropped.map(({ from_position, to_position }) => [from_position, to_position])).toEqual([
    [1, 50],
    [51, 100],
  ]);
  expect(dropped.reduce((sum, { count }) => sum + count, 0)).toBeGreaterThan(90);
  expect(dropped.every(({ root }) => /^[0-9a-f]{64}$/.test(root))).toBe(true);
  await keeper.close();
});

it('leaves the same views, live and rebuilt, also for a node that was removed meanwhile', async () => {
  await live(['a', 'b', 'gone'], 40);
  await executor.execute(nodeStream('gone'), node, remove, { nodeId: 'gone', cause: 'operator' }, about);
  now += 8 * dayMs;
  const keeper = retention();
  await caughtUp();
  await keeper.run();
  await keeper.close();
  await caughtUp();
  const before = await views.read(undefined, (db) => db.selectFrom('federation_nodes').selectAll().execute());
  const hours = await views.read(undefined, (db) =>
    db.selectFrom('federation_heartbeat_hours').selectAll().orderBy('id').execute(),
  );
  expect(before.value.map(({ last_heartbeat }) => last_heartbeat)).not.toContain(null);
  expect(hours.value.length).toBeGreaterThan(20);

  const { generation } = await views.state();
  await executor.execute(viewsStream, viewsState, requestRebuild, {}, about);
  await expect.poll(async () => (await views.state()).generation, { timeout: 10_000 }).toBe(generation + 1);
  await caughtUp();
  const after = await views.read(undefined, (db) => db.selectFrom('federation_nodes').selectAll().execute());
  const hoursAfter = await views.read(undefined, (db) =>
    db.selectFrom('federation_heartbeat_hours').selectAll().orderBy('id').execute(),
  );
  expect(after.value).toEqual(before.value);
  expect(hoursAfter.value).toEqual(hours.value);
});

it('done again after a crash between writing and dropping, writes nothing twice', async () => {
  await live(['a'], 60);
  now += 8 * dayMs;
  await caughtUp();
  const drop = log.dropSegment.bind(log);
  let broken = true;
  const crashing = new Proxy(log, {
    get(target, name) {
      if (name === 'dropSegment') return (from: number) => (broken ? Promise.reject(new Error('crash')) : drop(from));
      const member: unknown = Reflect.get(target, name);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
  const config = readConfig({});
  const keeper = new Retention({ log: crashing, views, kernel, executor, config }, soleLeases(1).acquire('retention'));
  await keeper.run();
  expect((await log.segments())[0]?.from).toBe(1);
  broken = false;
  await caughtUp();
  await keeper.run();
  await keeper.close();
  expect((await log.segments())[0]?.from).toBeGreaterThan(1);
  expect(await log.readStream('segment-1', 0, 1_000)).toSatisfy(
    (events: { type: string }[]) => events.filter(({ type }) => type === 'log.segment-dropped').length === 1,
  );
});
