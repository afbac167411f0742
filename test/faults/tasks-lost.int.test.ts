/** Tasks whose nodes fall silent, and whose hub is killed: each goes to another node in time, and is completed once. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { AssignedTask } from '../../src/protocol.ts';
import { call, httpDoor, joinByHttp, post, prove } from '../security/visitor.ts';
import { TaskNode } from '../services/task-node.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

type Act = (task: AssignedTask, node: TaskNode) => unknown;

let count = 0;
const fresh = (word: string) => `${word}-${count++}`;
const does: Act = async (task, node) => node.complete(task, { did: task.payload });
const enlist = async (hub: TestHub, type: string, act: Act = () => {}, capacity = 10, known?: TaskNode) => {
  const profile = { work: { capacity, types: [type] } };
  const options = { act, profile, ...(known && { key: known.key }) };
  const node = await TaskNode.join(hub, known?.nodeId ?? fresh('node'), options);
  onTestFinished(() => node.close());
  return node;
};
const submit = async (node: TaskNode, submission: object) => {
  const answer = await node.submit({ callback: { kind: 'socket' }, ...submission });
  expect(answer).toMatchObject({ ok: true });
  return String(answer.task_id);
};
const finished = async (node: TaskNode, taskId: string, ms: number) => {
  await node.socket.until(() => node.told('federation:task:finished', taskId).length > 0, ms);
  return node.told('federation:task:finished', taskId)[0];
};
const given = async (node: TaskNode) => {
  await node.socket.until(() => node.tasks.length > 0, 10_000);
  return node.tasks[0]!;
};

// A lease lasts ten seconds, or three heartbeats if that is longer.
const pace = { FEDERATION_HEARTBEAT_SECONDS: '1', FEDERATION_SILENCE_SECONDS: '90' };
/** Heartbeats of a node, so that it is not taken for lost. */
const beat = (node: TaskNode, reading: () => object = () => ({})) => {
  const timer = setInterval(() => void node.heartbeat(reading()), 1_000);
  onTestFinished(() => clearInterval(timer));
};

