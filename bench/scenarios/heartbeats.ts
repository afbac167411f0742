/** Heartbeats over Socket.IO, each a durable event before its acknowledgement, against a server that only echoes. */
import { join } from 'node:path';
import { startHub } from '../hub-process.ts';
import type { Load } from '../load/nodes.ts';
import { type Bench, type Figure, takeTurns } from '../measure.ts';
import { startChild } from '../processes.ts';

const connections = 200;

export async function heartbeats(bench: Bench): Promise<readonly Figure[]> {
  const echo = startChild<{ listen(): Promise<string> }>(new URL('../peers/socket-echo.ts', import.meta.url));
  const sqlite = await startHub({ folder: join(bench.folder, 'sqlite') });
  const postgres = await startHub({ folder: join(bench.folder, 'postgres'), database: await bench.database() });
  const loads = [
    await load(await echo.ask('listen'), false),
    await load(sqlite.url, true),
    await load(postgres.url, true),
  ];
  const [toEcho, toSqlite, toPostgres] = loads;
  try {
    const rates = await takeTurns(bench.rounds, 3_000, {
      echo: (ms) => toEcho!.ask('closedLoop', ms),
      sqlite: (ms) => toSqlite!.ask('closedLoop', ms),
      postgres: (ms) => toPostgres!.ask('closedLoop', ms),
    });
    const peer = { name: 'a bare Socket.IO echo', values: rates.echo };
    const what = (name: string) => `${name}, heartbeats over ${connections} sockets`;
    return [
      { what: what('SQLite'), unit: 'per second', hub: rates.sqlite, peer, target: { atLeast: 0.5 } },
      { what: what('PostgreSQL'), unit: 'per second', hub: rates.postgres, peer, target: { atLeast: 0.3 } },
    ];
  } finally {
    for (const child of [...loads, echo, sqlite, postgres]) await child.stop();
  }
}

/** A process of its own for each server, so that the same program meets each. */
async function load(url: string, join: boolean) {
  const child = startChild<Load>(new URL('../load/nodes.ts', import.meta.url));
  await child.ask('connect', url, connections, join);
  return child;
}
