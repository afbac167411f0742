/**
 * The frame of the HTTP door: the guards first (admit.ts), then the shape; every refusal a problem document (RFC 9457).
 *
 * A route says in its config who may use it: `access`, a right or one of the words of rights.ts; with `itself`, the node that
 * the path names may as well. A route without it does not start. The door's server is the hub's own: Fastify only handles
 * requests.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { STATUS_CODES } from 'node:http';
import type { Readable } from 'node:stream';
import swagger from '@fastify/swagger';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { type Static, type TSchema, Type } from 'typebox';
import { Convert } from 'typebox/value';
import { bodyHash, commandId } from '../../commands/command-id.ts';
import type { About, Executed } from '../../commands/execute.ts';
import { actorOf } from '../../doors.ts';
import { type Code, codes, Fault, isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { checker } from '../../input.ts';
import { admit, bodyLimit, countBody, enter, settle, tellSensitive } from './admit.ts';
import { allowedMethods } from './allowed-methods.ts';
import { checkedBody, hasBody } from './content-digest.ts';
import { describeProblems, Problem, problemExamples } from './describe.ts';
import { docsPage } from './docs-page.ts';

const documentation = {
  openapi: '3.1.0',
  info: {
    title: 'Federation Hub',
    version: '1',
    description:
      'Errors are problem documents (RFC 9457) with a stable `code`. Writes take `Idempotency-Key` and answer `position`; reads take `min_position`.',
  },
  components: {
    examples: problemExamples,
    securitySchemes: {
      bearer: {
        type: 'http',
        scheme: 'bearer',
        description:
          'A session token of a node, or an operator token (`fht_…`). A node may sign the request instead (RFC 9421); docs/proofs.md says how.',
      },
    },
  },
} as const;

/** An app whose requests come through `handler`. */
export async function createHttp(
  hub: Hub,
): Promise<{ app: FastifyInstance; handler: (request: IncomingMessage, response: ServerResponse) => void }> {
  const app = Fastify({
    bodyLimit,
    trustProxy: hub.config.trustedProxies.length > 0 ? [...hub.config.trustedProxies] : false,
    requestIdHeader: false,
    genReqId: () => hub.kernel.uuid(),
    routerOptions: { maxParamLength: 256, caseSensitive: true, ignoreTrailingSlash: false },
    logger: false,
    exposeHeadRoutes: true,
    return503OnClosing: false,
    frameworkErrors: (error, request, reply) => void answerError(hub, error, request, reply), // paths that cannot be read
  });
  app.removeContentTypeParser('text/plain');
  app.setValidatorCompiler(({ schema, httpPart }) => validator(schema as TSchema, httpPart)); // every schema here is TypeBox's
  app.setSerializerCompiler(() => JSON.stringify); // the schemas of answers describe; compiling them is a tenth of a start
  app.setErrorHandler((error, request, reply) => answerError(hub, error, request, reply));
  const methodsOf = allowedMethods(app);
  app.setNotFoundHandler((request, reply) => {
    const methods = methodsOf(request.url.replace(/\?.*$/, ''));
    if (methods.length === 0 || methods.includes(request.method))
      return sendProblem(reply, request, refuse('not_found', 'there is no such path'));
    const detail = `this path takes ${methods.join(', ')}`;
    return sendProblem(reply.header('allow', methods.join(', ')), request, refuse('method_not_allowed', detail));
  });
  app.decorateRequest('identity'); // the hook below sets it before any handler sees it
  app.decorateRequest('address', '');
  app.decorateRequest('unannounced', 0);
  app.decorateRequest('probe', false);
  app.decorateRequest('trace'); // likewise
  app.decorateRequest('settled', false);
  app.decorateReply('refusedWith');
  app.decorateReply('paidFor', false);
  app.addHook('onRequest', async (request, reply) => {
    // A stream that its reader leaves, and whatever is cut short, never comes to `onResponse`.
    reply.raw.once('close', () => settle(hub, request, reply));
    request.trace = enter(hub, request);
    const guard = hub.tracing.within('guard', 'internal', request.trace.traceparent);
    const refused = await admit(hub, request, reply);
    guard?.end(refused?.refused);
    if (refused) return sendProblem(reply, request, refused);
  });
  app.addHook('preParsing', (request, reply, payload, done) =>
    done(null, bodyAsSigned(request, reply, payload as Readable)),
  );
  app.addHook('onRoute', (route) => {
    if (!route.config?.sensitive) return;
    route.preHandler = async (request, reply) => {
      const refused = await tellSensitive(hub, request);
      if (refused) return sendProblem(reply, request, refused);
    };
  });
  app.addHook('onResponse', (request, reply, done) => {
    settle(hub, request, reply);
    done();
  });
  app.addSchema(Problem);
  await app.register(swagger, {
    openapi: { ...documentation, ...(hub.config.publicUrl && { servers: [{ url: hub.config.publicUrl }] }) },
    refResolver: { buildLocalReference: (schema) => String(schema.$id) },
  });
  docsPage(app, () => app.swagger());
  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger());
  return { app, handler: (request, response) => app.routing(request, response) };
}

/** The body as it comes, counted; of a signed request, it fails at its end when it is not the one that was signed. */
export function bodyAsSigned(request: FastifyRequest, reply: FastifyReply, payload: Readable): Readable {
  const { identity, headers } = request;
  const counted = countBody(request, reply, payload);
  if (identity.kind !== 'node' || identity.signedWith === undefined || !hasBody(headers)) return counted;
  return checkedBody(counted, headers['content-digest'], (refused) => new InvalidInput(refused, 'body'));
}

