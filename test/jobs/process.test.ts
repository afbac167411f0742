/** Jobs of a hub that stands alone. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Jobs, openJobs, urgency } from '../../src/jobs.ts';
import { createKernel } from '../../src/kernel.ts';
import { jobsConformance } from './conformance.ts';

const open = () =>
  openJobs({
    redisUrl: undefined,
    postgresUrl: undefined,
    federationId: 'test',
    kernel: createKernel({ logLevel: 'error' }),
  });

jobsConformance('process', open);

let jobs: Jobs;
beforeEach(async () => {
  jobs = await open();
});
afterEach(() => jobs.close());

test('what jobs in the process do not offer is refused by its name', async () => {
  const queue = jobs.queue('tasks');
  await expect(queue.pause()).rejects.toThrow('jobs in the process do not offer pause');
  await expect(queue.clean(0, 10)).rejects.toThrow('do not offer cleanJobsByState');
  await expect(queue.getMetrics('completed')).rejects.toThrow('do not offer getMetrics');
  await expect(queue.getWorkers()).rejects.toThrow('do not offer getClientList');
  await expect(queue.setGlobalConcurrency(1)).rejects.toThrow('do not offer setQueueMeta');
  await expect(queue.upsertJobScheduler('each second', { every: 1_000 })).rejects.toThrow('do not offer');
});

test('what jobs in the process cannot keep to is refused when they are added, and none of them is added', async () => {
  const queue = jobs.queue('tasks');
  const plain = { name: 't', data: {} };
  await expect(queue.add('t', {}, { deduplication: { id: 'a' } })).rejects.toThrow('know no deduplication');
  await expect(queue.add('t', {}, { parent: { id: 'a', queue: 'tasks' } })).rejects.toThrow('know no parents');
  await expect(queue.addBulk([plain, { ...plain, opts: { removeOnFail: { age: 5 } } }])).rejects.toThrow('by age');
  expect(await jobs.counts('tasks')).toMatchObject({ waiting: 0 });
});

test('priorities from 10 to 1 go out in this order, and others are refused', () => {
  expect([10, 9, 2, 1].map(urgency)).toEqual([1, 2, 9, 10]);
  for (const priority of [0, 11, 1.5, Number.NaN]) expect(() => urgency(priority)).toThrow('from 1 to 10');
});

test('jobs leave in the order of priority and coming whatever is removed from between them', async () => {
  const queue = jobs.queue('tasks');
  const expected: { n: number; rank: number }[] = [];
  for (let n = 0; n < 500; n++) {
    const rank = (n * 7919) % 10; // any order that is always the same
    await queue.add('t', { n }, { jobId: `job-${n}`, ...(rank > 0 && { priority: rank }) });
    if ((n * 31) % 3 > 0) expected.push({ n, rank });
  }
  for (let n = 0; n < 500; n++) if ((n * 31) % 3 === 0) await queue.remove(`job-${n}`);
  const done: number[] = [];
  const worker = jobs.worker<{ n: number }>('tasks', async ({ data }) => void done.push(data.n), { concurrency: 1 });
  await new Promise((resolve) => worker.once('drained', () => resolve(undefined)));
  expect(done).toEqual(expected.sort((a, b) => a.rank - b.rank || a.n - b.n).map(({ n }) => n));
});