describe.each(['one hub on SQLite', 'two replicas on PostgreSQL'] as const)('with %s', (setting) => {
  let first: TestHub;
  let second: TestHub;

  beforeAll(async () => {
    const replicas = setting.startsWith('two');
    first = await startTestHub({ database: replicas ? 'postgres' : 'sqlite', env: pace });
    second = replicas ? await startTestHub({ env: { ...pace, DATABASE_URL: first.databaseUrl! } }) : first;
  });
  afterAll(async () => {
    if (second !== first) await second.stop();
    await first.stop();
  });

  it.concurrent('a node that does not say in ten seconds that it started loses the task, and is left alone for a while', async () => {
    const type = fresh('type');
    const ada = await enlist(first, 'none');
    const silent = await enlist(second, type);
    for (const node of [ada, silent]) beat(node);
    const taskId = await submit(ada, { type, max_attempts: 1 });
    const late = await given(silent);
    const doer = await enlist(first, type, does);
    beat(doer);
    expect(await finished(ada, taskId, 15_000)).toMatchObject({ status: 'completed' });
    expect(doer.tasks).toMatchObject([{ task_id: taskId, lease: 2, attempt: 1 }]);
    expect(silent.told('federation:task:cancelled', taskId)).toMatchObject([{ lease: 1, reason: 'not_acknowledged' }]);
    expect(await silent.complete(late)).toMatchObject({ ok: false, error: { code: 'lease_lost' } });
    for (let at = 0; at < 10; at++) await submit(ada, { type });
    await sleep(1_000);
    expect(silent.tasks).toHaveLength(1);
  }, 40_000);

  it.concurrent('a node whose socket is gone for ten seconds loses the task', async () => {
    const type = fresh('type');
    const ada = await enlist(first, 'none');
    const dead = await enlist(second, type, (task, node) => node.start(task));
    beat(ada);
    const taskId = await submit(ada, { type });
    await given(dead);
    await sleep(500); // it has begun
    dead.close();
    const doer = await enlist(first, type, does);
    beat(doer);
    const began = performance.now();
    expect(await finished(ada, taskId, 20_000)).toMatchObject({ status: 'completed' });
    expect(performance.now() - began).toBeGreaterThan(8_000);
    expect(doer.tasks).toMatchObject([{ lease: 2, attempt: 2 }]);
  }, 40_000);

  it.concurrent('a task that the heartbeats of its node do not name goes elsewhere, one that they name stays; a late completion is refused', async () => {
    const type = fresh('type');
    const ada = await enlist(first, 'none');
    const forgetful = await enlist(second, type, (task, node) => node.start(task));
    beat(ada);
    const [kept, lost] = [await submit(ada, { type, payload: 'kept' }), await submit(ada, { type, payload: 'lost' })];
    await forgetful.socket.until(() => forgetful.tasks.length === 2, 10_000);
    beat(forgetful, () => ({ running_tasks: [kept] }));
    const doer = await enlist(first, type, does);
    beat(doer);
    expect(await finished(ada, lost, 35_000)).toMatchObject({ status: 'completed' });
    expect(doer.tasks).toMatchObject([{ task_id: lost, lease: 2, attempt: 2 }]);
    const [one, other] = forgetful.tasks;
    const late = one!.task_id === lost ? one! : other!;
    expect(await forgetful.complete(late)).toMatchObject({ ok: false, error: { code: 'lease_lost' } });
    expect(await forgetful.complete(one === late ? other! : one!)).toMatchObject({ ok: true });
  }, 60_000);

  it.concurrent('a node over HTTP that forgot what it claimed loses it a while after it opened a new session; one that goes on with it keeps it', async () => {
    const type = fresh('type');
    const ada = await enlist(first, 'none');
    beat(ada);
    const claimant = async () => {
      const taskId = await submit(ada, { type });
      const node = await joinByHttp(first, fresh('node'), { work: { capacity: 1, mode: 'claim', types: [type] } });
      const timer = setInterval(() => void post(first, `/nodes/${node.nodeId}/heartbeat`, {}, node.token), 1_000);
      onTestFinished(() => clearInterval(timer));
      const { body } = await post(second, '/tasks/claim', { wait_ms: 5_000 }, node.token);
      const task = body.task as AssignedTask;
      expect(task.task_id).toBe(taskId);
      const again = async () =>
        httpDoor(first).register(await prove(first, httpDoor(first), { ...node, purpose: 'session' }));
      const says = (what: string) => post(second, `/tasks/${taskId}/${what}`, { lease: task.lease }, node.token);
      return { taskId, again, says };
    };
    const [steady, busy, forgetful] = [await claimant(), await claimant(), await claimant()];
    await sleep(1_000);
    for (const { again } of [busy, forgetful]) expect(await again()).toMatchObject({ ok: true });
    await sleep(1_000);
    expect((await busy.says('progress')).status).toBe(200);
    const doer = await enlist(first, type, does);
    beat(doer);
    const began = performance.now();
    expect(await finished(ada, forgetful.taskId, 20_000)).toMatchObject({ status: 'completed' });
    expect(performance.now() - began).toBeGreaterThan(6_000);
    expect((await forgetful.says('complete')).body).toMatchObject({ code: 'lease_lost' });
    await sleep(10_000);
    expect(doer.tasks).toMatchObject([{ task_id: forgetful.taskId, lease: 2, attempt: 2 }]);
    for (const { says } of [steady, busy]) expect((await says('complete')).status).toBe(200);
  }, 60_000);

  it.concurrent('who works for long keeps its task for as long as it is heard', async () => {
    const type = fresh('type');
    const ada = await enlist(first, 'none');
    const slow = await enlist(second, type, (task, node) => node.start(task));
    for (const node of [ada, slow]) beat(node);
    const taskId = await submit(ada, { type });
    const task = await given(slow);
    await enlist(first, type, does);
    await sleep(25_000);
    expect(await slow.complete(task)).toMatchObject({ ok: true });
    expect(await finished(ada, taskId, 5_000)).toMatchObject({ status: 'completed' });
  }, 60_000);
});

