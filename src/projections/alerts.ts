/** Which measures of which nodes are beyond their thresholds, and which were? */
import type { Kysely } from 'kysely';
import type { AlertLevel, AlertMeasure } from '../events/health.ts';
import type { ViewTables } from './catalog.ts';
import { projection } from './define.ts';

export interface AlertRow {
  /** `<node id>/<measure>`: a measure of a node has one alert, open or closed. */
  id: string;
  node_id: string;
  measure: AlertMeasure;
  status: 'open' | 'closed';
  level: AlertLevel;
  percent: number | null;
  threshold: number;
  opened_at: string;
  changed_at: string;
  closed_at: string | null;
  /** How often it opened. */
  times: number;
}

export const alerts = projection<AlertRow>({
  table: {
    name: 'federation_alerts',
    key: 'id',
    columns: {
      id: 'text',
      node_id: 'text',
      measure: 'text',
      status: 'text',
      level: 'text',
      percent: { type: 'real', nullable: true },
      threshold: 'real',
      opened_at: 'text',
      changed_at: 'text',
      closed_at: { type: 'text', nullable: true },
      times: 'integer',
    },
    indexes: [['status', 'level'], ['node_id']],
  },
  version: 1,
  on: {
    'alert.opened': {
      key: ({ data }) => `${data.node_id}/${data.measure}`,
      fold: (row, { data, time }) => ({
        id: `${data.node_id}/${data.measure}`,
        node_id: data.node_id,
        measure: data.measure,
        status: 'open',
        level: data.level,
        percent: data.percent,
        threshold: data.threshold,
        opened_at: time,
        changed_at: time,
        closed_at: null,
        times: (row?.times ?? 0) + 1,
      }),
    },
    'alert.changed': {
      key: ({ data }) => `${data.node_id}/${data.measure}`,
      fold: (row, { data, time }) =>
        row && { ...row, level: data.level, percent: data.percent, threshold: data.threshold, changed_at: time },
    },
    'alert.closed': {
      key: ({ data }) => `${data.node_id}/${data.measure}`,
      fold: (row, { data, time }) =>
        row && { ...row, status: 'closed', percent: data.percent, changed_at: time, closed_at: time },
    },
  },
});

/** The alerts that changed last, at most `limit`. */
export function findAlerts(
  db: Kysely<ViewTables>,
  status: AlertRow['status'] | undefined,
  limit: number,
): Promise<AlertRow[]> {
  let query = db.selectFrom('federation_alerts').selectAll();
  if (status !== undefined) query = query.where('status', '=', status);
  return query.orderBy('changed_at', 'desc').orderBy('id').limit(limit).execute();
}
