/** What every HTTP request passes before and after its handler: the guards of the door, the meter, and the audit log. */
import { type Readable, Transform } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import {
  type Asked,
  actorOf,
  anonymous,
  type Credentials,
  type Doors,
  type Identity,
  rateLimited,
} from '../../doors.ts';
import { type Code, isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { type Access, mayUse } from '../../rights.ts';
import { type Entry, untraced } from '../../tracing.ts';
import { writeLimits } from './limit-headers.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access;
    /** The node named by `:id` or `:node` may as well, whatever its role. */
    itself?: true;
    /** The audit log tells of each use, before the answer leaves. */
    sensitive?: true;
    /** Probes of the infrastructure, which no limit may silence. */
    unlimited?: true;
    /** Whom to let in as a probe, without proof; all others are asked as everywhere. */
    trusts?: (request: FastifyRequest) => boolean;
  }
  interface FastifyRequest {
    identity: Identity;
    /** Where it comes from, read once at the door; '' when that was gone by then. */
    address: string;
    /** Bytes of a body that came without saying how many, as they are read. */
    unannounced: number;
    /** It is a probe: neither limited nor told to the audit log. */
    probe: boolean;
    /** Set before the guards are asked; not there for paths that cannot be read. */
    trace: Entry;
    settled: boolean;
  }
  interface FastifyReply {
    /** Set by `sendProblem`. */
    refusedWith?: Code;
    /** Its bytes were taken from the allowance as they went. */
    paidFor: boolean;
  }
}

/** Bytes of a body at most. */
export const bodyLimit = 256 * 1024;

/** Where the routes lie. */
export const prefix = '/api/federation';

/** Begins the trace of a request, or goes on with the one it names. Probes come too often to be of interest. */
export function enter({ tracing }: Hub, { method, routeOptions, headers }: FastifyRequest): Entry {
  const { url = '(none)', config } = routeOptions;
  if (!tracing.on || config?.unlimited || config?.trusts) return untraced.enter('', headers.traceparent);
  const entry = tracing.enter(`${method} ${url}`, headers.traceparent);
  entry.span?.set('federation.door', 'http');
  entry.span?.set('http.request.method', method);
  entry.span?.set('http.route', url);
  if (config?.service) entry.span?.set('federation.service', config.service);
  return entry;
}

/**
 * Everything that is asked of a request before its body is read: is this replica fit for it, who is it, is there allowance
 * left, is it banned or blocked, may it. Fails closed: without a guard only what anyone may use is open, and that is metered.
 */
export async function admit({ doors, readiness }: Hub, request: FastifyRequest, reply: FastifyReply) {
  request.identity = anonymous;
  request.unannounced = 0;
  request.address = request.ip ?? ''; // read from the socket, which forgets it, whatever the type says, when the peer resets
  if (request.address === '') return leave(request, reply);
  const { access = 'anyone', itself, unlimited = false, trusts, work } = request.routeOptions.config; // without: the documentation, and unknown paths
  const shed = work && doors.load.find()?.judge(work); // the door did not know a path that was written in another way
  if (shed) return shed;
  const changes = request.method !== 'GET' && request.method !== 'HEAD';
  const notReady = changes ? readiness.refusal() : undefined;
  if (notReady) return notReady;
  request.probe = unlimited || trusts?.(request) === true;
  if (request.probe) return undefined;
  const known = access === 'anyone' ? anonymous : await identify(doors, request);
  if (!isRefusal(known)) request.identity = known;
  const exceeded = await meter(doors, request, reply);
  if (exceeded) return exceeded;
  if (isRefusal(known)) return known;
  if (known.kind !== 'anonymous') {
    const refused = doors.judge(known);
    if (refused) return refused;
  }
  const named = namedBy(request);
  const allowed = mayUse(known, access, named) || (itself === true && mayUse(known, 'itself', named));
  return allowed ? undefined : forbid(known);
}

/** Nobody is there to be answered. */
function leave(request: FastifyRequest, reply: FastifyReply): undefined {
  reply.hijack();
  request.raw.destroy();
}

async function identify(doors: Doors, request: FastifyRequest): Promise<Identity | Refusal> {
  const guard = doors.identity.get();
  return isRefusal(guard) ? guard : guard(request.raw as Credentials, request.address); // a request that came has method and URL
}

