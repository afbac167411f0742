/** The HTTP door: REST for nodes and operators under /api/federation, its description and its documentation page. */

import { accessControl } from './access-control.ts';
import { entityRegistry } from './entity-registry.ts';
import { eventBus } from './event-bus.ts';
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
import { entityRoutes } from './nexus-api/entity-routes.ts';
import { eventRoutes } from './nexus-api/event-routes.ts';
import { governanceRoutes } from './nexus-api/governance-routes.ts';
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
import { peerRoutes } from './nexus-api/peer-routes.ts';
import { pingRoutes } from './nexus-api/ping-routes.ts';
import { routeRoutes } from './nexus-api/route-routes.ts';
import { sovereigntyRoutes } from './nexus-api/sovereignty-routes.ts';
import { subscriptionRoutes } from './nexus-api/subscription-routes.ts';
import { syncRoutes } from './nexus-api/sync-routes.ts';
import { taskRoutes } from './nexus-api/task-routes.ts';
import { tokenRoutes } from './nexus-api/token-routes.ts';
import { viewsRoutes } from './nexus-api/views-routes.ts';
import { nodeRegistry } from './node-registry.ts';
import { offlineQueue } from './offline-queue.ts';
import { rateLimiter } from './rate-limiter.ts';
import { service } from './service.ts';
import { serviceRouter } from './service-router.ts';
import { taskQueue } from './task-queue.ts';
import { websocketPool } from './websocket-pool.ts';

export const nexusApi = service({
  name: 'nexus-api',
  tier: 'Nexus',
  purpose: 'REST for nodes and operators, OpenAPI description and documentation page',
  needs: {
    registry: nodeRegistry,
    sockets: websocketPool,
    health: healthAggregator,
    identity: identityAuth,
    governance,
    access: accessControl,
    entities: entityRegistry,
    limiter: rateLimiter,
    bus: eventBus,
    models: modelRegistry,
    tasks: taskQueue,
    knowledge: knowledgeSync,
    router: serviceRouter,
    queue: offlineQueue,
    messages: messagePersistence,
  },
  async start(
    hub,
    {
      registry,
      sockets,
      health,
      identity,
      governance,
      access,
      entities,
      limiter,
      bus,
      models,
      router,
      tasks,
      knowledge,
      queue,
      messages,
    },
  ) {
    const { app, handler } = await createHttp(hub);
    await app.register(
      async (api) => {
        requireAccess(api);
        healthRoutes(api, hub, health, sockets);
        nodeRoutes(api, hub, registry);
        authRoutes(api, identity);
        keyRoutes(api, hub, identity);
        tokenRoutes(api, hub, identity.operatorTokens);
        governanceRoutes(api, hub, governance);
        joinRequestRoutes(api, hub, governance);
        inviteRoutes(api, hub, governance);
        banRoutes(api, hub, governance);
        accessRoutes(api, hub, access);
        entityRoutes(api, hub, entities);
        limitRoutes(api, limiter);
        eventRoutes(api, hub, bus, identity);
        subscriptionRoutes(api, hub, bus, identity);
        modelRoutes(api, hub, models);
        taskRoutes(api, hub, tasks, models);
        routeRoutes(api, hub, router);
        memoryRoutes(api, knowledge, identity);
        sovereigntyRoutes(api, knowledge);
        syncRoutes(api, hub, knowledge);
        peerRoutes(api, hub, knowledge);
        messageRoutes(api, hub, { messages, queue, identity });
        channelRoutes(api, hub, messages);
        pingRoutes(api, hub, sockets);
        viewsRoutes(api, hub);
        backupRoutes(api, hub);
        auditRoutes(api, hub);
      },
      { prefix },
    );
    metricsRoute(app, hub);
    await app.ready();
    const close = hub.doors.serveHttp(handler);
    return {
      api: { describe: () => app.swagger() },
      async stop() {
        close();
        await app.close();
      },
    };
  },
});
