/** Redis is disposable: emptied, or killed, with thousands of tasks in flight, it takes none with it, and none is done twice. */
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AssignedTask } from '../../src/protocol.ts';
import { TaskNode } from '../services/task-node.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { type RedisServer, startRedis } from '../setup/redis.ts';

const many = 5_000;
const few = 1_000;
const recoveryMs = 10_000;

describe('two replicas whose jobs lie in Redis', () => {
  let redis: RedisServer;
  let first: TestHub;
  let second: TestHub;
  let ada: TaskNode;
  const doers: TaskNode[] = [];
  /** When each task was completed, by the clock of the test. */
  const done = new Map<string, number>();
  let completions = 0;

  beforeAll(async () => {
    redis = await startRedis();
    const env = { REDIS_URL: redis.url };
    first = await startTestHub({ database: 'postgres', env });
    second = await startTestHub({ env: { ...env, DATABASE_URL: first.databaseUrl! } });
    ada = await TaskNode.join(first, 'ada', { profile: { work: { capacity: 1, types: ['none'] } } });
    const act = async (task: AssignedTask, node: TaskNode) => {
      await sleep(20);
      for (;;) {
        const { ok, error } = await node.complete(task);
        if (!ok && ['overloaded', 'log_unavailable', 'silence', 'rate_limited'].includes(error!.code)) continue;
        if (!ok) return;
        completions++;
        done.set(task.task_id, performance.now());
        return;
      }
    };
    for (const hub of [first, second, first, second]) {
      doers.push(await TaskNode.join(hub, `doer-${doers.length}`, { act, profile: { work: { capacity: 20 } } }));
    }
  });
  afterAll(async () => {
    for (const node of [ada, ...doers]) node.close();
    await second.stop();
    await first.stop();
    await redis.remove();
  });

  /** Hands in many tasks, a hundred at a time; some wait for a moment in between, so that jobs are delayed too. */
  const submitAll = async (word: string, count = many) => {
    const ids: string[] = [];
    let next = 0;
    const submitSome = async () => {
      for (let at = next++; at < count; at = next++) {
        const answer = await ada.submit({ type: 'count', payload: `${word} ${at}`, priority: 1 + (at % 10) });
        expect(answer).toMatchObject({ ok: true });
        ids.push(String(answer.task_id));
      }
    };
    await Promise.all(Array.from({ length: 100 }, submitSome));
    return ids;
  };
  const allDone = (ids: readonly string[], timeout = 240_000) =>
    expect.poll(() => ids.filter((taskId) => !done.has(taskId)).length, { timeout, interval: 100 }).toBe(0);
  /** The longest time without a completion since then, milliseconds. */
  const longestPause = (since: number) => {
    const times = [since, ...[...done.values()].filter((at) => at > since).sort((a, b) => a - b)];
    return Math.max(...times.slice(1).map((at, index) => at - times[index]!));
  };

  it.each([
    ['emptied', async () => redis.flush()],
    [
      'killed, and comes back empty',
      async () => {
        await redis.stop();
        await sleep(2_000);
        await redis.start();
      },
    ],
    [
      'frozen for a while',
      async () => {
        await redis.freeze();
        await sleep(4_000);
        await redis.resume();
      },
    ],
  ] as const)('go on within seconds when it is %s with thousands of tasks in flight', async (word, breakIt) => {
    const [before, since] = [done.size, performance.now()];
    const submitting = submitAll(word);
    await expect.poll(() => done.size - before, { timeout: 30_000, interval: 5 }).toBeGreaterThan(300);
    expect(done.size - before).toBeLessThan(many / 2); // in flight
    await breakIt();
    await allDone(await submitting);
    expect(longestPause(since)).toBeLessThan(recoveryMs);
  });

  it('tasks are handed in and done while it is away', async () => {
    await redis.stop();
    const ids = await submitAll('without', few);
    await allDone(ids);
    await redis.start();
  });

  it('none was completed twice', async () => {
    const client = new pg.Client({ connectionString: first.databaseUrl! });
    await client.connect();
    const { rows } = await client.query<{ type: string; events: number; tasks: number }>(
      `SELECT type, count(*)::int AS events, count(DISTINCT stream)::int AS tasks FROM federation_log
       WHERE type IN ('task.submitted', 'task.completed', 'task.failed') GROUP BY type ORDER BY type`,
    );
    await client.end();
    expect(rows).toEqual([
      { type: 'task.completed', events: 3 * many + few, tasks: 3 * many + few },
      { type: 'task.submitted', events: 3 * many + few, tasks: 3 * many + few },
    ]);
    expect(completions).toBe(3 * many + few);
  });
});