/** Routes that are added from now on must say who may use them. */
export function requireAccess(api: FastifyInstance): void {
  api.addHook('onRoute', (route) => {
    if (!route.config?.access) throw new TypeError(`${route.url} does not say who may use it`);
    describeProblems(route);
    const { access, itself } = route.config;
    const described = { ...route.schema, 'x-access': itself ? [access, 'itself'] : [access] };
    route.schema = access === 'anyone' ? described : { ...described, security: [{ bearer: [] }] };
  });
}

/**
 * What the executor needs to know of a request: who asks, and under which idempotency key. A request that was signed is known by
 * the nonce of its signature, so that a replay at another replica does nothing twice.
 */
export function aboutOf(request: FastifyRequest, once = false, said: unknown = request.body): About {
  const { identity } = request;
  const actor = actorOf(identity);
  const nonce = identity.kind === 'node' ? identity.signedWith : undefined;
  const key = request.headers['idempotency-key'] ?? (nonce && `signed:${nonce}`);
  const { traceparent } = request.trace;
  const route = `${request.method} ${request.routeOptions.url}`;
  return {
    actor,
    address: request.address,
    correlation: request.id,
    ...(traceparent !== undefined && { traceparent }),
    ...(typeof key === 'string' && {
      command: { id: commandId(actor, route, key), bodyHash: bodyHash([request.params, said ?? null]), once },
    }),
  };
}

/** Headers that every write takes. */
export const writeHeaders = Type.Object({
  'idempotency-key': Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 255,
      description: 'The same key and body again get the same answer, for seven days',
    }),
  ),
});

/** Query that every read takes. */
export const ReadQuery = Type.Object({
  min_position: Type.Optional(
    Type.Integer({
      minimum: 0,
      description: 'Waits up to 2 s for the views to hold this position; else `stale` is true',
    }),
  ),
});

/** What every answer from the views tells of its freshness. */
export const freshness = {
  position: Type.Integer({ description: 'The answer holds everything up to this position' }),
  stale: Type.Boolean({ description: 'min_position was not reached in time' }),
};

/** Sends what a command did: its reply with its position, or its refusal. */
export function sendExecuted<R>(
  reply: FastifyReply,
  request: FastifyRequest,
  done: Executed<R> | Refusal,
  body: (reply: R) => object,
  status = 200,
): FastifyReply {
  if (isRefusal(done)) return sendProblem(reply, request, done);
  return reply.code(status).send({ ...body(done.reply), position: done.position });
}

/** Sends a refusal as a problem document. */
export function sendProblem(reply: FastifyReply, request: FastifyRequest, refused: Refusal): FastifyReply {
  const { status, title } = codes[refused.refused];
  reply.refusedWith = refused.refused;
  if (status === 401) reply.header('www-authenticate', 'Bearer');
  const { retry_after_ms: waitMs } = refused.extra ?? {};
  if (status === 503) reply.header('retry-after', typeof waitMs === 'number' ? String(Math.ceil(waitMs / 1000)) : '1');
  return reply
    .code(status)
    .type('application/problem+json')
    .serializer(JSON.stringify)
    .send({
      ...refused.extra,
      type: 'about:blank',
      title,
      status,
      code: refused.refused,
      detail: refused.detail,
      instance: `urn:uuid:${request.id}`,
      ...(request.trace?.traceId !== undefined && { trace_id: request.trace.traceId }),
    });
}

/** The check of `input.ts`, for Fastify. Text of queries, paths and headers is first turned into numbers and booleans where those are wanted. */
function validator(
  schema: TSchema,
  httpPart: string | undefined,
): (value: unknown) => { value: unknown } | { error: Error } {
  const check = checker(schema);
  const { properties = {} } = schema as { properties?: Record<string, { type?: unknown }> }; // JSON Schema's own words
  const convertible = Object.keys(properties).filter((name) => properties[name]?.type !== 'string');
  const holdsText = (value: unknown) =>
    httpPart !== 'body' && convertible.some((name) => (value as Record<string, unknown>)[name] !== undefined); // parts but the body are records
  return (value) => {
    const checked = check(holdsText(value) ? Convert(schema, value) : value);
    return isRefusal(checked)
      ? { error: new InvalidInput(checked, httpPart ?? 'body') }
      : { value: checked as Static<TSchema> };
  };
}

export class InvalidInput extends Error {
  readonly refused: Refusal;
  constructor({ refused, detail, extra }: Refusal, httpPart: string) {
    super(detail);
    this.refused = refuse(refused, `${httpPart}: ${detail}`, extra);
  }
}

/** Fastify's own errors, faults and defects, each under a code of the list. */
function answerError(hub: Hub, error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  if (error instanceof InvalidInput) return sendProblem(reply, request, error.refused);
  if (error instanceof Fault) {
    hub.kernel.log.warn({ err: error, request: request.id, trace_id: request.trace?.traceId }, 'a request met a fault');
    return sendProblem(reply, request, refuse(error.code, error.message));
  }
  const status = error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : 500;
  const byStatus: Record<number, Code> = {
    404: 'not_found',
    405: 'method_not_allowed',
    413: 'payload_too_large',
    415: 'unsupported_media_type',
  };
  if (status >= 400 && status < 500) {
    const message = error instanceof Error ? error.message : (STATUS_CODES[status] ?? '');
    return sendProblem(reply, request, refuse(byStatus[status] ?? 'invalid_input', message.slice(0, 200)));
  }
  const { id, routeOptions, trace } = request;
  hub.kernel.log.error(
    { err: error, request: id, url: routeOptions.url, trace_id: trace?.traceId },
    'a request met a defect',
  );
  return sendProblem(reply, request, refuse('internal_error', `it is in the log under ${request.id}`));
}
