/** Readings, folded by the hour: live by the views, and for ever when their segment goes. */
import type { HealthHour, HealthReading } from './health.ts';
import type { HeartbeatHour, Measure, Reading } from './heartbeat.ts';

/**
 * Folds one heartbeat into its hour. Pure, and the same whether done live or when a segment goes: that both give the same
 * row is what lets views be rebuilt after a drop.
 */
export function foldHeartbeat(
  hour: HeartbeatHour | undefined,
  heartbeat: { position: number; time: string; data: { node_id: string } & Reading },
  segment: number,
): HeartbeatHour {
  const { node_id, ...reading } = heartbeat.data;
  const { cpu_percent, memory_percent, disk_percent, gpu_percent } = reading.resources ?? {};
  return {
    segment,
    node_id,
    hour: hourOf(heartbeat.time),
    count: (hour?.count ?? 0) + 1,
    cpu: addTo(hour?.cpu, cpu_percent),
    memory: addTo(hour?.memory, memory_percent),
    disk: addTo(hour?.disk, disk_percent),
    gpu: addTo(hour?.gpu, gpu_percent),
    last: { position: heartbeat.position, time: heartbeat.time, reading },
  };
}

/** Folds one reading into its hour. Pure; `hour` is the start of the hour it lies in. */
export function foldHealth(
  known: HealthHour | undefined,
  reading: HealthReading,
  segment: number,
  hour: string,
): HealthHour {
  const alerts = reading.alerts_warning + reading.alerts_critical;
  return {
    segment,
    hour,
    count: (known?.count ?? 0) + 1,
    online_min: Math.min(known?.online_min ?? reading.online, reading.online),
    online_max: Math.max(known?.online_max ?? 0, reading.online),
    offline_max: Math.max(known?.offline_max ?? 0, reading.offline),
    alerts_max: Math.max(known?.alerts_max ?? 0, alerts),
    cpu_count: (known?.cpu_count ?? 0) + (reading.cpu === null ? 0 : 1),
    cpu_sum: (known?.cpu_sum ?? 0) + (reading.cpu ?? 0),
    memory_count: (known?.memory_count ?? 0) + (reading.memory === null ? 0 : 1),
    memory_sum: (known?.memory_sum ?? 0) + (reading.memory ?? 0),
  };
}

/** The start of the hour that an ISO 8601 UTC time lies in. */
export function hourOf(time: string): string {
  return `${time.slice(0, 13)}:00:00.000Z`;
}

const none: Measure = { count: 0, sum: 0, max: 0 };

function addTo(measure: Measure | undefined, percent: number | undefined): Measure {
  if (percent === undefined) return measure ?? none;
  const hundredths = Math.round(percent * 100);
  const before = measure ?? none;
  return { count: before.count + 1, sum: before.sum + hundredths, max: Math.max(before.max, hundredths) };
}
