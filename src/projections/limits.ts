/** Which nodes have limits of their own? */
import type { Limits } from '../events/limits.ts';
import { projection } from './define.ts';

export interface LimitsRow {
  node_id: string;
  /** What is left out is the default. */
  limits: Partial<Limits>;
  since: string;
}

export const nodeLimits = projection<LimitsRow>({
  table: {
    name: 'federation_limits',
    key: 'node_id',
    columns: { node_id: 'text', limits: 'json', since: 'text' },
  },
  version: 1,
  on: {
    'limits.set': {
      key: ({ data }) => data.node_id,
      fold: (_row, { data, time }) => (Object.keys(data.limits).length === 0 ? null : { ...data, since: time }),
    },
  },
});
