/** How full this replica is: each of what has a bound, as a part of that bound. */
import { getHeapStatistics } from 'node:v8';
import { mostConnections } from '../../doors.ts';
import { mostAppends } from '../../events/group-commit.ts';
import type { Hub } from '../../hub.ts';
import type { Reading } from '../../metrics.ts';
import { socketBounds, type WebsocketPool } from '../websocket-pool.ts';

export function saturation({ metrics, doors }: Hub, sockets: WebsocketPool): Reading {
  const set = (resource: string, used: number, bound: number) => metrics.set('saturation', { resource }, used / bound);
  return {
    name: 'saturation',
    gauges: ['saturation'],
    async read() {
      const { connections, strangers } = sockets.counts();
      set('sockets', connections, socketBounds.connections);
      set('strangers', strangers, socketBounds.strangers);
      const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics();
      set('heap', used, limit);
      set('log_queue', metrics.appendsWaiting(), mostAppends);
      set('http_connections', await doors.connections(), mostConnections);
    },
  };
}
