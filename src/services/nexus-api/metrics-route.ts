/** GET /metrics at the root: for scrapers at addresses that the operator named, without a token, and for whoever may read. */
import proxyAddress from '@fastify/proxy-addr';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Hub } from '../../hub.ts';

export function metricsRoute(app: FastifyInstance, { config, metrics }: Hub): void {
  const allowed = proxyAddress.compile([...config.metricsAllow]);
  // Behind a proxy that is not trusted every request comes from the proxy's own address, which says nothing of who asks.
  const direct = ({ ip, headers, raw }: FastifyRequest) =>
    ip !== raw.socket.remoteAddress || (headers['x-forwarded-for'] === undefined && headers.forwarded === undefined);
  const trusts = (request: FastifyRequest) => direct(request) && allowed(request.address, 0);

  app.get(
    '/metrics',
    { config: { access: 'read', trusts, service: 'metrics' }, schema: { hide: true } },
    async (request, reply) => {
      const format = request.headers.accept?.includes('application/openmetrics-text') ? 'openmetrics' : 'text';
      const { contentType, body } = await metrics.expose(format);
      return reply.header('content-type', contentType).header('cache-control', 'no-store').send(body);
    },
  );
}
