/** The HTTP door: REST for nodes and operators under /api/federation, its description and its documentation page. */

import { governance } from './governance.ts';
import { healthAggregator } from './health-aggregator.ts';
import { identityAuth } from './identity-auth.ts';
import { authRoutes } from './nexus-api/auth-routes.ts';
import { governanceRoutes } from './nexus-api/governance-routes.ts';
import { healthRoutes } from './nexus-api/health-routes.ts';
import { createHttp, requireAccess } from './nexus-api/http.ts';
import { nodeRoutes } from './nexus-api/node-routes.ts';
import { viewsRoutes } from './nexus-api/views-routes.ts';
import { nodeRegistry } from './node-registry.ts';
import { service } from './service.ts';
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
  },
  async start(hub, { registry, sockets, health, identity, governance }) {
    const { app, handler } = await createHttp(hub);
    await app.register(
      async (api) => {
        requireAccess(api);
        healthRoutes(api, hub, health, sockets);
        nodeRoutes(api, hub, registry);
        authRoutes(api, hub, identity);
        governanceRoutes(api, governance);
        viewsRoutes(api, hub);
      },
      { prefix: '/api/federation' },
    );
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
