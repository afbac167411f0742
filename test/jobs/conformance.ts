/** What the hub relies on in its jobs, whatever store holds them. */
import type { Job } from 'bullmq';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Jobs, urgency } from '../../src/jobs.ts';

interface Numbered {
  n: number;
}

/** `open` opens the jobs of a federation that had none. */
export function jobsConformance(backend: Jobs['backend'], open: () => Promise<Jobs>): void {
  let jobs: Jobs;
  let done: number[];
  const note = async ({ data }: Job<Numbered>) => void done.push(data.n);

  beforeEach(async () => {
    jobs = await open();
    done = [];
  });
  afterEach(() => jobs.close());

  const eventually = (check: () => unknown, ms = 8_000) => vi.waitFor(check, { timeout: ms, interval: 10 });

  describe(`jobs in ${backend === 'process' ? 'the process' : backend}`, () => {
    test('say where they are, and answer the same queue at each call', () => {
      expect(jobs.backend).toBe(backend);
      expect(jobs.queue('tasks')).toBe(jobs.queue('tasks'));
      expect(jobs.queue('tasks')).not.toBe(jobs.queue('timers'));
    });

    test('are done by priority, and in the order of adding where it is equal', async () => {
      const priorities = [1, 5, 10, 5, 1, 10];
      for (const [n, priority] of priorities.entries()) {
        await jobs.queue('tasks').add('t', { n }, { priority: urgency(priority) });
      }
      jobs.worker('tasks', note, { concurrency: 1 });
      await eventually(() => expect(done).toEqual([2, 5, 1, 3, 0, 4]));
    });

    test('without a priority are done first, in the order of adding', async () => {
      await jobs.queue('tasks').add('t', { n: 0 }, { priority: urgency(10) });
      for (const n of [1, 2, 3]) await jobs.queue('tasks').add('t', { n });
      jobs.worker('tasks', note, { concurrency: 1 });
      await eventually(() => expect(done).toEqual([1, 2, 3, 0]));
    });

    test('wait out their delay, also in a worker that was idle, and go by when they are due', async () => {
      const startedAt = performance.now();
      const tookMs: number[] = [];
      const keep = async ({ data }: Job<Numbered>) => {
        done.push(data.n);
        tookMs.push(performance.now() - startedAt);
      };
      jobs.worker('timers', keep, { concurrency: 5 });
      await new Promise((soon) => setTimeout(soon, 100));
      await jobs.queue('timers').add('t', { n: 2 }, { delay: 900 });
      await jobs.queue('timers').add('t', { n: 1 }, { delay: 400 });
      await eventually(() => expect(done).toEqual([1, 2]));
      expect(tookMs[0]).toBeGreaterThanOrEqual(480);
      expect(tookMs[0]).toBeLessThan(900);
      expect(tookMs[1]).toBeGreaterThanOrEqual(980);
      expect(tookMs[1]).toBeLessThan(2_000);
    });

    test('are added many at a time, in their order', async () => {
      const all = Array.from({ length: 50 }, (_, n) => ({ name: 't', data: { n }, opts: { jobId: `job-${n}` } }));
      await jobs.queue('tasks').addBulk(all);
      expect(await jobs.queue('tasks').getJobCounts('waiting')).toEqual({ waiting: 50 });
      jobs.worker('tasks', note, { concurrency: 1 });
      await eventually(() => expect(done).toEqual(all.map(({ data }) => data.n)));
    });

    test('of the same id are one job while it is there, and another once it was done', async () => {
      const queue = jobs.queue('tasks');
      const first = await queue.add('t', { n: 1 }, { jobId: 'one' });
      const second = await queue.add('t', { n: 2 }, { jobId: 'one' });
      await queue.addBulk([{ name: 't', data: { n: 3 }, opts: { jobId: 'one' } }]);
      expect([first.id, second.id]).toEqual(['one', 'one']);
      jobs.worker('tasks', note, { concurrency: 1 });
      await eventually(() => expect(done).toEqual([1]));
      await eventually(async () => expect(await queue.getJob('one')).toBeUndefined());
      await queue.add('t', { n: 4 }, { jobId: 'one' });
      await eventually(() => expect(done).toEqual([1, 4]));
    });

    test('of the same id are one job also while it runs', async () => {
      const queue = jobs.queue('tasks');
      let finish = () => {};
      const held = new Promise<void>((resolve) => {
        finish = resolve;
      });
      const hold = async (job: Job<Numbered>) => {
        await note(job);
        await held;
      };
      jobs.worker('tasks', hold, { concurrency: 5 });
      await queue.add('t', { n: 1 }, { jobId: 'one' });
      await eventually(() => expect(done).toEqual([1]));
      await queue.add('t', { n: 2 }, { jobId: 'one' });
      await queue.add('t', { n: 3 }, { jobId: 'other' });
      await eventually(() => expect(done).toEqual([1, 3]));
      finish();
    });

    test('that throw are tried again after a while that doubles, so often as was said, and then have failed', async () => {
      const queue = jobs.queue('tasks');
      const atMs: number[] = [];
      const attempts: number[] = [];
      const fail = async (job: Job<Numbered>) => {
        atMs.push(performance.now());
        attempts.push(job.attemptsMade);
        throw new Error('no luck');
      };
      jobs.worker('tasks', fail, { concurrency: 2 });
      await queue.add('t', { n: 1 }, { jobId: 'unlucky', attempts: 3, backoff: { type: 'exponential', delay: 200 } });
      await eventually(async () => expect(await queue.getJobState('unlucky')).toBe('failed'));
      expect(attempts).toEqual([0, 1, 2]);
      expect(atMs[1]! - atMs[0]!).toBeGreaterThanOrEqual(190);
      expect(atMs[2]! - atMs[1]!).toBeGreaterThanOrEqual(390);
      const failed = await queue.getJob('unlucky');
      expect(failed).toMatchObject({ failedReason: 'no luck', attemptsMade: 3, data: { n: 1 } });
      expect((await queue.getFailed()).map(({ id }) => id)).toEqual(['unlucky']);
    });

    test('that throw without a while to wait are tried again at once', async () => {
      const queue = jobs.queue('tasks');
      const failOnce = async (job: Job<Numbered>) => {
        await note(job);
        if (job.attemptsMade === 0) throw new Error('once');
      };
      jobs.worker('tasks', failOnce, { concurrency: 1 });
      await queue.add('t', { n: 1 }, { attempts: 2 });
      await eventually(async () => {
        expect(done).toEqual([1, 1]);
        expect(await jobs.counts('tasks')).toMatchObject({ waiting: 0, active: 0, failed: 0 });
      });
    });

    test('that failed keep their id, and can be sent again or removed', async () => {
      const queue = jobs.queue('tasks');
      let lucky = false;
      const perhaps = async (job: Job<Numbered>) => {
        if (!lucky) throw new Error('no luck');
        await note(job);
      };
      jobs.worker('tasks', perhaps, { concurrency: 1 });
      await queue.add('t', { n: 1 }, { jobId: 'a' });
      await queue.add('t', { n: 2 }, { jobId: 'b' });
      await eventually(async () => expect(await jobs.counts('tasks')).toMatchObject({ failed: 2 }));
      lucky = true;
      await queue.add('t', { n: 3 }, { jobId: 'a' });
      expect(await queue.getJobState('a')).toBe('failed');
      await (await queue.getJob('a'))!.retry('failed');
      await eventually(() => expect(done).toEqual([1]));
      await queue.remove('b');
      await queue.add('t', { n: 4 }, { jobId: 'b' });
      await eventually(() => expect(done).toEqual([1, 4]));
    });

    test('that failed are kept a thousand at most, the newest', { timeout: 60_000 }, async () => {
      const queue = jobs.queue('tasks');
      const all = Array.from({ length: 1_020 }, (_, n) => ({ name: 't', data: { n }, opts: { jobId: `job-${n}` } }));
      const refuse = async () => {
        throw new Error('no');
      };
      await queue.addBulk(all);
      jobs.worker('tasks', refuse, { concurrency: 1 });
      await eventually(
        async () => expect(await jobs.counts('tasks')).toMatchObject({ waiting: 0, active: 0, failed: 1_000 }),
        50_000,
      );
      expect(await queue.getJob('job-0')).toBeUndefined();
      expect(await queue.getJobState('job-1019')).toBe('failed');
    });

    test('can be removed while they wait, whether for a worker or for their time, and not while they run', async () => {
      const queue = jobs.queue('tasks');
      await queue.add('t', { n: 1 }, { jobId: 'waiting' });
      await queue.add('t', { n: 2 }, { jobId: 'urgent', priority: 3 });
      await queue.add('t', { n: 3 }, { jobId: 'later', delay: 60_000 });
      for (const id of ['waiting', 'urgent', 'later']) expect(await queue.remove(id)).toBe(1);
      await (await queue.add('t', { n: 4 })).remove();
      let finish = () => {};
      const held = new Promise<void>((resolve) => {
        finish = resolve;
      });
      jobs.worker('tasks', () => held, { concurrency: 1 });
      await queue.add('t', { n: 5 }, { jobId: 'running' });
      await eventually(async () => expect(await queue.getJobState('running')).toBe('active'));
      expect(await queue.remove('running')).toBe(0);
      expect(await jobs.counts('tasks')).toMatchObject({ waiting: 0, prioritized: 0, delayed: 0, active: 1 });
      finish();
    });

    test('that wait can be made more urgent, brought forward and put off', async () => {
      const queue = jobs.queue('tasks');
      await queue.add('t', { n: 1 }, { priority: urgency(5) });
      const second = await queue.add('t', { n: 2 }, { priority: urgency(4) });
      const third = await queue.add('t', { n: 3 }, { delay: 60_000 });
      const fourth = await queue.add('t', { n: 4 }, { delay: 60_000 });
      await second.changePriority({ priority: urgency(6) });
      await third.promote();
      await fourth.changeDelay(300);
      jobs.worker('tasks', note, { concurrency: 1 });
      await eventually(() => expect(done).toEqual([3, 2, 1, 4]));
    });

    test('run as many at a time as was said, and no more', async () => {
      let running = 0;
      let most = 0;
      const work = async (job: Job<Numbered>) => {
        most = Math.max(most, ++running);
        await new Promise((soon) => setTimeout(soon, 20));
        running--;
        await note(job);
      };
      jobs.worker('tasks', work, { concurrency: 4 });
      await jobs.queue('tasks').addBulk(numbered(40));
      await eventually(() => expect(done).toHaveLength(40));
      expect(most).toBe(4);
    });

    test('that run are waited for on closing, and no other is begun', async () => {
      const work = async (job: Job<Numbered>) => {
        await new Promise((soon) => setTimeout(soon, 500));
        await note(job);
      };
      jobs.worker('tasks', work, { concurrency: 2 });
      await jobs.queue('tasks').addBulk(numbered(5));
      await eventually(async () => expect(await jobs.counts('tasks')).toMatchObject({ active: 2 }));
      await jobs.close();
      expect(done).toHaveLength(2);
      await new Promise((soon) => setTimeout(soon, 700));
      expect(done).toHaveLength(2);
      expect(await jobs.counts('tasks')).toBeUndefined();
    });

    test('that run for long do not keep it from closing within two seconds', async () => {
      jobs.worker('tasks', () => new Promise(() => {}), { concurrency: 1 });
      await jobs.queue('tasks').add('t', { n: 1 });
      await eventually(async () => expect(await jobs.counts('tasks')).toMatchObject({ active: 1 }));
      const startedAt = performance.now();
      await jobs.close();
      expect(performance.now() - startedAt).toBeLessThan(2_000);
    });

    test('are shared by two workers, each done by one of them', async () => {
      const byWorker: number[][] = [[], []];
      for (const own of byWorker) {
        const work = async ({ data }: Job<Numbered>) => {
          own.push(data.n);
          await new Promise((soon) => setTimeout(soon, 5));
        };
        jobs.worker('tasks', work, { concurrency: 3 });
      }
      await jobs.queue('tasks').addBulk(numbered(200));
      await eventually(() => expect(byWorker.flat()).toHaveLength(200));
      expect(new Set(byWorker.flat()).size).toBe(200);
      for (const own of byWorker) expect(own.length).toBeGreaterThan(20);
    });

    test('are counted by state', async () => {
      const queue = jobs.queue('callbacks');
      await queue.add('t', { n: 1 });
      await queue.add('t', { n: 2 }, { priority: 3 });
      await queue.add('t', { n: 3 }, { delay: 60_000 });
      expect(await jobs.counts('callbacks')).toEqual({
        waiting: 1,
        prioritized: 1,
        delayed: 1,
        active: 0,
        completed: 0,
        failed: 0,
      });
      expect(await jobs.counts('tasks')).toMatchObject({ waiting: 0, prioritized: 0, delayed: 0 });
      await queue.drain(true);
      expect(await jobs.counts('callbacks')).toMatchObject({ waiting: 0, prioritized: 0, delayed: 0 });
    });

    test('can be added by jobs', async () => {
      const queue = jobs.queue('tasks');
      const chain = async (job: Job<Numbered>) => {
        await note(job);
        if (job.data.n < 10) await queue.add('t', { n: job.data.n + 1 }, { jobId: `job-${job.data.n + 1}` });
      };
      jobs.worker('tasks', chain, { concurrency: 1 });
      await queue.add('t', { n: 0 });
      await eventually(() => expect(done).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
    });

    test('refuse an id with a colon', async () => {
      await expect(jobs.queue('tasks').add('t', {}, { jobId: 'task:1' })).rejects.toThrow('cannot contain :');
    });

    test('are all done, each once, when there are ten thousand', { timeout: 60_000 }, async () => {
      jobs.worker('tasks', note, { concurrency: 50 });
      const all = numbered(10_000);
      for (let from = 0; from < all.length; from += 1_000) {
        await jobs.queue('tasks').addBulk(all.slice(from, from + 1_000));
      }
      await eventually(() => expect(done).toHaveLength(10_000), 50_000);
      expect(new Set(done).size).toBe(10_000);
      await eventually(async () => expect(await jobs.counts('tasks')).toMatchObject({ waiting: 0, active: 0 }));
    });
  });
}

/** Jobs of which every third is urgent and every third is less so. */
function numbered(count: number) {
  return Array.from({ length: count }, (_, n) => ({
    name: 't',
    data: { n },
    opts: { jobId: `job-${n}`, ...(n % 3 === 0 ? {} : { priority: urgency((n % 3) * 5) }) },
  }));
}
