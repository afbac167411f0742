/** Discovery by service, and calls that the hub brings to a service or a capability: streamed both ways, whatever they carry. */
import type { OutgoingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { actorOf } from '../../doors.ts';
import { isRefusal, refuse } from '../../errors.ts';
import { NodeId } from '../../events/node.ts';
import type { Hub } from '../../hub.ts';
import { CallerGone, LentBody, Offer, Presence, restOf, type ServiceRouter, usualMs } from '../service-router.ts';
import { bodyLimit, prefix } from './admit.ts';
import { hasBody } from './content-digest.ts';
import { responses } from './describe.ts';
import { bodyAsSigned, freshness, sendProblem } from './http.ts';
import { cursorAfter, defaultLimit, NextCursor, PageQuery, placeOf } from './page.ts';
import { passOn } from './pass-on.ts';
import { stillAdmitted } from './still-admitted.ts';

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;
const ServiceName = Type.String({ minLength: 1, maxLength: 64 });
const CallHeaders = Type.Object({
  'federation-timeout-ms': Type.Optional(
    Type.Integer({ minimum: 100, maximum: 120_000, description: 'Until the answer begins; 30000 when it is not said' }),
  ),
});
const ByCapabilityHeaders = Type.Object({
  ...CallHeaders.properties,
  'federation-service': Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 64,
      description: 'Which service of the node; unsaid: the one of the capability’s name, else the node itself',
    }),
  ),
});
/** Types that Fastify can read. What is no such type is the target's to judge, and is hidden from Fastify. */
const plainType = /^[\w.+-]+\/[\w.+-]+(;|$)/;
/** How long a body may bring nothing, and how often that is looked at. */
const stalledMs = 60_000;
const lookMs = 10_000;
/** Bytes after which a call that is still under way is charged for them. */
const chargeBytes = 1024 * 1024;

const problems = [
  'upgrade_refused',
  'loop_detected',
  'no_target',
  'target_unreachable',
  'target_timeout',
  'circuit_open',
  'egress_refused',
  'overloaded',
] as const;

/** How often it is asked whether those of a call under way may still call and be called. */
const judgeMs = 1_000;

/** What calls are made with, and a look at each that is under way. */
interface Routing {
  readonly hub: Hub;
  readonly router: ServiceRouter;
  readonly looks: Set<() => void>;
}

export function routeRoutes(api: FastifyInstance, hub: Hub, router: ServiceRouter): void {
  const routing: Routing = { hub, router, looks: new Set() };
  const stop = hub.kernel.every(judgeMs, () => {
    for (const look of routing.looks) look();
  });
  api.addHook('onClose', async () => stop());
  api.get<{ Params: { name: string }; Querystring: Type.Static<typeof PageQuery> }>(
    '/services/:name',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'listOffers',
        summary: 'Who offers a service; those that live first',
        tags: ['routing'],
        params: Type.Object({ name: ServiceName }),
        querystring: PageQuery,
        response: responses(
          200,
          Type.Object({ offers: Type.Array(Offer), next_cursor: NextCursor, ...freshness }),
          'cursor_invalid',
        ),
      },
    },
    async (request, reply) => {
      const { limit = defaultLimit, cursor, min_position } = request.query;
      const after = placeOf(cursor, isPlace);
      if (isRefusal(after)) return sendProblem(reply, request, after);
      const { nodes } = hub.live;
      const waited = min_position === undefined ? undefined : nodes.waitFor(min_position, 2_000);
      const stale = (await waited?.then(() => false).catch(() => true)) ?? false;
      const offers = router.offers(request.params.name).filter((offer) => placeIn(offer) > after);
      const page = offers.slice(0, limit);
      return { offers: page, next_cursor: cursorAfter(page, limit, placeIn), position: nodes.position, stale };
    },
  );

  // Bodies are not read here: they are a scope of their own, where every kind of body stays a stream.
  void api.register(async (routed) => {
    routed.removeAllContentTypeParsers();
    routed.addContentTypeParser('*', (_request, body, done) => done(null, body));
    routed.addHook('onRequest', (request, _reply, done) => {
      const type = request.raw.headers['content-type'];
      if (type !== undefined && !plainType.test(type)) request.headers = { 'content-type': undefined };
      done();
    });
    for (const method of methods) {
      const name = `${method[0]}${method.slice(1).toLowerCase()}`;
      routed.route<{ Params: { node: string; service: string }; Headers: Type.Static<typeof CallHeaders> }>({
        method,
        url: '/route/:node/:service/*',
        exposeHeadRoute: false,
        config: { access: 'act' },
        schema: {
          operationId: `route${name}`,
          summary: `Calls a service of a node with ${method}; path, query and body go on as they are`,
          tags: ['routing'],
          params: Type.Object({ node: NodeId, service: ServiceName }),
          headers: CallHeaders,
          response: responses(200, Answered, ...problems),
        },
        handler: (request, reply) => {
          const { node: nodeId, service } = request.params;
          return bring(routing, request, reply, { nodeId, service });
        },
      });
      routed.route<{ Params: { capability: string }; Headers: Type.Static<typeof ByCapabilityHeaders> }>({
        method,
        url: '/route/by-capability/:capability/*',
        exposeHeadRoute: false,
        config: { access: 'act' },
        schema: {
          operationId: `routeByCapability${name}`,
          summary: `Calls a node that has a capability with ${method}`,
          tags: ['routing'],
          params: Type.Object({ capability: ServiceName }),
          headers: ByCapabilityHeaders,
          response: responses(200, Answered, ...problems),
        },
        handler: (request, reply) => {
          const { 'federation-service': service } = request.headers;
          return bring(routing, request, reply, { capability: request.params.capability, service });
        },
      });
    }
  });
}

