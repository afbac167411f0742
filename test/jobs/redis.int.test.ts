/** Jobs in Redis, which may be emptied, killed, frozen or not there at all. */
import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import { type Jobs, openJobs } from '../../src/jobs.ts';
import { createKernel } from '../../src/kernel.ts';
import { freePort } from '../setup/free-port.ts';
import { type RedisServer, startRedis } from '../setup/redis.ts';
import { jobsConformance } from './conformance.ts';

const federation = () => `test-${randomBytes(6).toString('hex')}`;
const opened: Jobs[] = [];
const open = async (redisUrl: string, federationId = federation()) => {
  const kernel = createKernel({ logLevel: 'error' });
  const jobs = await openJobs({ redisUrl, postgresUrl: undefined, federationId, kernel });
  opened.push(jobs);
  return jobs;
};
afterEach(async () => void (await Promise.all(opened.splice(0).map((jobs) => jobs.close()))));

jobsConformance('redis', () => open(inject('redisUrl')));

test('a job whose worker is gone is done by another within some ten seconds', async () => {
  const federationId = federation();
  const gone = await open(inject('redisUrl'), federationId);
  gone.worker('tasks', () => new Promise(() => {}), { concurrency: 1 });
  await gone.queue('tasks').add('t', {}, { jobId: 'left' });
  await vi.waitFor(async () => expect(await gone.counts('tasks')).toMatchObject({ active: 1 }), 5_000);
  await gone.close();
  const done: string[] = [];
  const jobs = await open(inject('redisUrl'), federationId);
  jobs.worker('tasks', async ({ id }) => void done.push(id!), { concurrency: 1 });
  await vi.waitFor(() => expect(done).toEqual(['left']), 15_000);
});

test('two federations in one Redis see nothing of each other’s jobs', async () => {
  const [a, b] = await Promise.all([open(inject('redisUrl')), open(inject('redisUrl'))]);
  await a.queue('tasks').add('t', {}, { jobId: 'one' });
  expect(await b.queue('tasks').getJob('one')).toBeUndefined();
  expect(await b.counts('tasks')).toMatchObject({ waiting: 0 });
});

