/** Jobs of replicas that share a PostgreSQL and no Redis. */
import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { type Jobs, openJobs } from '../../src/jobs.ts';
import { createKernel } from '../../src/kernel.ts';
import { type FreshDatabase, freshDatabase } from '../setup/postgres.ts';
import { startPostgres } from '../setup/postgres-server.ts';
import { jobsConformance } from './conformance.ts';

let database: FreshDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.drop());

const federation = () => `Test.${randomBytes(6).toString('hex')}`;
const opened: Jobs[] = [];
const open = async (federationId: string) => {
  const kernel = createKernel({ logLevel: 'error' });
  const jobs = await openJobs({ redisUrl: undefined, postgresUrl: database.url, federationId, kernel });
  opened.push(jobs);
  return jobs;
};
afterEach(async () => void (await Promise.all(opened.splice(0).map((jobs) => jobs.close()))));

jobsConformance('postgres', () => open(federation()));

test('a job whose worker is gone is done by another within some ten seconds', async () => {
  const federationId = federation();
  const gone = await open(federationId);
  gone.worker('tasks', () => new Promise(() => {}), { concurrency: 1 });
  await gone.queue('tasks').add('t', {}, { jobId: 'left' });
  await vi.waitFor(async () => expect(await gone.counts('tasks')).toMatchObject({ active: 1 }), 5_000);
  await gone.close();
  const done: string[] = [];
  const jobs = await open(federationId);
  jobs.worker('tasks', async ({ id }) => void done.push(id!), { concurrency: 1 });
  await vi.waitFor(() => expect(done).toEqual(['left']), 15_000);
});

test('two federations in one database see nothing of each other’s jobs', async () => {
  const [a, b] = await Promise.all([open(federation()), open(federation())]);
  await a.queue('tasks').add('t', {}, { jobId: 'one' });
  expect(await b.queue('tasks').getJob('one')).toBeUndefined();
  expect(await b.counts('tasks')).toMatchObject({ waiting: 0 });
});

test('replicas of one federation share its jobs, and may open them at the same time', async () => {
  const federationId = federation();
  const [a, b] = await Promise.all([open(federationId), open(federationId)]);
  const done: string[] = [];
  await a.queue('tasks').add('t', {}, { jobId: 'one' });
  b.worker('tasks', async ({ id }) => void done.push(id!), { concurrency: 1 });
  await vi.waitFor(() => expect(done).toEqual(['one']), 5_000);
});

test('a PostgreSQL that stops and comes back has workers go on, and raises a doubt', async () => {
  const server = await startPostgres();
  try {
    const kernel = createKernel({ logLevel: 'error' });
    const url = server.url;
    const jobs = await openJobs({ redisUrl: undefined, postgresUrl: url, federationId: federation(), kernel });
    opened.push(jobs);
    const doubt = vi.fn();
    jobs.onDoubt(doubt);
    const done: string[] = [];
    jobs.worker('tasks', async ({ id }) => void done.push(id!), { concurrency: 2 });
    await jobs.queue('tasks').add('t', {}, { jobId: 'before' });
    await jobs.queue('tasks').add('t', {}, { jobId: 'due meanwhile', delay: 1_500 });
    await vi.waitFor(() => expect(done).toEqual(['before']), 5_000);
    await server.stop();
    await expect(jobs.queue('tasks').add('t', {})).rejects.toThrow();
    expect(await jobs.counts('tasks')).toBeUndefined();
    await new Promise((soon) => setTimeout(soon, 2_000));
    expect(doubt).not.toHaveBeenCalled();
    await server.start();
    await vi.waitFor(() => expect(doubt).toHaveBeenCalledTimes(1), 5_000);
    await jobs.queue('tasks').add('t', {}, { jobId: 'after' });
    await vi.waitFor(() => expect(done.sort()).toEqual(['after', 'before', 'due meanwhile']), 10_000);
    await jobs.close();
  } finally {
    await server.remove();
  }
});

test('a PostgreSQL that is not there keeps nobody from opening, and adding fails', async () => {
  const kernel = createKernel({ logLevel: 'fatal' });
  const url = 'postgres://nobody@127.0.0.1:1/none';
  const jobs = await openJobs({ redisUrl: undefined, postgresUrl: url, federationId: 'test', kernel });
  opened.push(jobs);
  await expect(jobs.queue('tasks').add('t', {})).rejects.toThrow();
  expect(await jobs.counts('tasks')).toBeUndefined();
});
