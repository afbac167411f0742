/** Small requests routed to a node, with all guards, against a bare proxy before the same service. */
import { join } from 'node:path';
import { startHub } from '../hub-process.ts';
import type { Requests } from '../load/requests.ts';
import type { Workers } from '../load/workers.ts';
import { type Bench, type Figure, takeTurns } from '../measure.ts';
import type { Proxied } from '../peers/http-proxy.ts';
import { startChild } from '../processes.ts';

const connections = 16;

export async function route(bench: Bench): Promise<readonly Figure[]> {
  const service = startChild<Proxied>(new URL('../peers/http-proxy.ts', import.meta.url));
  const proxy = startChild<Proxied>(new URL('../peers/http-proxy.ts', import.meta.url));
  const node = startChild<Workers>(new URL('../load/workers.ts', import.meta.url));
  const load = startChild<Requests>(new URL('../load/requests.ts', import.meta.url));
  const hub = await startHub({ folder: join(bench.folder, 'hub'), env: { FEDERATION_EGRESS_ALLOW: '127.0.0.1' } });
  try {
    const port = await service.ask('serve');
    const bare = await proxy.ask('proxy', port);
    await node.ask('offer', hub.url, `http://127.0.0.1:${port}`);
    const routed = `${hub.url}/api/federation/route/server/echo/words`;
    const rates = await takeTurns(bench.rounds, 3_000, {
      proxy: (ms) => load.ask('closedLoop', `${bare}/words`, 'none', connections, ms),
      hub: (ms) => load.ask('closedLoop', routed, hub.adminToken!, connections, ms),
    });
    return [
      {
        what: 'small requests routed to a node',
        unit: 'per second',
        hub: rates.hub,
        peer: { name: '@fastify/http-proxy alone', values: rates.proxy },
        target: { atLeast: 0.6 },
      },
    ];
  } finally {
    for (const child of [load, node, proxy, service, hub]) await child.stop();
  }
}