describe('a Redis that fails', () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.remove());
  afterEach(async () => {
    await redis.resume();
    await redis.start();
  });

  /** Jobs with a worker that has done one, and a count of doubts. */
  async function atWork() {
    const jobs = await open(redis.url);
    const done: string[] = [];
    const doubt = vi.fn();
    jobs.onDoubt(doubt);
    jobs.worker('tasks', async ({ id }) => void done.push(id!), { concurrency: 5 });
    await jobs.queue('tasks').add('t', {}, { jobId: 'before' });
    await vi.waitFor(() => expect(done).toEqual(['before']), 5_000);
    return { jobs, done, doubt };
  }
  const failsWithin = async (adding: Promise<unknown>, ms: number) => {
    const startedAt = performance.now();
    await expect(adding).rejects.toThrow();
    expect(performance.now() - startedAt).toBeLessThan(ms);
  };

  test('by being killed makes adding fail at once; when it is back workers go on, and one doubt is raised', async () => {
    const { jobs, done, doubt } = await atWork();
    await redis.stop();
    await failsWithin(jobs.queue('tasks').add('t', {}), 1_000);
    await failsWithin(jobs.queue('tasks').addBulk([{ name: 't', data: {} }]), 1_000);
    await failsWithin(jobs.queue('callbacks').add('t', {}), 1_000);
    expect(await jobs.counts('tasks')).toBeUndefined();
    expect(doubt).not.toHaveBeenCalled();
    await redis.start();
    await vi.waitFor(() => expect(doubt).toHaveBeenCalledTimes(1), 3_000);
    await jobs.queue('tasks').add('t', {}, { jobId: 'after' });
    await vi.waitFor(() => expect(done).toEqual(['before', 'after']), 8_000);
    expect(doubt).toHaveBeenCalledTimes(1);
  });

  test('by being killed while jobs run lets them finish, and their workers go on afterwards', async () => {
    const jobs = await open(redis.url);
    const done: string[] = [];
    const slow = async ({ id }: { id?: string | undefined }) => {
      await new Promise((soon) => setTimeout(soon, 1_000));
      done.push(id!);
    };
    jobs.worker('tasks', slow, { concurrency: 5 });
    await jobs.queue('tasks').add('t', {}, { jobId: 'running' });
    await vi.waitFor(async () => expect(await jobs.counts('tasks')).toMatchObject({ active: 1 }), 10_000);
    await redis.stop();
    await vi.waitFor(() => expect(done).toEqual(['running']), 3_000);
    await redis.start();
    await vi.waitFor(() => jobs.queue('tasks').add('t', {}, { jobId: 'after' }), 3_000);
    await vi.waitFor(() => expect(done).toEqual(['running', 'after']), 8_000);
  });

  test('by being emptied is doubted each time, and workers go on', async () => {
    const { jobs, done, doubt } = await atWork();
    await redis.flush();
    await vi.waitFor(() => expect(doubt).toHaveBeenCalledTimes(1), 3_000);
    await jobs.queue('tasks').add('t', {}, { jobId: 'after' });
    await vi.waitFor(() => expect(done).toEqual(['before', 'after']), 8_000);
    await redis.flush();
    await vi.waitFor(() => expect(doubt).toHaveBeenCalledTimes(2), 3_000);
  });

  test('by not being there does not keep the jobs from opening, and is doubted when it comes', async () => {
    await redis.stop();
    const jobs = await open(redis.url);
    const doubt = vi.fn();
    const done: string[] = [];
    jobs.worker('tasks', async ({ id }) => void done.push(id!), { concurrency: 5 });
    await failsWithin(jobs.queue('tasks').add('t', {}), 1_000);
    jobs.onDoubt(doubt);
    await redis.start();
    await vi.waitFor(() => expect(doubt).toHaveBeenCalledTimes(1), 3_000);
    await jobs.queue('tasks').add('t', {}, { jobId: 'after' });
    await vi.waitFor(() => expect(done).toEqual(['after']), 8_000);
  });

  test('by coming before anyone listens to doubts is told to the first who does', async () => {
    await redis.stop();
    const jobs = await open(redis.url);
    await redis.start();
    await vi.waitFor(() => jobs.queue('tasks').add('t', {}), 3_000);
    await vi.waitFor(async () => expect(await jobs.counts('tasks')).toMatchObject({ waiting: 1 }), 3_000);
    const doubt = vi.fn();
    jobs.onDoubt(doubt);
    await vi.waitFor(() => expect(doubt).toHaveBeenCalledTimes(1), 1_000);
  });

  test('by saying nothing makes adding fail within five seconds; when it answers again workers go on', async () => {
    const { jobs, done, doubt } = await atWork();
    await redis.freeze();
    await failsWithin(jobs.queue('tasks').add('t', {}), 5_000);
    await failsWithin(jobs.queue('tasks').add('t', {}), 1_000);
    await redis.resume();
    await vi.waitFor(() => expect(doubt).toHaveBeenCalled(), 5_000);
    await jobs.queue('tasks').add('t', {}, { jobId: 'after' });
    await vi.waitFor(() => expect(done).toContain('after'), 15_000);
  });

  for (const [how, fail] of [
    ['frozen', () => redis.freeze()],
    ['gone', () => redis.stop()],
  ] as const) {
    test(`by being ${how} does not keep the jobs from closing within two seconds`, async () => {
      const { jobs } = await atWork();
      jobs.worker('timers', () => new Promise(() => {}), { concurrency: 1 });
      await jobs.queue('timers').add('t', {});
      await vi.waitFor(async () => expect(await jobs.counts('timers')).toMatchObject({ active: 1 }), 10_000);
      await fail();
      const startedAt = performance.now();
      await jobs.close();
      expect(performance.now() - startedAt).toBeLessThan(2_000);
    });
  }

  test('by never having been there does not keep the jobs from closing within two seconds', async () => {
    const jobs = await open(`redis://127.0.0.1:${await freePort()}`);
    jobs.worker('tasks', async () => {}, { concurrency: 5 });
    jobs.queue('tasks');
    const startedAt = performance.now();
    await jobs.close();
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  });
});
