/** What metrics and traces cost: commands of a hub that counts, measures and traces them, against the same commands of one that does neither. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { built } from '../built.ts';
import { type Bench, closedLoop, type Figure, takeTurns } from '../measure.ts';

const writers = 256;
/** What is looked for is smaller than what differs from one second to the next: many short turns, then, and their median. */
const turns = 6;
const sovereignty = { note: 'x'.repeat(150) };
const publicKey = 'A'.repeat(43);
const packet = 'federation:register';

export async function observed(bench: Bench): Promise<readonly Figure[]> {
  const sink = createServer((request, response) => request.resume().on('end', () => response.end('{}')));
  await new Promise<void>((listening) => sink.listen(0, '127.0.0.1', listening));
  const url = `http://127.0.0.1:${(sink.address() as AddressInfo).port}`;
  const [watched, bare] = [await hub(bench, 'watched', url), await hub(bench, 'bare', undefined)];
  const rates = await takeTurns(bench.rounds * turns, 500, {
    bare: (ms) => closedLoop(writers, ms, bare.command),
    watched: (ms) => closedLoop(writers, ms, watched.command),
  });
  await Promise.all([watched.close(), bare.close()]);
  sink.close();
  sink.closeAllConnections();
  return [
    {
      what: 'SQLite, commands to new streams, counted, measured and traced',
      unit: 'per second',
      hub: rates.watched,
      peer: { name: 'the same, neither counted nor traced', values: rates.bare },
      target: { atLeast: 0.95 },
    },
  ];
}

/** The road of a packet from its door to the log, without the socket: with a collector, as a hub has it; without, with nothing that observes. */
async function hub(bench: Bench, name: string, collector: string | undefined) {
  const [{ createKernel }, { openSqliteLog }, { Executor }, commands] = await Promise.all([
    built('kernel'),
    built('events/log-sqlite'),
    built('commands/execute'),
    built('commands/node'),
  ]);
  const [{ Metrics }, { readConfig }, { openTracing }, { observeFlushes }] = await Promise.all([
    built('metrics'),
    built('config'),
    built('tracing'),
    built('tracing/flushes'),
  ]);
  const kernel = createKernel({ logLevel: 'warn' });
  const folder = join(bench.folder, name);
  const metrics = collector === undefined ? undefined : new Metrics(kernel);
  const { tracing: settings } = readConfig({ OTEL_EXPORTER_OTLP_ENDPOINT: collector });
  const tracing = await openTracing(settings, kernel, 'bench', metrics?.spans ?? (() => {}));
  const observer = metrics && { ...metrics.appends, wrote: observeFlushes(tracing, kernel) };
  const log = await openSqliteLog({ folder, kernel, ...(observer && { observer }) });
  const executor = await Executor.start(log, kernel, tracing);
  let count = 0;
  return {
    async command() {
      const began = kernel.monotonicMs();
      const { span, traceparent } = tracing.enter(packet, undefined);
      const nodeId = `new-${count++}`;
      const answer = await executor.execute(
        commands.nodeStream(nodeId),
        commands.node,
        commands.register,
        {
          nodeId,
          publicKey,
          profile: { display_name: 'new', sovereignty },
          grant: { role: 'member', admission: { by: 'open' } },
        },
        { actor: 'node:bench', ...(traceparent !== undefined && { traceparent }) },
      );
      if (!('position' in answer)) throw new Error(`a command was refused: ${JSON.stringify(answer)}`);
      span?.end();
      metrics?.packet({ packet, outcome: 'ok', tookMs: kernel.monotonicMs() - began, traceId: span?.traceId });
    },
    async close() {
      await executor.close();
      await log.close();
      await tracing.stop();
    },
  };
}
