/** How far the views are behind, and how late the hub's event loop is, under a steady load; and idle, beside it. */
import { join } from 'node:path';
import { startHub } from '../hub-process.ts';
import type { Load } from '../load/nodes.ts';
import type { Bench, Figure } from '../measure.ts';
import { startChild } from '../processes.ts';

const connections = 200;
const perSecond = 2_000;
const ms = 10_000;
const idleMs = 3_000;
/** Samples of the lag are requests themselves, so there are not more of them than it takes. */
const sampleEveryMs = 20;

export async function lag(bench: Bench): Promise<readonly Figure[]> {
  const stores = [{ name: 'SQLite' }, { name: 'PostgreSQL', database: await bench.database() }];
  const figures: Figure[] = [];
  for (const { name, database } of stores) {
    const hub = await startHub({ folder: join(bench.folder, name), database });
    const load = startChild<Load>(new URL('../load/nodes.ts', import.meta.url));
    const found = { lag: [] as number[], loaded: [] as number[], idle: [] as number[], ack: [] as number[] };
    try {
      await load.ask('connect', hub.url, connections, true);
      const options = { perSecond, url: hub.url, adminToken: hub.adminToken!, sampleEveryMs }; // it was founded just now
      await load.ask('openLoop', { ...options, ms: 1_000 });
      for (let round = 0; round < Math.min(2, bench.rounds); round++) {
        await new Promise((settled) => setTimeout(settled, 500));
        await hub.ask('loopDelay');
        await new Promise((passed) => setTimeout(passed, idleMs));
        found.idle.push((await hub.ask('loopDelay')).p99);
        const { lagP99, ackP99, sent, acknowledged } = await load.ask('openLoop', { ...options, ms });
        found.loaded.push((await hub.ask('loopDelay')).p99);
        found.lag.push(lagP99);
        found.ack.push(ackP99);
        if (acknowledged < 0.98 * sent)
          console.warn(`${name}: of ${sent} heartbeats ${acknowledged} were acknowledged in time`);
      }
    } finally {
      await load.stop();
      await hub.stop();
    }
    const at = `${name}, ${perSecond} heartbeats/s`;
    figures.push(
      { what: `${at}: views behind the acknowledgement, p99`, unit: 'ms', hub: found.lag, target: { atMost: 250 } },
      { what: `${at}: delay of the event loop, p99`, unit: 'ms', hub: found.loaded, target: { atMost: 10 } },
      { what: `${name}, idle: delay of the event loop, p99`, unit: 'ms', hub: found.idle },
      { what: `${at}: acknowledgement, p99`, unit: 'ms', hub: found.ack },
    );
  }
  return figures;
}
