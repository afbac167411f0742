/** The federation's health in numbers, from the directory, the newest readings and the open alerts. Pure. */
import { Type } from 'typebox';
import type { HealthReading } from '../../events/health.ts';
import type { Reading, Resources } from '../../events/heartbeat.ts';
import type { AlertRow } from '../../projections/alerts.ts';
import type { NodeRow } from '../../projections/nodes.ts';

const count = Type.Integer({ minimum: 0 });
const percent = Type.Union([Type.Number(), Type.Null()], {
  description: 'Mean over the nodes that report it; null when none does',
});
const services = Type.Object({ running: count, degraded: count, stopped: count });

export const HealthSummary = Type.Object({
  status: Type.Union([Type.Literal('healthy'), Type.Literal('warning'), Type.Literal('critical')], {
    description:
      'critical: a critical alert is open, or most nodes are offline. warning: any alert is open, or any node is away or in doubt.',
  }),
  nodes: Type.Object({ total: count, online: count, suspect: count, offline: count }),
  services: Type.Object({ ...services.properties, by_name: Type.Record(Type.String(), services) }),
  resources: Type.Object({
    cpu_percent: percent,
    memory_percent: percent,
    disk_percent: percent,
    gpu_percent: percent,
  }),
  alerts: Type.Object({ warning: count, critical: count }),
  active_tasks: count,
});
export type HealthSummary = Type.Static<typeof HealthSummary>;

/** Counts the members; readings count only of those that are not offline. */
export function summarize(
  nodes: Iterable<NodeRow>,
  readings: ReadonlyMap<string, Reading>,
  alerts: Iterable<AlertRow>,
): HealthSummary {
  const byStatus = { total: 0, online: 0, suspect: 0, offline: 0 };
  const heard: Reading[] = [];
  for (const { node_id, status } of nodes) {
    byStatus.total++;
    byStatus[status]++;
    const reading = readings.get(node_id);
    if (reading && status !== 'offline') heard.push(reading);
  }
  const levels = { warning: 0, critical: 0 };
  for (const { status, level } of alerts) if (status === 'open') levels[level]++;
  return {
    status: statusOf(byStatus, levels),
    nodes: byStatus,
    services: countServices(heard),
    resources: {
      cpu_percent: mean(heard, 'cpu_percent'),
      memory_percent: mean(heard, 'memory_percent'),
      disk_percent: mean(heard, 'disk_percent'),
      gpu_percent: mean(heard, 'gpu_percent'),
    },
    alerts: levels,
    active_tasks: heard.reduce((sum, { active_tasks }) => sum + (active_tasks ?? 0), 0),
  };
}

/** The summary as it is written into the log. */
export function readingOf({ nodes, services, alerts, resources }: HealthSummary): HealthReading {
  const hundredths = (value: number | null) => (value === null ? null : Math.round(value * 100));
  return {
    online: nodes.online,
    suspect: nodes.suspect,
    offline: nodes.offline,
    services_running: services.running,
    services_degraded: services.degraded,
    services_stopped: services.stopped,
    alerts_warning: alerts.warning,
    alerts_critical: alerts.critical,
    cpu: hundredths(resources.cpu_percent),
    memory: hundredths(resources.memory_percent),
  };
}

function statusOf(nodes: HealthSummary['nodes'], alerts: HealthSummary['alerts']): HealthSummary['status'] {
  if (alerts.critical > 0 || nodes.offline * 2 > nodes.total) return 'critical';
  return alerts.warning > 0 || nodes.offline + nodes.suspect > 0 ? 'warning' : 'healthy';
}

function countServices(readings: readonly Reading[]): HealthSummary['services'] {
  const total = { running: 0, degraded: 0, stopped: 0 };
  const byName = new Map<string, typeof total>();
  for (const { services: claims } of readings) {
    for (const [name, { status = 'running' }] of Object.entries(claims ?? {})) {
      const counts = byName.get(name) ?? { running: 0, degraded: 0, stopped: 0 };
      counts[status]++;
      total[status]++;
      byName.set(name, counts);
    }
  }
  return { ...total, by_name: Object.fromEntries(byName) };
}

function mean(readings: readonly Reading[], name: keyof Resources): number | null {
  const values = readings.flatMap(({ resources }) => resources?.[name] ?? []);
  return values.length === 0 ? null : Math.round((values.reduce((a, b) => a + b, 0) / values.length) * 100) / 100;
}
