/** Which segments of readings were dropped, and what did they hold? */
import { projection } from './define.ts';

export interface SegmentRow {
  id: string;
  from_position: number;
  to_position: number;
  count: number;
  root: string;
  dropped_at: string;
}

export const segments = projection<SegmentRow>({
  table: {
    name: 'federation_log_segments_dropped',
    key: 'id',
    columns: {
      id: 'text',
      from_position: 'integer',
      to_position: 'integer',
      count: 'integer',
      root: 'text',
      dropped_at: 'text',
    },
  },
  version: 1,
  on: {
    'log.segment-dropped': {
      key: ({ data }) => String(data.from),
      fold: (_row, { data, time }) => ({
        id: String(data.from),
        from_position: data.from,
        to_position: data.to,
        count: data.count,
        root: data.root,
        dropped_at: time,
      }),
    },
  },
});
