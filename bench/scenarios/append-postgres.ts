/** Appends of one event to streams of their own on PostgreSQL, against a pool of transactions and against bare inserts. */
import { built } from '../built.ts';
import { aFact, aStream } from '../facts.ts';
import { type Bench, closedLoop, type Figure, takeTurns } from '../measure.ts';
import { transactionPeer } from '../peers/postgres-transactions.ts';
import { unnestPeer } from '../peers/postgres-unnest.ts';

const writers = 256;
const connections = 32;
const batch = 100;

export async function appendPostgres(bench: Bench): Promise<readonly Figure[]> {
  const [{ createKernel }, { openPostgresLog }] = await Promise.all([built('kernel'), built('events/log-postgres')]);
  const log = await openPostgresLog({ url: await bench.database(), kernel: createKernel({ logLevel: 'warn' }) });
  const transactions = await transactionPeer(await bench.database(), connections);
  const bare = await unnestPeer(await bench.database());
  const append = async () => {
    const verdict = await log.append(aStream(), 'noStream', [aFact()]);
    if (verdict.status !== 'written') throw new Error(`an append was not written: ${verdict.status}`);
  };
  const many = await takeTurns(bench.rounds, 2_000, {
    transactions: (ms) => closedLoop(writers, ms, transactions.append),
    hub: (ms) => closedLoop(writers, ms, append),
    bare: async (ms) => batch * (await closedLoop(1, ms, () => bare.insert(batch))),
  });
  const one = await takeTurns(bench.rounds, 1_500, {
    transactions: (ms) => closedLoop(1, ms, transactions.append),
    hub: (ms) => closedLoop(1, ms, append),
  });
  await Promise.all([log.close(), transactions.close(), bare.close()]);
  return [
    {
      what: `PostgreSQL, appends at ${writers} writers`,
      unit: 'per second',
      hub: many.hub,
      peer: { name: `a pool of ${connections}, a transaction an event`, values: many.transactions },
      target: { atLeast: 4 },
    },
    {
      what: `PostgreSQL, appends at ${writers} writers`,
      unit: 'per second',
      hub: many.hub,
      peer: { name: `bare inserts of ${batch} rows, unnest, one connection`, values: many.bare },
      target: { atLeast: 0.25 },
    },
    {
      what: 'PostgreSQL, appends at 1 writer',
      unit: 'per second',
      hub: one.hub,
      peer: { name: 'a transaction an event', values: one.transactions },
      target: { atLeast: 1 },
    },
  ];
}
