/** How was the federation over the hours? One row an hour and segment of the log. */
import { foldHealth, type HealthHour } from '../events/health.ts';
import { hourOf } from '../events/heartbeat.ts';
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
