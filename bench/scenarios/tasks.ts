/**
 * Tasks from hand-in to completion, through real nodes on sockets, four durable events each, against queues that do the same work with
 * less: BullMQ on Redis alone, pg-boss on PostgreSQL alone. And what a hand-in takes while half as much as possible is done.
 */
import { join } from 'node:path';
import { startRedis } from '../../test/setup/redis.ts';
import { type HubProcess, startHub } from '../hub-process.ts';
import type { Workers } from '../load/workers.ts';
import { type Bench, type Figure, percentile, takeTurns } from '../measure.ts';
import type { BareQueue } from '../peers/bullmq.ts';
import { startChild } from '../processes.ts';

const atOnce = 256;
const roundMs = 3_000;
const nodes = 8;

export async function tasks(bench: Bench): Promise<readonly Figure[]> {
  const redis = await startRedis();
  const bullmq = startChild<BareQueue>(new URL('../peers/bullmq.ts', import.meta.url));
  const pgBoss = startChild<BareQueue>(new URL('../peers/pg-boss.ts', import.meta.url));
  const onSqlite = await startTasks({ folder: join(bench.folder, 'sqlite') });
  const onPostgres = await startTasks({
    folder: join(bench.folder, 'postgres'),
    database: await bench.database(),
    env: { REDIS_URL: redis.url },
  });
  try {
    await bullmq.ask('start', redis.url);
    await pgBoss.ask('start', await bench.database());
    const rates = await takeTurns(bench.rounds, roundMs, {
      bullmq: (ms) => bullmq.ask('closedLoop', atOnce, ms),
      sqlite: (ms) => onSqlite.submitter.ask('closedLoop', atOnce, ms),
      postgres: (ms) => onPostgres.submitter.ask('closedLoop', atOnce, ms),
      pgBoss: (ms) => pgBoss.ask('closedLoop', atOnce, ms),
    });
    const half = percentile(rates.postgres, 50) / 2;
    const p99s: number[] = [];
    const appendP99s: number[] = [];
    for (let round = 0; round < bench.rounds; round++) {
      const before = await appends(onPostgres.hub);
      p99s.push(await onPostgres.submitter.ask('submitP99', half, roundMs));
      appendP99s.push(p99Between(before, await appends(onPostgres.hub)) * 1_000);
    }
    const bare = { name: 'bare BullMQ on Redis', values: rates.bullmq };
    const what = (where: string) => `${where}, tasks from hand-in to completion, ${atOnce} at once`;
    return [
      {
        what: what('PostgreSQL and Redis'),
        unit: 'per second',
        hub: rates.postgres,
        peer: bare,
        target: { atLeast: 0.15 },
      },
      {
        what: what('PostgreSQL and Redis'),
        unit: 'per second',
        hub: rates.postgres,
        peer: { name: 'pg-boss on PostgreSQL', values: rates.pgBoss },
        target: { atLeast: 1 },
      },
      { what: what('SQLite'), unit: 'per second', hub: rates.sqlite, peer: bare, target: { atLeast: 0.3 } },
      {
        what: 'PostgreSQL and Redis, hand-in p99 at half load, between nodes',
        unit: 'ms',
        hub: p99s,
        peer: { name: 'appends to the log meanwhile, p99', values: appendP99s },
        target: { atMost: 2 },
      },
    ];
  } finally {
    for (const child of [...onSqlite.children, ...onPostgres.children, bullmq, pgBoss]) await child.stop();
    await redis.remove();
  }
}

/** A hub with nodes that do tasks, and one that hands them in; each lot in a process of its own. */
export async function startTasks(settings: Parameters<typeof startHub>[0]) {
  const hub = await startHub(settings);
  const workers = startChild<Workers>(new URL('../load/workers.ts', import.meta.url));
  const submitter = startChild<Workers>(new URL('../load/workers.ts', import.meta.url));
  await workers.ask('work', hub.url, nodes, atOnce / nodes);
  await submitter.ask('join', hub.url);
  return { hub, submitter, children: [submitter, workers, hub] };
}

/** How many appends took at most so many seconds, as the hub counts them: what Prometheus calls a histogram. */
type Histogram = readonly { readonly seconds: number; readonly count: number }[];

async function appends({ url, adminToken }: HubProcess): Promise<Histogram> {
  const headers = { authorization: `Bearer ${adminToken}` };
  const text = await (await fetch(`${url}/metrics`, { headers })).text();
  const buckets = text.matchAll(/^federation_log_append_duration_seconds_bucket\{le="([^"]+)"\} (\d+)$/gm);
  const histogram = Array.from(buckets, ([, le, count]) => ({
    seconds: le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le),
    count: Number(count),
  }));
  if (histogram.length === 0) throw new Error(`no appends in what ${url}/metrics tells`);
  return histogram;
}

/** Of the appends between two readings, in seconds; within a bucket they count as spread evenly, as in Prometheus. */
function p99Between(before: Histogram, after: Histogram): number {
  const counts = after.map(({ seconds, count }, at) => ({ seconds, count: count - before[at]!.count })); // the same buckets
  const wanted = counts.at(-1)!.count * 0.99;
  const at = counts.findIndex(({ count }) => count >= wanted);
  const { seconds: low, count: below } = counts[at - 1] ?? { seconds: 0, count: 0 };
  const { seconds: high, count } = counts[at]!; // the last bucket holds all
  return low + (high - low) * ((wanted - below) / (count - below));
}
