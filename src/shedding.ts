/**
 * What a replica puts aside at which level: by the service that it is of, and the few routes and packets that are dealt with otherwise. One
 * table for both doors.
 *
 * By tier: P2 first, P1 and Nexus last, P0 never. Never put aside, whatever the level: being there (sessions, heartbeats, health), the
 * guards and what administrators do with them, mail for those who are away, and all that only keeps or ends what was begun:
 * turning that away makes more work than it saves.
 */
import { type Level, levels } from './events/degradation.ts';
import type { ClientPacketName } from './protocol.ts';
import type { ServiceName } from './tiers.ts';

/** The level from which on the requests of a service are put aside; services that are not named here never are. */
const byService: { readonly [S in ServiceName]?: Level } = {
  // P2: what costs most, and can wait.
  'knowledge-sync': 'reduced',
  'file-transfer': 'reduced',
  // The rest of P2 that may be put aside. Mail goes on: see below.
  'message-persistence': 'essential',
  'secrets-vault': 'essential',
  'p2p-fallback': 'essential',
  // P1 and Nexus.
  'service-router': 'core',
  'model-registry': 'core',
  'task-queue': 'core',
  'event-bus': 'core',
  'entity-registry': 'core',
  'nexus-api': 'core',
};

type From = Level | 'never';

/** Routes below /api/federation that are dealt with otherwise than their service. */
const byRoute: Readonly<Record<string, From>> = {
  'GET /status': 'never',
  'GET /health': 'never',
  'GET /ready': 'never',
  'GET /degradation': 'never',
  'PUT /degradation': 'never',
  'DELETE /degradation': 'never',
  // Mail, and what is acknowledged of it.
  'POST /send': 'never',
  'GET /messages/pending': 'never',
  'POST /messages/ack': 'never',
  'POST /messages/:id/read': 'never',
  'POST /messages/:id/refuse': 'never',
  // Whoever destroys what is theirs, or allows less, is not kept waiting.
  'DELETE /messages': 'never',
  'DELETE /files/:id': 'never',
  'DELETE /memory': 'never',
  'DELETE /memory/:id': 'never',
  'DELETE /secrets/:id': 'never',
  'DELETE /secrets/:id/versions/:version': 'never',
  'PUT /secrets/:id/access': 'never',
  'PUT /knowledge/sovereignty/:node': 'never',
  'POST /knowledge/withdrawals/answer': 'never',
  // What nodes need when the hub is gone.
  'GET /p2p/roster': 'never',
  // Ends.
  'POST /knowledge/syncs/:id/pause': 'never',
  'POST /knowledge/syncs/:id/end': 'never',
  'POST /knowledge/syncs/:id/cancel': 'never',
  'POST /tasks/:id/started': 'never',
  'POST /tasks/:id/progress': 'never', // who works keeps what it has by it
  'POST /tasks/:id/complete': 'never',
  'POST /tasks/:id/fail': 'never',
  'POST /tasks/:id/cancel': 'never',
  'DELETE /subscriptions/:id': 'never',
  'POST /subscriptions/:id/pause': 'never',
  'POST /subscriptions/:id/ack': 'never',
  // These read much at once.
  'GET /messages': 'reduced',
  'GET /messages/traffic': 'reduced',
  'GET /audit/export': 'reduced',
  'GET /backup/log': 'reduced',
  'POST /views/rebuild': 'reduced',
};

const byPacket: { readonly [N in ClientPacketName]?: From } = {
  'federation:message': 'never',
  'federation:message:ack': 'never',
  'federation:message:read': 'never',
  'federation:message:refuse': 'never',
  'federation:knowledge:withdrawn': 'never',
  'federation:knowledge:pause': 'never',
  'federation:knowledge:end': 'never',
  'federation:task:started': 'never',
  'federation:task:progress': 'never',
  'federation:task:complete': 'never',
  'federation:task:fail': 'never',
  'federation:unsubscribe': 'never',
  'federation:p2p:roster': 'never', // what they need when the hub is gone
  'federation:response': 'never', // of a call that is under way
};

/** Something that is asked at a door, as far as it matters under load. */
export interface Work {
  readonly service: ServiceName;
  /** It is put aside from this level on; undefined: never. */
  readonly from: Level | undefined;
}

/** What a route is. `path` is its template, without the prefix. */
export function workOfRoute(service: ServiceName, method: string, path: string): Work {
  return workOf(service, byRoute[`${method === 'HEAD' ? 'GET' : method} ${path}`]);
}

export function workOfPacket(service: ServiceName, packet: ClientPacketName): Work {
  return workOf(service, byPacket[packet]);
}

/** Whether something is put aside at a level. */
export function isShed({ from }: Work, at: Level): boolean {
  return from !== undefined && levels.indexOf(at) >= levels.indexOf(from);
}

/** Services of which something is put aside at a level. */
export function shedServices(at: Level): ServiceName[] {
  return (Object.entries(byService) as [ServiceName, Level][])
    .filter(([service, from]) => isShed({ service, from }, at))
    .map(([service]) => service);
}

/** Whether the background work of a service, which nobody waits for, should go slowly at a level. */
export function isPutAside(service: ServiceName, at: Level | undefined): boolean {
  return at !== undefined && isShed({ service, from: byService[service] }, at);
}

/** For a test: each route and packet that is dealt with by itself. */
export const exceptions = { routes: Object.keys(byRoute), packets: Object.keys(byPacket) } as const;

function workOf(service: ServiceName, own: From | undefined): Work {
  if (own === 'never') return { service, from: undefined };
  return { service, from: own ?? byService[service] };
}
