/** BullMQ on Redis and nothing else: jobs are added, processed and completed in one process; nothing is written to a disk. */
import { Queue, Worker } from 'bullmq';
import { answerParent } from '../processes.ts';

export type BareQueue = {
  start(url: string): Promise<void>;
  /** So many at once, each added when the last one of it is done. Answers jobs that were completed per second. */
  closedLoop(concurrency: number, ms: number): Promise<number>;
};

let queue: Queue | undefined;
let url = '';
const waiting = new Map<string, () => void>();

const answers: BareQueue = {
  async start(redis) {
    url = redis;
    queue = new Queue('bench', { connection: connection() });
    await queue.waitUntilReady();
  },
  async closedLoop(concurrency, ms) {
    const worker = new Worker('bench', async ({ data }) => data, {
      connection: { ...connection(), maxRetriesPerRequest: null },
      concurrency,
    });
    worker.on('completed', ({ id }) => settle(id!));
    await worker.waitUntilReady();
    const began = performance.now();
    let done = 0;
    let next = 0;
    const run = async () => {
      while (performance.now() - began < ms) {
        const jobId = `${began}-${next++}`;
        const completed = new Promise<void>((resolve) => waiting.set(jobId, resolve));
        await queue!.add('echo', payload, { jobId, removeOnComplete: true });
        await completed;
        done++;
      }
    };
    await Promise.all(Array.from({ length: concurrency }, run));
    const rate = done / ((performance.now() - began) / 1000);
    await worker.close();
    return rate;
  },
};

const payload = { text: 'a small piece of work', words: 5 };

answerParent(answers);

function settle(id: string): void {
  waiting.get(id)?.();
  waiting.delete(id);
}

function connection() {
  const { hostname, port } = new URL(url);
  return { host: hostname, port: Number(port) };
}
