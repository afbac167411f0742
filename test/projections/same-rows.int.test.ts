/** Whatever happened, and however it was read: the same rows, on both databases, live and replayed. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { allProjections } from '../../src/projections/catalog.ts';
import type { Generation, ViewStore } from '../../src/projections/generation.ts';
import { foldContext, foldPage } from '../../src/projections/project.ts';
import { openPostgresViewStore } from '../../src/projections/views-postgres.ts';
import { SqliteViewStore } from '../../src/projections/views-sqlite.ts';
import { freshDatabase } from '../setup/postgres.ts';
import { HistoryLog, history, type Step, segmentSize } from './histories.ts';

let folder: string;
let database: Awaited<ReturnType<typeof freshDatabase>>;
let sqlite: ViewStore;
let postgres: ViewStore;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fedhub-same-'));
  database = await freshDatabase();
  sqlite = new SqliteViewStore(folder, allProjections);
  postgres = await openPostgresViewStore({ url: database.url, views: allProjections });
});
afterAll(async () => {
  await sqlite.close();
  await postgres.close();
  await database.drop();
  await rm(folder, { recursive: true, force: true });
});

const empty = (store: ViewStore) => store.create(1, 1, { logId: 'a log', fingerprint: '', rebuild: null });

async function project(log: HistoryLog, generation: Generation, limit: number): Promise<void> {
  const page = log.page(generation.position, limit);
  if (page.through <= generation.position) return;
  await generation.commit(await foldPage(page, allProjections, generation, foldContext(segmentSize)));
}

async function catchUp(log: HistoryLog, generation: Generation, limit: number): Promise<void> {
  while (generation.position < log.head) await project(log, generation, limit);
}

/** Lives through a history with views that follow in pages of all sizes. */
async function live(steps: readonly Step[], log: HistoryLog, generation: Generation): Promise<void> {
  for (const step of steps) {
    if (step.step === 'tell') log.tell(step.event, step.minutes);
    else if (step.step === 'garble') log.append(step.type, step.stream, step.text);
    else if (step.step === 'project') await project(log, generation, step.limit);
    else log.drop(generation.position);
  }
  await catchUp(log, generation, 7);
  log.drop(generation.position); // the last readings too: a replay then knows them by their roll-ups alone
  await catchUp(log, generation, 7);
}

it('gives the same rows for any history, live and replayed, on SQLite and on PostgreSQL', {
  timeout: 240_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(history, async (steps) => {
      const log = new HistoryLog();
      const lived = await empty(sqlite);
      await live(steps, log, lived);
      const expected = { digest: await lived.digest(), parked: new Map(lived.parked) };
      for (const [store, limit] of [
        [sqlite, 1_000],
        [postgres, 1_000],
        [postgres, 5],
      ] as const) {
        const replayed = await empty(store);
        await catchUp(log, replayed, limit);
        expect({ digest: await replayed.digest(), parked: replayed.parked }).toEqual(expected);
      }
    }),
    { numRuns: 40 },
  );
});

it('gives another digest when a single row differs', async () => {
  const log = new HistoryLog();
  log.tell({ type: 'operator-token.created', data: { prefix: 'p', hash: 'h', label: 'l', scopes: ['read'] } }, 0);
  const one = await empty(sqlite);
  await catchUp(log, one, 10);
  const before = await one.digest();
  log.tell({ type: 'operator-token.created', data: { prefix: 'p', hash: 'h', label: 'l', scopes: ['write'] } }, 0);
  await catchUp(log, one, 10);
  expect(await one.digest()).not.toBe(before);
});
