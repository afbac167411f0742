/** Appends of one event to streams of their own on SQLite, against better-sqlite3 alone. */
import { join } from 'node:path';
import { built } from '../built.ts';
import { aFact, aStream } from '../facts.ts';
import { type Bench, closedLoop, type Figure, takeTurns } from '../measure.ts';
import { sqlitePeer } from '../peers/sqlite-bare.ts';

const writers = 256;
const batch = 100;

export async function appendSqlite(bench: Bench): Promise<readonly Figure[]> {
  const [{ createKernel }, { openSqliteLog }] = await Promise.all([built('kernel'), built('events/log-sqlite')]);
  const log = await openSqliteLog({ folder: join(bench.folder, 'hub'), kernel: createKernel({ logLevel: 'warn' }) });
  const bare = sqlitePeer(join(bench.folder, 'bare.db'));
  const append = async () => {
    const verdict = await log.append(aStream(), 'noStream', [aFact()]);
    if (verdict.status !== 'written') throw new Error(`an append was not written: ${verdict.status}`);
  };
  const rates = await takeTurns(bench.rounds, 2_000, {
    bare: async (ms) => batch * (await closedLoop(1, ms, async () => bare.insert(batch))),
    hub: (ms) => closedLoop(writers, ms, append),
  });
  await log.close();
  bare.close();
  return [
    {
      what: `SQLite, appends at ${writers} writers`,
      unit: 'per second',
      hub: rates.hub,
      peer: { name: `bare better-sqlite3, transactions of ${batch}`, values: rates.bare },
      target: { atLeast: 0.5 },
    },
  ];
}
