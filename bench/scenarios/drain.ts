/** A node comes back to a thousand messages: from its first packet until its program has had them all and the hub knows. */
import { join } from 'node:path';
import { startHub } from '../hub-process.ts';
import type { Drainer } from '../load/drainer.ts';
import type { Bench, Figure } from '../measure.ts';
import { startChild } from '../processes.ts';

const messages = 1_000;

export async function drain(bench: Bench): Promise<readonly Figure[]> {
  const sqlite = await startHub({ folder: join(bench.folder, 'sqlite') });
  const postgres = await startHub({ folder: join(bench.folder, 'postgres'), database: await bench.database() });
  const drainer = startChild<Drainer>(new URL('../load/drainer.ts', import.meta.url));
  const taken: Record<'sqlite' | 'postgres', number[]> = { sqlite: [], postgres: [] };
  try {
    for (let round = 0; round < bench.rounds; round++) {
      taken.sqlite.push(await drainer.ask('drain', sqlite.url, sqlite.adminToken!, messages));
      taken.postgres.push(await drainer.ask('drain', postgres.url, postgres.adminToken!, messages));
    }
    const what = `a node that comes back has its ${messages.toLocaleString('en')} messages`;
    return [
      { what: `SQLite, ${what}`, unit: 'ms', hub: taken.sqlite, target: { atMost: 1_000 } },
      { what: `PostgreSQL, ${what}`, unit: 'ms', hub: taken.postgres, target: { atMost: 1_000 } },
    ];
  } finally {
    for (const child of [drainer, sqlite, postgres]) await child.stop();
  }
}
