/** How was the federation over the hours? One row an hour and segment of the log. */
import type { Kysely } from 'kysely';
import type { HealthHour } from '../events/health.ts';
import { foldHealth, hourOf } from '../events/hours.ts';
import type { ViewTables } from './catalog.ts';
import { projection } from './define.ts';

export interface HealthHourRow extends HealthHour {
  /** `<segment>/<hour>` */
  id: string;
}

export const healthHours = projection<HealthHourRow>({
  table: {
    name: 'federation_health_hours',
    key: 'id',
    columns: {
      id: 'text',
      segment: 'integer',
      hour: 'text',
      count: 'integer',
      online_min: 'integer',
      online_max: 'integer',
      offline_max: 'integer',
      alerts_max: 'integer',
      cpu_count: 'integer',
      cpu_sum: 'integer',
      memory_count: 'integer',
      memory_sum: 'integer',
    },
    indexes: [['hour']],
  },
  version: 1,
  on: {
    'health.measured': {
      key: ({ time, position }, { segmentOf }) => rowId(segmentOf(position), hourOf(time)),
      fold: (row, { data, time, position }, { segmentOf }) =>
        rowOf(foldHealth(row, data, segmentOf(position), hourOf(time))),
    },
    'health.rolled-up': {
      key: ({ data }) => rowId(data.segment, data.hour),
      fold: (_row, { data }) => rowOf(data),
    },
  },
});

function rowOf(folded: HealthHour): HealthHourRow {
  return { id: rowId(folded.segment, folded.hour), ...folded };
}

function rowId(segment: number, hour: string): string {
  return `${segment}/${hour}`;
}

/** One hour of the federation, whatever segments it lay in. Means in percent, null when nothing was reported. */
export interface HealthHourSummary {
  hour: string;
  readings: number;
  online_min: number;
  online_max: number;
  offline_max: number;
  alerts_max: number;
  cpu_percent: number | null;
  memory_percent: number | null;
}

/** The last `limit` hours that have readings, oldest first. */
export async function findHealthHours(db: Kysely<ViewTables>, limit: number): Promise<HealthHourSummary[]> {
  const rows = await db
    .selectFrom('federation_health_hours')
    .select(({ fn }) => [
      'hour',
      fn.sum<number>('count').as('readings'),
      fn.min<number>('online_min').as('online_min'),
      fn.max<number>('online_max').as('online_max'),
      fn.max<number>('offline_max').as('offline_max'),
      fn.max<number>('alerts_max').as('alerts_max'),
      fn.sum<number>('cpu_sum').as('cpu_sum'),
      fn.sum<number>('cpu_count').as('cpu_count'),
      fn.sum<number>('memory_sum').as('memory_sum'),
      fn.sum<number>('memory_count').as('memory_count'),
    ])
    .groupBy('hour')
    .orderBy('hour', 'desc')
    .limit(limit)
    .execute();
  return rows.reverse().map(({ cpu_sum, cpu_count, memory_sum, memory_count, readings, ...hour }) => ({
    ...hour,
    readings: Number(readings), // PostgreSQL sums bigints as numeric, which arrives as text
    cpu_percent: mean(cpu_sum, cpu_count),
    memory_percent: mean(memory_sum, memory_count),
  }));
}

/** Mean in percent of a sum of hundredths. */
function mean(sum: number, count: number): number | null {
  return Number(count) === 0 ? null : Math.round(Number(sum) / Number(count)) / 100;
}
