/** The HTTP door: REST for nodes and operators under /api/federation, its description and its documentation page. */

import { accessControl } from './access-control.ts';
import { degradation } from './degradation.ts';
import { entityRegistry } from './entity-registry.ts';
import { eventBus } from './event-bus.ts';
import { fileTransfer } from './file-transfer.ts';
import { governance } from './governance.ts';
import { healthAggregator } from './health-aggregator.ts';
import { identityAuth } from './identity-auth.ts';
import { knowledgeSync } from './knowledge-sync.ts';
import { messagePersistence } from './message-persistence.ts';
import { modelRegistry } from './model-registry.ts';
import { accessRoutes } from './nexus-api/access-routes.ts';
import { prefix } from './nexus-api/admit.ts';
import { auditRoutes } from './nexus-api/audit-routes.ts';
import { authRoutes } from './nexus-api/auth-routes.ts';
import { backupRoutes } from './nexus-api/backup-routes.ts';
import { banRoutes } from './nexus-api/ban-routes.ts';
import { channelRoutes } from './nexus-api/channel-routes.ts';
import { degradationRoutes } from './nexus-api/degradation-routes.ts';
import { entityRoutes } from './nexus-api/entity-routes.ts';
import { eventRoutes } from './nexus-api/event-routes.ts';
import { fileRoutes } from './nexus-api/file-routes.ts';
import { governanceRoutes } from './nexus-api/governance-routes.ts';
import { group, mount, type RouteGroup } from './nexus-api/groups.ts';
import { healthRoutes } from './nexus-api/health-routes.ts';
import { createHttp, requireAccess } from './nexus-api/http.ts';
import { inviteRoutes } from './nexus-api/invite-routes.ts';
import { joinRequestRoutes } from './nexus-api/join-request-routes.ts';
import { keyRoutes } from './nexus-api/key-routes.ts';
import { limitRoutes } from './nexus-api/limit-routes.ts';
import { memoryRoutes } from './nexus-api/memory-routes.ts';
import { messageRoutes } from './nexus-api/message-routes.ts';
import { metricsRoute } from './nexus-api/metrics-route.ts';
import { modelRoutes } from './nexus-api/model-routes.ts';
import { nodeRoutes } from './nexus-api/node-routes.ts';
import { p2pRoutes } from './nexus-api/p2p-routes.ts';
import { peerRoutes } from './nexus-api/peer-routes.ts';
import { pingRoutes } from './nexus-api/ping-routes.ts';
import { routeRoutes } from './nexus-api/route-routes.ts';
import { secretRoutes } from './nexus-api/secret-routes.ts';
import { sovereigntyRoutes } from './nexus-api/sovereignty-routes.ts';
import { subscriptionRoutes } from './nexus-api/subscription-routes.ts';
import { syncRoutes } from './nexus-api/sync-routes.ts';
import { taskRoutes } from './nexus-api/task-routes.ts';
import { tokenRoutes } from './nexus-api/token-routes.ts';
import { viewsRoutes } from './nexus-api/views-routes.ts';
import { WorkTree } from './nexus-api/work-tree.ts';
import { nodeRegistry } from './node-registry.ts';
import { offlineQueue } from './offline-queue.ts';
import { p2pFallback } from './p2p-fallback.ts';
import { rateLimiter } from './rate-limiter.ts';
import { secretsVault } from './secrets-vault.ts';
import { service } from './service.ts';
import { serviceRouter } from './service-router.ts';
import { taskQueue } from './task-queue.ts';
import { websocketPool } from './websocket-pool.ts';

export const nexusApi = service({
  name: 'nexus-api',
  purpose: 'REST for nodes and operators, OpenAPI description and documentation page',
  needs: {
    registry: nodeRegistry,
    sockets: websocketPool,
    health: healthAggregator,
  },
  wants: {
    identity: identityAuth,
    governance,
    access: accessControl,
    entities: entityRegistry,
    limiter: rateLimiter,
    degradation,
    bus: eventBus,
    models: modelRegistry,
    tasks: taskQueue,
    knowledge: knowledgeSync,
    router: serviceRouter,
    queue: offlineQueue,
    messages: messagePersistence,
    p2p: p2pFallback,
    files: fileTransfer,
    vault: secretsVault,
  },
  async start(hub, services) {
    const { app, handler } = await createHttp(hub);
    const works = new WorkTree();
    await app.register(
      async (api) => {
        requireAccess(api);
        mount(api, hub, services, groups, works);
      },
      { prefix },
    );
    metricsRoute(app, hub);
    await app.ready();
    const close = hub.doors.serveHttp(handler, (method, url) => works.find(method, url));
    return {
      api: { describe: () => app.swagger() },
      async stop() {
        close();
        await app.close();
      },
    };
  },
});