/** When a replica took the duty to give out tasks, milliseconds since 1970, as it says in its log. */
const takenAt = (hub: TestHub): number | undefined => {
  const said = hub
    .stderr()
    .split('\n')
    .find((line) => line.includes('this replica gives out the tasks'));
  return said === undefined ? undefined : (JSON.parse(said) as { time: number }).time;
};

describe.each(['Redis', 'PostgreSQL alone'] as const)('two replicas, jobs in %s', (store) => {
  it('a dispatcher that is killed in mid-flight loses nothing; another gives out tasks within seconds, each is completed once', async () => {
    const redis = store === 'Redis';
    const first = await startTestHub({ database: 'postgres', redis, env: pace });
    const second = await startTestHub({ redis, env: { ...pace, DATABASE_URL: first.databaseUrl! } });
    onTestFinished(async () => {
      await second.stop();
      await first.stop();
    });
    const type = fresh('type');
    const act: Act = async (task, node) => {
      await node.start(task);
      await sleep(30);
      await node.complete(task);
    };
    const ada = await enlist(second, 'none');
    const survivor = await enlist(second, type, act, 20);
    for (const node of [ada, survivor]) beat(node);
    await enlist(first, type, act, 20);
    await expect.poll(() => takenAt(first)).toBeDefined();
    const ids: string[] = [];
    const submitting = (async () => {
      for (let at = 0; at < 300; at++) ids.push(await submit(ada, { type, payload: at }));
    })();
    await expect.poll(() => survivor.tasks.length, { timeout: 10_000 }).toBeGreaterThan(20);
    process.kill(first.pid, 'SIGKILL');
    const killed = Date.now();
    await submitting;
    const after = await submit(ada, { type, payload: 'after', priority: 10 });
    await expect.poll(() => takenAt(second), { timeout: 10_000 }).toBeDefined();
    expect(takenAt(second)! - killed).toBeLessThan(5_000);
    for (const taskId of [...ids, after])
      expect(await finished(ada, taskId, 30_000)).toMatchObject({ status: 'completed' });
    const client = new pg.Client({ connectionString: first.databaseUrl! });
    await client.connect();
    const { rows } = await client.query<{ times: number }>(
      "SELECT count(*)::int AS times FROM federation_log WHERE type = 'task.completed' GROUP BY stream",
    );
    await client.end();
    expect(rows.map(({ times }) => times)).toEqual(Array.from({ length: 301 }, () => 1));
  }, 120_000);
});

it('a hub alone that is killed with tasks in flight goes on with them when it starts again', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'fedhub-tasks-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const env = { FEDERATION_DATA_DIR: join(folder, 'data') };
  const hub = await startTestHub({ env });
  onTestFinished(async () => void (await hub.stop())); // removes what is left of it
  const type = fresh('type');
  const ada = await enlist(hub, 'none');
  const doer = await enlist(hub, type, (task, node) => node.start(task), 5);
  const ids = [];
  for (let at = 0; at < 20; at++) ids.push(await submit(ada, { type, payload: at }));
  await doer.socket.until(() => doer.tasks.length === 5);
  await sleep(200);
  process.kill(hub.pid, 'SIGKILL');
  await expect.poll(() => hub.alive()).toBe(false);
  const again = await startTestHub({ env });
  onTestFinished(async () => void (await again.stop()));
  const back = await enlist(again, type, does, 5, doer);
  await expect
    .poll(
      async () => {
        const { body } = await call(again, 'GET', '/tasks?status=completed&limit=100', { token: hub.adminToken });
        return (body.tasks as unknown[]).length;
      },
      { timeout: 20_000 },
    )
    .toBe(20);
  const held = doer.tasks.map(({ task_id }) => task_id);
  const kept = back.tasks.filter(({ task_id }) => held.includes(task_id));
  expect(kept.map(({ lease }) => lease)).toEqual([1, 1, 1, 1, 1]); // they were its own all the time
}, 60_000);