/** Takes the request from the allowance of whoever asks, and says in the headers what is left. */
async function meter(doors: Doors, request: FastifyRequest, reply: FastifyReply): Promise<Refusal | undefined> {
  const guard = doors.limits.get();
  if (isRefusal(guard)) return guard;
  const announced = Number(request.headers['content-length'] ?? 0) || 0;
  const bytes = Math.min(announced, bodyLimit); // no more of it is read
  const { allowances, short } = await guard.enter(request.identity, request.address, 'requests', bytes);
  writeLimits(reply, allowances);
  return short && rateLimited(short);
}

/** Sensitive reads are in the log before they are answered; a door that cannot tell of them stays shut. */
export async function tellSensitive({ doors }: Hub, request: FastifyRequest): Promise<Refusal | undefined> {
  const audit = doors.audit.get();
  if (isRefusal(audit)) return audit;
  await audit.sensitive(askedBy(request));
  return undefined;
}

/** Of a request whose connection was cut before there was an answer, as proxies tell of it. */
const cutShort = 499;

/**
 * Once, after the answer or when nobody is there any more to get it: it is counted, with what went over the wire, and the audit log learns
 * what it should know.
 */
export function settle({ doors, metrics }: Hub, request: FastifyRequest, reply: FastifyReply): void {
  if (request.settled) return;
  request.settled = true;
  const { refusedWith } = reply;
  const status = reply.raw.headersSent ? reply.statusCode : cutShort;
  const span = request.trace?.span;
  if (span) {
    span.set('http.response.status_code', status);
    span.set('federation.actor', actorOf(request.identity));
    span.end(refusedWith);
  }
  if (refusedWith !== 'shedding') count(metrics, request, reply, status);
  if (refusedWith) metrics.refused('http', refusedWith);
  if (request.address === '' || request.probe) return;
  const limits = doors.limits.get();
  const bytes = sentBytes(request, reply) + request.unannounced;
  if (!isRefusal(limits) && bytes > 0 && status !== cutShort) limits.spend(request.identity, request.address, bytes);
  if (refusedWith) doors.tellRefused(askedBy(request), refusedWith);
  const audit = doors.audit.get();
  if (request.method === 'GET' && !isRefusal(audit) && status < 400) audit.read(request.identity);
}

function count(metrics: Hub['metrics'], request: FastifyRequest, reply: FastifyReply, status: number): void {
  const { url: route, config } = request.routeOptions;
  metrics.requested({
    method: request.method,
    route,
    service: config?.service ?? (route === undefined ? undefined : 'nexus-api'),
    status,
    tookMs: reply.elapsedTime,
    streams: String(reply.getHeader('content-type')).startsWith('text/event-stream'),
    traceId: request.trace?.span?.traceId,
  });
}

/** What went out of an answer: nothing for HEAD, whatever its length says; what was paced on its way is `paidFor` by then. */
function sentBytes({ method }: FastifyRequest, reply: FastifyReply): number {
  if (method === 'HEAD' || reply.paidFor) return 0;
  return Number(reply.getHeader('content-length') ?? 0) || 0;
}

/** The body as it comes, counted for `settle` when it did not say how long it is. One that did was metered before it was read. */
export function countBody(request: FastifyRequest, reply: FastifyReply, body: Readable): Readable {
  if (request.headers['transfer-encoding'] === undefined) return body;
  const counted = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      request.unannounced += chunk.length;
      done(null, chunk);
    },
  });
  body.on('error', (cause) => counted.destroy(cause)); // `pipe` does not pass errors on
  reply.raw.once('finish', () => counted.resume()); // what nobody read must not hold up the connection
  return body.pipe(counted);
}

/** A request as the audit log tells of it. What was asked at a path that is not there is not repeated: it is a stranger's text. */
function askedBy(request: FastifyRequest): Asked {
  const { url } = request.routeOptions;
  const action =
    url === undefined ? `${request.method} (no such path)` : `${request.method} ${url.replace(prefix, '')}`;
  return { identity: request.identity, address: request.address, action, target: namedBy(request) ?? '' };
}

/** What the path names. */
function namedBy(request: FastifyRequest): string | undefined {
  // As the router read them, not checked yet; in a handler, numbers are numbers by now.
  const { id, node, position, subject } = request.params as Partial<Record<string, string>> & { position?: unknown };
  return id ?? node ?? (position === undefined ? subject?.replace(/^node:/, '') : String(position));
}

function forbid(identity: Identity): Refusal {
  return identity.kind === 'anonymous'
    ? refuse('unauthenticated', 'this needs a session token or an operator token')
    : refuse('forbidden', 'this identity may not do this');
}
