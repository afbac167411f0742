/** Which methods a path takes, for those that come with another: 405 with `Allow` (RFC 9110), not 404. */
import type { FastifyInstance } from 'fastify';

/** Notes each route that is added to `app` from now on. What is returned answers the methods of a path; none for one that is not there. */
export function allowedMethods(app: FastifyInstance): (path: string) => readonly string[] {
  const routes = new Map<string, { shape: RegExp; methods: Set<string> }>();
  app.addHook('onRoute', ({ url, method }) => {
    const route = routes.get(url) ?? { shape: shapeOf(url), methods: new Set() };
    for (const one of [method].flat()) route.methods.add(one);
    routes.set(url, route);
  });
  return (path) => {
    const methods = new Set<string>();
    for (const route of routes.values()) {
      if (route.shape.test(path)) for (const method of route.methods) methods.add(method);
    }
    return [...methods].sort();
  };
}

/** `/nodes/:id` and `/docs/*` as patterns. */
function shapeOf(url: string): RegExp {
  const literal = url.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${literal.replaceAll(/:[^/]+/g, '[^/]+').replaceAll('*', '.*')}$`);
}
