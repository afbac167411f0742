/** /events: what happens in the federation, as it happens and from any position on, as server-sent events. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import { actorOf } from '../../doors.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import { EventFilter, EventPatterns } from '../../events/subscription.ts';
import type { Hub } from '../../hub.ts';
import { checker } from '../../input.ts';
import { closed } from '../../protocol.ts';
import type { EventBus } from '../event-bus.ts';
import type { IdentityAuth } from '../identity-auth.ts';
import { responses } from './describe.ts';
import { sendProblem } from './http.ts';
import { cutWhenStuck } from './stuck-readers.ts';

const Query = Type.Object({
  patterns: Type.Optional(
    Type.String({ maxLength: 4_096, description: 'Types of events, by commas: `node.*,task.>`; left out: all' }),
  ),
  after: Type.Optional(
    Type.Integer({ minimum: 0, description: 'First what happened after this position; left out: from now on' }),
  ),
});
const Headers = Type.Object({
  'last-event-id': Type.Optional(Type.String({ maxLength: 32, description: 'As `after`, and before it' })),
});

export function eventRoutes(api: FastifyInstance, hub: Hub, bus: EventBus, identity: IdentityAuth): void {
  api.get<{ Querystring: Static<typeof Query> }>(
    '/events',
    {
      config: { access: 'read' },
      schema: {
        operationId: 'streamEvents',
        summary: 'Events as they happen, for as long as the connection and the rights of its reader last',
        description:
          'Each event has its position as `id`, its type as `event`, and as `data` a CloudEvent (JSON). ' +
          'Members of the data may be asked for: `filter.node_id=a`, at most eight. `Last-Event-ID` goes before `after`. What the reader may not see is left out. ' +
          'Single heartbeats and health readings are there for some days only (a week, unless the operator said otherwise); `heartbeat.rolled-up` and `health.rolled-up` tell of older ones. ' +
          'The header `federation-position` says after which position it begins.',
        tags: ['events'],
        querystring: Query,
        response: responses(
          200,
          Type.String({ description: 'text/event-stream' }),
          'not_acceptable',
          'limit_reached',
          'overloaded',
        ),
      },
    },
    async (request, reply) => {
      if (!acceptsEvents(request.headers.accept)) {
        return sendProblem(reply, request, refuse('not_acceptable', 'this answers text/event-stream'));
      }
      const wish = await wishOf(hub, bus, identity, request);
      if (isRefusal(wish)) return sendProblem(reply, request, wish);
      reply
        .type('text/event-stream; charset=utf-8')
        .header('cache-control', 'no-cache, no-transform')
        .header('x-accel-buffering', 'no');
      if (request.method === 'HEAD') return reply.send('');
      const stream = bus.open(wish);
      if (isRefusal(stream)) return sendProblem(reply, request, stream);
      cutWhenStuck(hub.kernel, reply.raw);
      return reply.header('federation-position', String(stream.from)).send(stream);
    },
  );
}

const checkPatterns = checker(EventPatterns);
const checkFilter = checker(closed(EventFilter));
const checkHeaders = checker(Headers);

async function wishOf(
  hub: Hub,
  bus: EventBus,
  identity: IdentityAuth,
  request: FastifyRequest<{ Querystring: Static<typeof Query> }>,
) {
  const patterns = checkPatterns(request.query.patterns?.split(',') ?? ['>']);
  if (isRefusal(patterns)) return refuse(patterns.refused, `patterns: ${patterns.detail}`, patterns.extra);
  const types = bus.typesOf(patterns);
  if (types.size === 0) return refuse('invalid_input', 'patterns: they name no type of event');
  const filter = filterOf(request.query);
  if (isRefusal(filter)) return filter;
  const after = afterOf(request);
  if (isRefusal(after)) return after;
  if (after !== undefined && after > (await hub.log.head())) {
    return refuse('invalid_input', `the log has no position ${after} yet`);
  }
  const standing = await standingOf(bus, identity, request);
  if (isRefusal(standing)) return standing;
  const actor = actorOf(request.identity);
  return { actor, standing, types, filter, after, spend: spender(hub, request) };
}

/** What a request is worth at any later moment, while its answer goes on. */
export async function standingOf(bus: EventBus, identity: IdentityAuth, request: FastifyRequest) {
  const { identity: known, headers } = request;
  if (known.kind !== 'node' || known.signedWith !== undefined) return bus.standing(known, undefined);
  const claims = await identity.readSessionToken(headers.authorization);
  return isRefusal(claims) ? claims : bus.standing(known, claims);
}

/** The members `filter.…` of a query. */
function filterOf(query: object): EventFilter | undefined | Refusal {
  const members = Object.entries(query).filter(([name]) => name.startsWith('filter.'));
  if (members.length === 0) return undefined;
  const filter = checkFilter(Object.fromEntries(members.map(([name, value]) => [name.slice('filter.'.length), value])));
  if (isRefusal(filter)) return refuse(filter.refused, `filter: ${filter.detail}`, filter.extra);
  if (members.length > 8) return refuse('invalid_input', 'filter: eight members at most');
  return filter;
}

function afterOf({ headers, query }: FastifyRequest<{ Querystring: Static<typeof Query> }>) {
  const checked = checkHeaders({
    ...(headers['last-event-id'] !== undefined && { 'last-event-id': headers['last-event-id'] }),
  });
  if (isRefusal(checked)) return checked;
  const last = checked['last-event-id'];
  if (last === undefined || last === '') return query.after;
  const position = Number(last);
  return /^\d{1,16}$/.test(last) && Number.isSafeInteger(position)
    ? position
    : refuse('invalid_input', 'last-event-id: no position of this log');
}

/** RFC 9110, 12.5.1; the weights are no matter, but for 0. */
function acceptsEvents(accept: string | undefined): boolean {
  if (accept === undefined || accept.trim() === '') return true;
  return accept.split(',').some((range) => {
    const [type, ...parameters] = range
      .toLowerCase()
      .split(';')
      .map((part) => part.trim());
    const refused = parameters.some((parameter) => /^q=0(\.0{0,3})?$/.test(parameter));
    return !refused && (type === '*/*' || type === 'text/*' || type === 'text/event-stream');
  });
}

/** Takes what is sent from the allowance of whoever asked: a stream has no length that the door could see. */
function spender({ doors }: Hub, { identity, address }: FastifyRequest): (bytes: number) => void {
  return (bytes) => {
    const limits = doors.limits.get();
    if (!isRefusal(limits)) limits.spend(identity, address, bytes);
  };
}
