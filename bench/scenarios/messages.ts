/** Messages between nodes on sockets: kept in the log, sealed, and acknowledged, or only handed on; against a bare relay of Socket.IO. */
import { join } from 'node:path';
import { startHub } from '../hub-process.ts';
import type { Mailers } from '../load/mailers.ts';
import { type Bench, type Figure, takeTurns } from '../measure.ts';
import type { Relay } from '../peers/socket-relay.ts';
import { startChild } from '../processes.ts';

const nodes = 32;
const each = 8;
const roundMs = 3_000;

export async function messages(bench: Bench): Promise<readonly Figure[]> {
  const relay = startChild<Relay>(new URL('../peers/socket-relay.ts', import.meta.url));
  const sqlite = await startHub({ folder: join(bench.folder, 'sqlite') });
  const postgres = await startHub({ folder: join(bench.folder, 'postgres'), database: await bench.database() });
  const loads = [
    await load(await relay.ask('listen'), false),
    await load(sqlite.url, true),
    await load(postgres.url, true),
  ] as const;
  const [bare, onSqlite, onPostgres] = loads;
  try {
    const rates = await takeTurns(bench.rounds, roundMs, {
      bare: (ms) => bare.ask('exchange', { persist: true, each }, ms),
      sqlite: (ms) => onSqlite.ask('exchange', { persist: true, each }, ms),
      postgres: (ms) => onPostgres.ask('exchange', { persist: true, each }, ms),
      ephemeral: (ms) => onSqlite.ask('exchange', { persist: false, each }, ms),
    });
    const peer = { name: 'a bare relay of Socket.IO, acknowledged', values: rates.bare };
    const what = `messages between ${nodes} nodes, ${nodes * each} at once`;
    return [
      { what: `SQLite, kept ${what}`, unit: 'per second', hub: rates.sqlite, peer, target: { atLeast: 0.4 } },
      { what: `PostgreSQL, kept ${what}`, unit: 'per second', hub: rates.postgres, peer, target: { atLeast: 0.25 } },
      { what: `${what}, not kept`, unit: 'per second', hub: rates.ephemeral, peer, target: { atLeast: 0.7 } },
    ];
  } finally {
    for (const child of [...loads, relay, sqlite, postgres]) await child.stop();
  }
}

async function load(url: string, join: boolean) {
  const child = startChild<Mailers>(new URL('../load/mailers.ts', import.meta.url));
  await child.ask('connect', url, nodes, join);
  return child;
}
