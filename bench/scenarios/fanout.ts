/** An event of the log on its way to 500 sockets that asked for its type, against bare Socket.IO that sends the same bytes. */
import { join } from 'node:path';
import { startHub } from '../hub-process.ts';
import type { Load } from '../load/nodes.ts';
import { type Bench, type Figure, takeTurns } from '../measure.ts';
import type { Fanout } from '../peers/socket-fanout.ts';
import { startChild } from '../processes.ts';

const sockets = 500;

export async function fanout(bench: Bench): Promise<readonly Figure[]> {
  const bare = startChild<Fanout>(new URL('../peers/socket-fanout.ts', import.meta.url));
  const hub = await startHub({ folder: join(bench.folder, 'hub') });
  const loads = [await load(await bare.ask('listen'), false), await load(hub.url, true)] as const;
  try {
    const rates = await takeTurns(bench.rounds, 3_000, {
      bare: (ms) => loads[0].ask('fanOut', false, ms),
      hub: (ms) => loads[1].ask('fanOut', true, ms),
    });
    return [
      {
        what: `SQLite, deliveries of events to ${sockets} sockets`,
        unit: 'per second',
        hub: rates.hub,
        peer: { name: 'bare Socket.IO', values: rates.bare },
        target: { atLeast: 0.8 },
      },
    ];
  } finally {
    for (const child of [...loads, bare, hub]) await child.stop();
  }
}

async function load(url: string, join: boolean) {
  const child = startChild<Load>(new URL('../load/nodes.ts', import.meta.url));
  await child.ask('connect', url, sockets, join);
  await child.ask('subscribe', join);
  return child;
}
