/** pg-boss and nothing else: jobs in PostgreSQL are sent, fetched in batches and completed, in one process. */
import PgBoss from 'pg-boss';
import { answerParent } from '../processes.ts';
import type { BareQueue } from './bullmq.ts';

let boss: PgBoss | undefined;
const waiting = new Map<string, () => void>();
const workers = 4;

const answers: BareQueue = {
  async start(url) {
    boss = new PgBoss({ connectionString: url, max: 16 });
    boss.on('error', (error) => {
      throw error;
    });
    await boss.start();
    await boss.createQueue('bench');
    for (let at = 0; at < workers; at++) {
      await boss.work<object>('bench', { batchSize: 256, pollingIntervalSeconds: 0.5 }, async (jobs) => {
        for (const { id } of jobs) done.push(id);
      });
    }
    setInterval(() => void settle(), 5);
  },
  async closedLoop(concurrency, ms) {
    const began = performance.now();
    let completed = 0;
    const run = async () => {
      while (performance.now() - began < ms) {
        const id = await boss!.send('bench', payload);
        await new Promise<void>((resolve) => waiting.set(id!, resolve));
        completed++;
      }
    };
    await Promise.all(Array.from({ length: concurrency }, run));
    return completed / ((performance.now() - began) / 1000);
  },
};

const payload = { text: 'a small piece of work', words: 5 };
const done: string[] = [];

answerParent(answers);

/** Jobs may be worked on before the answer to `send` is there. */
function settle(): void {
  for (let left = done.length; left > 0; left--) {
    const id = done.shift()!; // there are that many
    const resolve = waiting.get(id);
    waiting.delete(id);
    if (resolve) resolve();
    else done.push(id);
  }
}
