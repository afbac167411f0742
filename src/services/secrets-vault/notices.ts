/** Tells the nodes that are connected here, and may read a secret, that it changed. */
import type { LogEvent } from '../../events/catalog.ts';
import type { Hub } from '../../hub.ts';
import type { SecretRow } from '../../projections/secrets.ts';
import type { WebsocketPool } from '../websocket-pool.ts';
import { standingOf } from './standing.ts';

/** What is returned stops it. */
export function tellChanges(hub: Hub, sockets: WebsocketPool): () => void {
  return hub.live.secrets.onChange((_id, row, event) => {
    const change = row && changeOf(event);
    if (!change) return;
    const { secret_id, newest: version } = row;
    const packet = { time: event.time, secret_id, version, change };
    for (const { node_id: nodeId, role } of hub.live.nodes.values()) {
      if (!sockets.has(nodeId) || !reads(hub, nodeId, role, row)) continue;
      sockets.tell(nodeId, 'federation:secret-changed', packet);
    }
  });
}

function reads(hub: Hub, nodeId: string, role: 'observer' | 'member' | 'admin', row: SecretRow): boolean {
  return standingOf(hub, { kind: 'node', nodeId, sessionId: '', role }, row).reads !== undefined;
}

function changeOf({ type }: LogEvent): 'stored' | 'access' | 'destroyed' | undefined {
  if (type === 'secret.stored') return 'stored';
  if (type === 'secret.access-changed') return 'access';
  return type === 'secret.version-destroyed' ? 'destroyed' : undefined;
}
