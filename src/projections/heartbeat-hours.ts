/** How were the nodes over the hours? One row a node, hour and segment of the log. */
import type { HeartbeatHour } from '../events/heartbeat.ts';
import { foldHeartbeat, hourOf } from '../events/hours.ts';
import { projection } from './define.ts';

export interface HeartbeatHourRow {
  /** `<segment>/<node id>/<hour>` */
  id: string;
  node_id: string;
  hour: string;
  folded: HeartbeatHour;
}

export const heartbeatHours = projection<HeartbeatHourRow>({
  table: {
    name: 'federation_heartbeat_hours',
    key: 'id',
    columns: { id: 'text', node_id: 'text', hour: 'text', folded: 'json' },
    indexes: [['node_id', 'hour'], ['hour']],
  },
  version: 1,
  on: {
    'heartbeat.received': {
      key: ({ data, time, position }, { segmentOf }) => rowId(segmentOf(position), data.node_id, hourOf(time)),
      fold: (row, event, { segmentOf }) => rowOf(foldHeartbeat(row?.folded, event, segmentOf(event.position))),
    },
    'heartbeat.rolled-up': {
      key: ({ data }) => rowId(data.segment, data.node_id, data.hour),
      fold: (_row, { data }) => rowOf(data),
    },
  },
});

function rowOf(folded: HeartbeatHour): HeartbeatHourRow {
  const { segment, node_id, hour } = folded;
  return { id: rowId(segment, node_id, hour), node_id, hour, folded };
}

function rowId(segment: number, nodeId: string, hour: string): string {
  return `${segment}/${nodeId}/${hour}`;
}
