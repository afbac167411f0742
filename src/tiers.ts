/** The 22 services by their names, and what it means when one of them fails. */

/** P0: the hub does not start, or stops. P1: it runs degraded. P2 and Nexus: best effort. All but P0 are tried again. */
export type Tier = 'P0' | 'P1' | 'P2' | 'Nexus';

export const tiers = {
  'node-registry': 'P0',
  'websocket-pool': 'P0',
  'health-aggregator': 'P0',
  'service-router': 'P1',
  'model-registry': 'P1',
  'task-queue': 'P1',
  'event-bus': 'P1',
  'knowledge-sync': 'P2',
  'identity-auth': 'P2',
  'secrets-vault': 'P2',
  'message-persistence': 'P2',
  'file-transfer': 'P2',
  'rate-limiter': 'P2',
  'audit-logger': 'P2',
  'offline-queue': 'P2',
  governance: 'P2',
  metrics: 'P2',
  degradation: 'P2',
  'p2p-fallback': 'P2',
  'entity-registry': 'Nexus',
  'access-control': 'Nexus',
  'nexus-api': 'Nexus',
} as const satisfies Record<string, Tier>;

export type ServiceName = keyof typeof tiers;
