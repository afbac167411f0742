/** What a scrape says of readings that fail or take too long, and of what is only told. */
import { expect, it } from 'vitest';
import { createKernel, type Kernel } from '../../src/kernel.ts';
import { Lifecycle } from '../../src/lifecycle.ts';
import { Metrics, type Reading } from '../../src/metrics.ts';
import type { AnyService } from '../../src/services/service.ts';
import { readExposition } from '../setup/exposition.ts';

/** A kernel whose timers run at once, and its metrics. */
function hurried() {
  const due: (() => void)[] = [];
  const after = (_ms: number, fn: () => void) => {
    due.push(fn);
    return () => void due.splice(due.indexOf(fn), 1);
  };
  const kernel: Kernel = createKernel({ logLevel: 'silent' }, { after });
  const metrics = new Metrics(kernel);
  return { kernel, metrics, runTimers: () => due.splice(0).forEach((fn) => void fn()) };
}

async function samples(metrics: Metrics, name: string) {
  const { body } = await metrics.expose('text');
  return readExposition(body)
    .get(name)
    ?.samples.map(({ labels, value }) => ({ ...labels, value }));
}

const reading = (metrics: Metrics, read: () => void | Promise<void>): Reading => ({
  name: 'of a test',
  gauges: ['sockets', 'nodes'],
  read: () => {
    metrics.set('nodes', { status: 'online' }, 3);
    return read();
  },
});

it('leaves out the gauges of a reading that fails, says so, and has them again when it works', async () => {
  const { metrics } = hurried();
  let fails = false;
  metrics.onScrape(
    reading(metrics, () => {
      if (fails) throw new Error('away');
      metrics.set('sockets', {}, 7);
    }),
  );
  expect(await samples(metrics, 'federation_sockets')).toEqual([{ value: 7 }]);
  fails = true;
  expect(await samples(metrics, 'federation_sockets')).toEqual([]);
  expect(await samples(metrics, 'federation_nodes')).toEqual([]);
  expect(await samples(metrics, 'federation_scrape_failures_total')).toEqual([{ reading: 'of a test', value: 3 }]);
  fails = false;
  expect(await samples(metrics, 'federation_sockets')).toEqual([{ value: 7 }]);
});

it('does not wait for a reading that hangs', async () => {
  const { metrics, runTimers } = hurried();
  metrics.onScrape(reading(metrics, () => new Promise(() => {})));
  const asked = samples(metrics, 'federation_nodes');
  runTimers();
  expect(await asked).toEqual([]);
});

it('forgets the gauges of a reading that is taken away', async () => {
  const { metrics } = hurried();
  const stop = metrics.onScrape(reading(metrics, () => metrics.set('sockets', {}, 7)));
  expect(await samples(metrics, 'federation_sockets')).toEqual([{ value: 7 }]);
  stop();
  expect(await samples(metrics, 'federation_sockets')).toEqual([]);
  expect(await samples(metrics, 'federation_nodes')).toEqual([]);
});

it('tells refusals, which are of those who ask, from errors, which are of the hub', async () => {
  const { metrics } = hurried();
  metrics.refused('http', 'forbidden');
  metrics.refused('socket', 'log_unavailable');
  expect(await samples(metrics, 'federation_refusals_total')).toEqual([{ door: 'http', code: 'forbidden', value: 1 }]);
  expect(await samples(metrics, 'federation_errors_total')).toEqual([
    { door: 'socket', code: 'log_unavailable', value: 1 },
  ]);
});

it('counts calls of webhooks and how long they take', async () => {
  const { metrics } = hurried();
  metrics.webhook('callback', 'delivered', 40);
  metrics.webhook('subscription', 'failed', 2_000);
  expect(await samples(metrics, 'federation_webhook_deliveries_total')).toEqual([
    { kind: 'callback', outcome: 'delivered', value: 1 },
    { kind: 'subscription', outcome: 'failed', value: 1 },
  ]);
  const seconds = await samples(metrics, 'federation_webhook_duration_seconds');
  expect(seconds).toContainEqual({ kind: 'subscription', le: '1', value: 0 });
  expect(seconds).toContainEqual({ kind: 'subscription', le: '5', value: 1 });
});

it('counts each start of a service that had failed', async () => {
  const { kernel, metrics, runTimers } = hurried();
  let left = 2;
  const shaky: AnyService = {
    name: 'shaky',
    tier: 'P2',
    purpose: 'a service for tests',
    needs: {},
    async start() {
      if (left-- > 0) throw new Error('not yet');
      return { api: {}, stop: async () => {} };
    },
  };
  const lifecycle = new Lifecycle({ kernel, metrics } as never, [shaky]); // the lifecycle asks no more of a hub
  await lifecycle.start();
  for (let times = 0; times < 3; times++) {
    runTimers();
    await new Promise((done) => setTimeout(done, 5));
  }
  expect(await samples(metrics, 'federation_heal_requests_total')).toEqual([{ service: 'shaky', value: 2 }]);
  await lifecycle.stop();
});
