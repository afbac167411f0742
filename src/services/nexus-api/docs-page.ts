/** The page /docs: Swagger UI over the description of the API. Made when it is first asked for; a start does not wait for it. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { type Code, codes } from '../../errors.ts';

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** Serves /docs and all below it. `describe` gives the OpenAPI document. */
export function docsPage(app: FastifyInstance, describe: () => object): void {
  let made: Promise<FastifyInstance> | undefined;
  const serve = async (request: IncomingMessage, response: ServerResponse) => {
    made ??= makePage(describe());
    const page = await made;
    const handler: Handler = page.routing;
    handler(request, response);
  };
  for (const url of ['/docs', '/docs/*']) {
    app.get(url, { schema: { hide: true } }, async (request, reply) => {
      reply.hijack();
      await serve(request.raw, reply.raw);
    });
  }
  app.addHook('onClose', async () => (await made)?.close());
}

async function makePage(document: object): Promise<FastifyInstance> {
  const [{ default: Fastify }, { default: swagger }, { default: swaggerUi }] = await Promise.all([
    import('fastify'),
    import('@fastify/swagger'),
    import('@fastify/swagger-ui'),
  ]);
  const page = Fastify({ logger: false });
  page.setNotFoundHandler((_request, reply) => say(reply, 'not_found'));
  page.setErrorHandler((_error, _request, reply) => say(reply, 'invalid_input')); // paths that name no file of the page
  await page.register(swagger, { mode: 'static', specification: { document: document as never } }); // an OpenAPI 3.1 document
  await page.register(swaggerUi, {
    routePrefix: '/docs',
    uiConfig: { validatorUrl: null },
    staticCSP: true,
    // Over plain HTTP the page would ask for its own parts over TLS, and it needs nobody else's.
    transformStaticCSP: (policy) =>
      policy.replace(/upgrade-insecure-requests;?|https?:\/\/validator\.swagger\.io/g, ''),
  });
  await page.ready();
  return page;
}

function say(reply: FastifyReply, code: Code): FastifyReply {
  const { status, title } = codes[code];
  const problem = { type: 'about:blank', title, status, code };
  return reply.code(status).type('application/problem+json').serializer(JSON.stringify).send(problem);
}
