/** Tasks that nobody can do must not slow those that somebody can: a hub with 100,000 of them against the same hub without. */
import { join } from 'node:path';
import { type Bench, type Figure, takeTurns } from '../measure.ts';
import { startTasks } from './tasks.ts';

const waiting = 100_000;

export async function stranded(bench: Bench): Promise<readonly Figure[]> {
  const free = await startTasks({ folder: join(bench.folder, 'free') });
  const laden = await startTasks({ folder: join(bench.folder, 'laden') });
  try {
    await laden.submitter.ask('strand', waiting);
    const rates = await takeTurns(bench.rounds, 3_000, {
      free: (ms) => free.submitter.ask('closedLoop', 256, ms),
      laden: (ms) => laden.submitter.ask('closedLoop', 256, ms),
    });
    return [
      {
        what: `SQLite, tasks while ${waiting.toLocaleString('en')} wait that nobody can do`,
        unit: 'per second',
        hub: rates.laden,
        peer: { name: 'the same while none wait', values: rates.free },
        target: { atLeast: 0.8 },
      },
    ];
  } finally {
    for (const child of [...free.children, ...laden.children]) await child.stop();
  }
}