const Answered = Type.Unknown({ description: 'What the target answered, with its status' });

/** `/api/federation/route/<who>/<what>`: the rest belongs to the target. */
const ownSegments = prefix.split('/').length - 1 + 3;

type To = Parameters<ServiceRouter['route']>[0]['to'];

/** Makes the call and streams what comes back. */
async function bring({ hub, router, looks }: Routing, request: FastifyRequest, reply: FastifyReply, to: To) {
  const { raw } = request;
  if (reply.raw.closed) return leave(request, reply); // while the guards were asked
  if (raw.headers['sec-websocket-key'] !== undefined)
    return sendProblem(reply, request, refuse('upgrade_refused', 'calls are brought to nodes over plain HTTP only'));
  const caller = new Presence();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) caller.leave();
  });
  const charge = charging(hub, request);
  const may = stillAdmitted(hub, request.identity, 'act');
  let target: string | undefined;
  const look = () => {
    if (!may() || (target !== undefined && !router.mayBeCalled(target))) reply.raw.destroy();
  };
  looks.add(look);
  const body = bodyOf(request, reply);
  const settle = body && takeTime(hub, request, body);
  body?.on('error', () => {}); // whoever reads it hears of it; nobody may
  reply.raw.once('finish', () => body?.readableEnded === false && readRest(hub, request, body));
  const timeoutMs = Number(request.headers['federation-timeout-ms'] ?? usualMs); // checked by the schema
  try {
    const answer = await router.route({
      to,
      method: request.method,
      path: restOf(raw.url ?? '/', ownSegments),
      headers: raw.headers,
      body: body && new LentBody(body, charge.body),
      timeoutMs,
      caller,
      actor: actorOf(request.identity),
      traceparent: request.trace.traceparent,
    });
    if (isRefusal(answer)) return sendProblem(reply, request, answer);
    target = String(answer.headers['federation-node']); // the router says so
    reply.hijack();
    const headers: OutgoingHttpHeaders = answer.headers;
    const allowance = reply.getHeaders();
    for (const name in allowance) headers[name] ??= allowance[name];
    reply.raw.writeHead(answer.status, headers);
    await passOn(hub.kernel, answer, reply.raw, charge.answer);
  } catch (error) {
    if (!(error instanceof CallerGone)) throw error;
    leave(request, reply);
  } finally {
    looks.delete(look);
    settle?.();
    charge.settle();
  }
}

/** The parser above leaves the stream; of a GET or HEAD, which seldom have a body, nobody else looks at it. */
function bodyOf(request: FastifyRequest, reply: FastifyReply): Readable | undefined {
  if (request.body) return request.body as Readable; // of the parser
  return hasBody(request.headers) ? bodyAsSigned(request, reply, request.raw) : undefined;
}

/** Nobody is there to be answered. */
function leave({ raw }: FastifyRequest, reply: FastifyReply): void {
  reply.hijack();
  raw.destroy();
}

/** What nobody read must not hold up the connection, nor be sent for ever. */
function readRest({ kernel }: Hub, { raw }: FastifyRequest, body: Readable): void {
  body.resume();
  const late = kernel.after(lookMs, () => raw.destroy());
  body.once('close', late);
}

/** Lets a body come for as long as it comes: one that is waited for and brings nothing for a minute is cut. */
function takeTime({ doors, kernel }: Hub, { raw }: FastifyRequest, body: Readable): () => void {
  let heardMs = kernel.monotonicMs();
  let heardBytes = raw.socket.bytesRead;
  const hurry = doors.takeTime(raw.socket);
  const stop = kernel.every(lookMs, () => {
    const now = kernel.monotonicMs();
    if (body.readableFlowing !== true || body.readableDidRead === false)
      heardMs = now; // it is the target that is slow
    else if (raw.socket.bytesRead !== heardBytes) {
      heardBytes = raw.socket.bytesRead;
      heardMs = now;
    } else if (now - heardMs >= stalledMs && !body.readableEnded) raw.destroy();
  });
  return () => {
    stop();
    hurry();
  };
}

/** Takes what goes through from the allowance of the caller, as it goes. What the door has counted already is not taken twice. */
function charging(hub: Hub, request: FastifyRequest) {
  const { headers, identity, address } = request;
  const announced = headers['transfer-encoding'] === undefined;
  let free = announced ? Math.min(Number(headers['content-length'] ?? 0) || 0, bodyLimit) : 0;
  let due = 0;
  const settle = () => {
    const limits = hub.doors.limits.get();
    if (due > 0 && !isRefusal(limits)) limits.spend(identity, address, due);
    due = 0;
  };
  const add = (bytes: number) => {
    due += bytes;
    if (due >= chargeBytes) settle();
  };
  return {
    body(bytes: number) {
      if (!announced) return; // counted as it is read
      const known = Math.min(free, bytes);
      free -= known;
      add(bytes - known);
    },
    answer: add,
    settle,
  };
}

/** Where an offer stands in the list: as the list is sorted. */
function placeIn({ node_status, node_id }: Offer): string {
  return `${['online', 'suspect', 'offline'].indexOf(node_status)} ${node_id}`;
}

function isPlace(place: string): boolean {
  return /^[012] [A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(place);
}
