/** What Prometheus reads at GET /metrics beyond what is counted as it happens: the standing of this replica and its federation, read at each scrape. */
import type { Hub } from '../hub.ts';
import type { QueueName } from '../jobs.ts';
import type { ServiceState } from '../lifecycle.ts';
import type { Reading } from '../metrics.ts';
import { saturation } from './metrics/saturation.ts';
import { measureTasks } from './metrics/task-times.ts';
import { type OfflineQueue, offlineQueue } from './offline-queue.ts';
import { service } from './service.ts';
import { type WebsocketPool, websocketPool } from './websocket-pool.ts';

export const metrics = service({
  name: 'metrics',
  purpose: 'Counters, gauges and histograms for Prometheus, at GET /metrics',
  needs: { sockets: websocketPool },
  wants: { queue: offlineQueue },
  async start(hub, { sockets, queue }) {
    const readings = [
      replica(hub),
      connections(hub, sockets),
      saturation(hub, sockets),
      federation(hub),
      views(hub),
      search(hub),
      jobs(hub),
      ...(queue ? [mail(hub, queue)] : []),
    ];
    const stops = [...readings.map((reading) => hub.metrics.onScrape(reading)), measureTasks(hub)];
    return {
      api: {},
      async stop() {
        for (const stop of stops) stop();
      },
    };
  },
});

const states: readonly ServiceState[] = ['starting', 'running', 'degraded', 'failed', 'stopped'];

function replica(hub: Hub): Reading {
  const { metrics, kernel, readiness, version, startedAt } = hub;
  return {
    name: 'replica',
    gauges: ['build', 'uptime', 'serviceState', 'logCutOff', 'leases'],
    read() {
      metrics.set('build', { version }, 1);
      metrics.set('uptime', {}, Math.max(0, kernel.now() - startedAt) / 1000);
      metrics.set('logCutOff', {}, readiness.cutOffMs / 1000);
      for (const { name, held } of hub.duties()) metrics.set('leases', { duty: name }, held ? 1 : 0);
      for (const { name, tier, state } of hub.services()) {
        for (const each of states)
          metrics.set('serviceState', { service: name, tier, state: each }, each === state ? 1 : 0);
      }
    },
  };
}

function connections({ metrics }: Hub, sockets: WebsocketPool): Reading {
  return {
    name: 'sockets',
    gauges: ['connectedNodes', 'sockets'],
    read() {
      const { connections, nodes } = sockets.counts();
      metrics.set('connectedNodes', {}, nodes);
      metrics.set('sockets', {}, connections);
    },
  };
}

function federation({ metrics, live }: Hub): Reading {
  return {
    name: 'federation',
    gauges: ['nodes', 'tasks', 'liveRows'],
    read() {
      const nodes = counted(live.nodes.values(), { online: 0, suspect: 0, offline: 0 });
      for (const [status, count] of nodes) metrics.set('nodes', { status }, count);
      // Those that are over and only wait for their callback are no tasks any more.
      const tasks = counted(live.openTasks.values(), { pending: 0, assigned: 0, running: 0 });
      for (const [status, count] of tasks) metrics.set('tasks', { status }, count);
      for (const [view, { size }] of Object.entries(live)) metrics.set('liveRows', { view }, size);
    },
  };
}

/** How many rows have each of these statuses. */
function counted(rows: Iterable<{ readonly status: string }>, from: Readonly<Record<string, number>>) {
  const counts = new Map(Object.entries(from));
  for (const { status } of rows) {
    const count = counts.get(status);
    if (count !== undefined) counts.set(status, count + 1);
  }
  return counts;
}

function views({ metrics, views, log, kernel }: Hub): Reading {
  return {
    name: 'views',
    gauges: ['viewsPosition', 'viewsLag', 'viewsLagSeconds', 'logHead', 'projecting', 'deadLetters'],
    async read() {
      const { position, head, projecting, deadLetters } = await views.state();
      const { events } = head > position ? await log.readAll(position, 1) : { events: [] };
      const oldest = events[0] && kernel.now() - Date.parse(events[0].time);
      metrics.set('viewsPosition', {}, position);
      metrics.set('logHead', {}, head);
      metrics.set('viewsLag', {}, Math.max(0, head - position));
      metrics.set('viewsLagSeconds', {}, Math.max(0, oldest ?? 0) / 1000);
      metrics.set('projecting', {}, projecting ? 1 : 0);
      metrics.set('deadLetters', {}, deadLetters);
    },
  };
}

function search({ metrics, search, log }: Hub): Reading {
  return {
    name: 'search',
    gauges: ['searchPosition', 'searchLag', 'searchFault'],
    async read() {
      const { position, fault } = search;
      metrics.set('searchPosition', {}, position);
      metrics.set('searchFault', {}, fault === null ? 0 : 1);
      metrics.set('searchLag', {}, Math.max(0, (await log.head()) - position));
    },
  };
}

function mail({ metrics }: Hub, queue: OfflineQueue): Reading {
  return {
    name: 'mail',
    gauges: ['mailWaiting', 'mailWaitingBytes', 'mailboxesWaiting'],
    read() {
      const { nodes, letters, bytes } = queue.counts();
      metrics.set('mailWaiting', {}, letters);
      metrics.set('mailWaitingBytes', {}, bytes);
      metrics.set('mailboxesWaiting', {}, nodes);
    },
  };
}

const queues: readonly QueueName[] = ['tasks', 'timers', 'callbacks', 'webhooks', 'mail', 'expiry'];

function jobs(hub: Hub): Reading {
  return {
    name: 'jobs',
    gauges: ['jobs'],
    async read() {
      const opened = await hub.jobs();
      await Promise.all(
        queues.map(async (queue) => {
          const counts = await opened.counts(queue);
          if (!counts) throw new Error('the store of jobs is away');
          for (const [state, count] of Object.entries(counts)) hub.metrics.set('jobs', { queue, state }, count);
        }),
      );
    },
  };
}
