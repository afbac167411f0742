/** Commands (load, decide, append) against appends of the same size that nobody decided. */
import { join } from 'node:path';
import { built } from '../built.ts';
import { aFact, aStream } from '../facts.ts';
import { type Bench, closedLoop, type Figure, takeTurns } from '../measure.ts';

const writers = 256;
/** Makes the events of the commands as large as those appended: 300 bytes of data. */
const sovereignty = { note: 'x'.repeat(150) };
const publicKey = 'A'.repeat(43);

export async function commands(bench: Bench): Promise<readonly Figure[]> {
  const { createKernel } = await built('kernel');
  const { Executor } = await built('commands/execute');
  const { node, nodeStream, register, update } = await built('commands/node');
  const kernel = createKernel({ logLevel: 'warn' });
  const figures: Figure[] = [];
  for (const store of await stores(bench)) {
    const bare = await store.open();
    const log = await store.open();
    const executor = await Executor.start(log, kernel);
    const about = { actor: 'node:bench' };
    const join = async (nodeId: string) => {
      const command = {
        nodeId,
        publicKey,
        profile: { display_name: 'new', sovereignty },
        grant: { role: 'member', admission: { by: 'open' } },
      } as const;
      written(await executor.execute(nodeStream(nodeId), node, register, command, about));
    };
    const known = Array.from({ length: writers }, (_, writer) => `known-${writer}`);
    await Promise.all(known.map(join));
    let count = 0;
    const rates = await takeTurns(bench.rounds, 2_000, {
      append: (ms) => closedLoop(writers, ms, async () => void (await bare.append(aStream(), 'noStream', [aFact()]))),
      register: (ms) => closedLoop(writers, ms, () => join(`new-${count++}`)),
      update: (ms) =>
        closedLoop(writers, ms, async (writer) => {
          const nodeId = known[writer]!;
          const changes = { display_name: `changed for the time ${count++}` };
          written(await executor.execute(nodeStream(nodeId), node, update, { nodeId, changes }, about));
        }),
    });
    await executor.close();
    await Promise.all([log.close(), bare.close()]);
    const peer = { name: 'appends that nobody decided', values: rates.append };
    const target = { atLeast: 0.6 };
    figures.push(
      { what: `${store.name}, commands to new streams`, unit: 'per second', hub: rates.register, peer, target },
      { what: `${store.name}, commands to known streams`, unit: 'per second', hub: rates.update, peer, target },
    );
  }
  return figures;
}

/** Each `open` gives an empty log of its own. */
async function stores(bench: Bench) {
  const { createKernel } = await built('kernel');
  const [{ openSqliteLog }, { openPostgresLog }] = await Promise.all([
    built('events/log-sqlite'),
    built('events/log-postgres'),
  ]);
  const kernel = createKernel({ logLevel: 'warn' });
  let folders = 0;
  return [
    { name: 'SQLite', open: () => openSqliteLog({ folder: join(bench.folder, `log-${folders++}`), kernel }) },
    { name: 'PostgreSQL', open: async () => openPostgresLog({ url: await bench.database(), kernel }) },
  ];
}

function written(answer: object): void {
  if (!('position' in answer)) throw new Error(`a command was refused: ${JSON.stringify(answer)}`);
}