type Services = Parameters<typeof nexusApi.start>[1];

/** All routes, by the service that answers for them. */
const groups: readonly RouteGroup<Services>[] = [
  group(
    'health-aggregator',
    ['/status', '/health', '/ready', '/hub'],
    ['health', 'sockets'],
    (api, hub, { health, sockets }) => healthRoutes(api, hub, health, sockets),
  ),
  group('node-registry', ['/nodes'], ['registry'], (api, hub, { registry }) => nodeRoutes(api, hub, registry)),
  group('identity-auth', ['/auth', '/nodes/register'], ['identity'], (api, hub, { identity }) => {
    authRoutes(api, identity);
    keyRoutes(api, hub, identity);
    tokenRoutes(api, hub, identity.operatorTokens);
  }),
  group('governance', ['/governance'], ['governance'], (api, hub, { governance }) => {
    governanceRoutes(api, hub, governance);
    joinRequestRoutes(api, hub, governance);
    inviteRoutes(api, hub, governance);
    banRoutes(api, hub, governance);
  }),
  group('access-control', ['/access'], ['access'], (api, hub, { access }) => accessRoutes(api, hub, access)),
  group(
    'entity-registry',
    ['/entities', '/external-entities', '/events/joins'],
    ['entities'],
    (api, hub, { entities }) => entityRoutes(api, hub, entities),
  ),
  group('rate-limiter', ['/limits'], ['limiter'], (api, _hub, { limiter }) => limitRoutes(api, limiter)),
  group('degradation', ['/degradation'], ['degradation'], (api, hub, { degradation }) =>
    degradationRoutes(api, hub, degradation),
  ),
  group('audit-logger', ['/audit'], [], (api, hub) => auditRoutes(api, hub)),
  group('event-bus', ['/events', '/subscriptions'], ['bus', 'identity'], (api, hub, { bus, identity }) => {
    eventRoutes(api, hub, bus, identity);
    subscriptionRoutes(api, hub, bus, identity);
  }),
  group('model-registry', ['/models'], ['models'], (api, hub, { models }) => modelRoutes(api, hub, models)),
  group('task-queue', ['/tasks'], ['tasks', 'models'], (api, hub, { tasks, models }) =>
    taskRoutes(api, hub, tasks, models),
  ),
  group('service-router', ['/services', '/route'], ['router'], (api, hub, { router }) => routeRoutes(api, hub, router)),
  group('knowledge-sync', ['/memory', '/knowledge'], ['knowledge', 'identity'], (api, hub, { knowledge, identity }) => {
    memoryRoutes(api, knowledge, identity);
    sovereigntyRoutes(api, knowledge);
    syncRoutes(api, hub, knowledge);
    peerRoutes(api, hub, knowledge);
  }),
  group(
    'message-persistence',
    ['/send', '/messages', '/channels'],
    ['messages', 'queue', 'identity'],
    (api, hub, { messages, queue, identity }) => {
      messageRoutes(api, hub, { messages, queue, identity });
      channelRoutes(api, hub, messages);
    },
  ),
  group('file-transfer', ['/files'], ['files'], (api, hub, { files }) => fileRoutes(api, hub, files)),
  group('secrets-vault', ['/secrets'], ['vault'], (api, _hub, { vault }) => secretRoutes(api, vault), 'vault_shut'),
  group('p2p-fallback', ['/p2p'], ['p2p'], (api, _hub, { p2p }) => p2pRoutes(api, p2p)),
  group('nexus-api', ['/ping', '/views', '/backup'], ['sockets'], (api, hub, { sockets }) => {
    pingRoutes(api, hub, sockets);
    viewsRoutes(api, hub);
    backupRoutes(api, hub);
  }),
];
