/** The services of the hub in the order they start; they stop in reverse. A service may need only those above it. */
import { accessControl } from './access-control.ts';
import { auditLogger } from './audit-logger.ts';
import { degradation } from './degradation.ts';
import { entityRegistry } from './entity-registry.ts';
import { eventBus } from './event-bus.ts';
import { fileTransfer } from './file-transfer.ts';
import { governance } from './governance.ts';
import { healthAggregator } from './health-aggregator.ts';
import { identityAuth } from './identity-auth.ts';
import { knowledgeSync } from './knowledge-sync.ts';
import { messagePersistence } from './message-persistence.ts';
import { metrics } from './metrics.ts';
import { modelRegistry } from './model-registry.ts';
import { nexusApi } from './nexus-api.ts';
import { nodeRegistry } from './node-registry.ts';
import { offlineQueue } from './offline-queue.ts';
import { p2pFallback } from './p2p-fallback.ts';
import { rateLimiter } from './rate-limiter.ts';
import { secretsVault } from './secrets-vault.ts';
import type { AnyService } from './service.ts';
import { serviceRouter } from './service-router.ts';
import { taskQueue } from './task-queue.ts';
import { websocketPool } from './websocket-pool.ts';

export const manifest: readonly AnyService[] = [
  nodeRegistry,
  websocketPool,
  healthAggregator,
  identityAuth,
  governance,
  accessControl,
  rateLimiter,
  auditLogger,
  degradation,
  eventBus,
  serviceRouter,
  modelRegistry,
  taskQueue,
  knowledgeSync,
  offlineQueue,
  messagePersistence,
  secretsVault,
  p2pFallback,
  fileTransfer,
  entityRegistry,
  metrics,
  nexusApi,
];
