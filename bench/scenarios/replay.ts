/** Rebuilding all views on SQLite from a log of 300,000 events, beside those that serve. */
import { join } from 'node:path';
import { v7 } from 'uuid';
import type { EventLog } from '../../src/events/log.ts';
import type { Views } from '../../src/projections/views.ts';
import { built } from '../built.ts';
import { fill } from '../histories.ts';
import type { Bench, Figure } from '../measure.ts';

const events = 300_000;
const lookEveryMs = 10;

export async function replay(bench: Bench): Promise<readonly Figure[]> {
  return [
    {
      what: 'SQLite, replay into all views, nine of ten heartbeats',
      unit: 'per second',
      hub: await rates(bench, 'heartbeats', 9, bench.rounds),
      target: { atLeast: 60_000 },
    },
    {
      what: 'SQLite, replay into all views, no heartbeats',
      unit: 'per second',
      hub: await rates(bench, 'others', 0, Math.min(3, bench.rounds)),
      target: { atLeast: 15_000 },
    },
  ];
}

async function rates(bench: Bench, name: string, heartbeats: number, rounds: number): Promise<readonly number[]> {
  const [{ createKernel }, { openSqliteLog }, { startViews }] = await Promise.all([
    built('kernel'),
    built('events/log-sqlite'),
    built('projections/views'),
  ]);
  const folder = join(bench.folder, name);
  const kernel = createKernel({ logLevel: 'warn' });
  const log = await openSqliteLog({ folder, kernel });
  await fill(log, events, heartbeats);
  const views = await startViews({
    url: `sqlite:${folder}`,
    logUrl: `sqlite:${folder}`,
    log,
    kernel,
    logLevel: 'warn',
  });
  await until(async () => (await views.state()).position === events);
  const found: number[] = [];
  for (let round = 0; round < rounds; round++) found.push(events / (await rebuildSeconds(log, views)));
  await views.close();
  await log.close();
  return found;
}

/** From the wish in the log to the new views serving. */
async function rebuildSeconds(log: EventLog, views: Views): Promise<number> {
  const { encode } = await built('events/catalog');
  const { viewsStream } = await built('commands/views');
  const about = {
    id: v7(),
    time: new Date().toISOString(),
    meta: JSON.stringify({ actor: 'hub', correlation: v7(), replica: v7() }),
  };
  const { generation } = await views.state();
  const began = performance.now();
  await log.append(viewsStream, 'any', [
    encode({ type: 'views.rebuild-requested', data: { rebuild_id: v7() } }, about),
  ]);
  await until(async () => (await views.state()).generation > generation);
  const seconds = (performance.now() - began) / 1000;
  await until(async () => (await views.state()).rebuild === null); // it is summed up and forgotten before the next
  const { deadLetters } = await views.state();
  if (deadLetters > 0) throw new Error(`${deadLetters} streams could not be projected`);
  return seconds;
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const began = performance.now();
  while (!(await holds())) {
    if (performance.now() - began > 120_000) throw new Error('the views did not get there');
    await new Promise((later) => setTimeout(later, lookEveryMs));
  }
}
