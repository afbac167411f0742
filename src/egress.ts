/**
 * All that the hub calls goes out here, to addresses that were checked at the moment of connecting.
 *
 * A name is resolved once, what it resolves to is judged, and only what passed is connected to: an answer of DNS that changes
 * between check and connect changes nothing. Literal addresses meet the same judge. Redirects are not followed: they are
 * answers like others.
 */
import { lookup as resolveName } from 'node:dns/promises';
import type { EventEmitter } from 'node:events';
import type { Agent as HttpAgent } from 'node:http';
import { isIP, type LookupFunction } from 'node:net';
import type { Readable } from 'node:stream';
import { LRUCache } from 'lru-cache';
import type { Agent, buildConnector } from 'undici';
import { type AddressRule, addressRule } from './egress/addresses.ts';
import { Fault, type Refusal, refuse } from './errors.ts';

export interface EgressRequest {
  readonly method: string;
  /** As they are sent; `host` is the target's unless it is named here. */
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  /** A stream is read as fast as the target takes it, and destroyed when the call fails. */
  readonly body?: Readable | Uint8Array | string | undefined;
  /** Aborted, or an emitter of `abort`, which costs less to make. */
  readonly signal?: AbortSignal | EventEmitter | undefined;
  /** From the request being sent to the head of the answer. */
  readonly timeoutMs: number;
}

export interface EgressAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Must be read or destroyed: until then the call holds its place. Fails when nothing comes for a minute. */
  readonly body: Readable;
}

export interface Egress {
  /**
   * One call. Throws `EgressRefused`, the `overloaded` fault when a stated number of calls is under way, or what went wrong
   * on the way; `failureOf` tells which.
   */
  request(url: string | URL, options: EgressRequest): Promise<EgressAnswer>;
  /** Why a URL could never be called: scheme, credentials, a literal address. Names are judged when they are called. */
  check(url: string | URL): Refusal | undefined;
  /**
   * What a library that dials for itself connects by: addresses of names are judged as those of calls are. Literal ones are judged by
   * `check`, which is to be asked before. For `http:` and `https:`.
   */
  agent(url: string | URL): Promise<HttpAgent>;
  /** Cuts all calls. */
  close(): Promise<void>;
}

/** The target may not be called. The message names the reason, and no secret. */
export class EgressRefused extends Error {
  readonly code = 'egress_refused';
}

/** All addresses of a name. */
export type Resolve = (hostname: string) => Promise<readonly { address: string; family: number }[]>;

/** Calls to one origin under way at once, each with a connection of its own; one more is refused, none waits. */
const mostToOrigin = 256;
/** Origins with open connections; those that rest are closed after a few seconds. */
const mostOrigins = 1_000;
const mostCalls = 4_096;
const connectMs = 5_000;
/** Silence in the middle of an answer. */
const idleMs = 60_000;

/** `allow`: networks that may be called though they are not public, of `FEDERATION_EGRESS_ALLOW`. */
export function openEgress(allow: readonly string[], resolve: Resolve = resolveAll): Egress {
  const rule = remembered(addressRule(allow));
  const places = new Places();
  let opening: Promise<Agent> | undefined;
  let closed = false;

  return {
    check: (url) => judge(parse(url), rule),
    async request(url, { method, headers, body, signal, timeoutMs }) {
      const target = parse(url);
      const refused = judge(target, rule);
      if (refused || !target) throw new EgressRefused(refused?.detail ?? notUrl);
      const { origin, pathname, search } = target;
      const leave = places.take(origin);
      try {
        if (closed) throw new Fault('overloaded', 'the hub is stopping');
        opening ??= openAgent(rule, resolve);
        const answer = await (await opening).request({
          origin,
          path: `${pathname}${search}`,
          method,
          headers: headers as Record<string, string | string[]>, // undici only reads them
          body: body ?? null,
          signal: signal ?? null,
          headersTimeout: timeoutMs,
          bodyTimeout: idleMs,
        });
        answer.body.once('close', leave).on('error', () => {}); // whoever reads it hears of it; nobody may
        return { status: answer.statusCode, headers: answer.headers, body: answer.body };
      } catch (error) {
        leave();
        throw error;
      }
    },
    async agent(url) {
      const secure = parse(url)?.protocol === 'https:';
      const { Agent } = secure ? await import('node:https') : await import('node:http');
      return new Agent({ lookup: checkedLookup(rule, resolve) });
    },
    async close() {
      closed = true;
      await (await opening)?.destroy();
    },
  };
}

/**
 * What a failed call met. `refused`: it may not be called. `unreachable`: no connection came about, so nothing was sent.
 * `timeout`: the answer did not begin in time, or stopped. `broken`: the connection ended, or what came was no HTTP.
 * `aborted`: the caller's own signal.
 */
export type EgressFailure = 'refused' | 'unreachable' | 'timeout' | 'broken' | 'aborted';

export function failureOf(error: unknown): EgressFailure {
  if (error instanceof EgressRefused) return 'refused';
  const { code, name, syscall } = error as { code?: unknown; name?: unknown; syscall?: unknown };
  if (name === 'AbortError') return 'aborted';
  if (typeof code !== 'string' || syscall === 'read' || syscall === 'write') return 'broken';
  if (code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT') return 'timeout';
  return neverConnected.test(code) ? 'unreachable' : 'broken';
}

const neverConnected =
  /^(UND_ERR_CONNECT_TIMEOUT|ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|ENETDOWN|EHOSTDOWN|EADDRNOTAVAIL|ENOTFOUND|EAI_.*|ENODATA|ETIMEDOUT|ERR_TLS_.*|CERT_.*|DEPTH_ZERO_.*|SELF_SIGNED_.*|UNABLE_TO_.*|EPROTO)$/;

const notUrl = 'this is no URL';

/** A rule gives the same address the same answer each time. */
function remembered(rule: AddressRule): AddressRule {
  const answers = new LRUCache<string, { reason: string | undefined }>({ max: mostOrigins });
  return (address) => {
    const known = answers.get(address);
    if (known) return known.reason;
    const reason = rule(address);
    answers.set(address, { reason });
    return reason;
  };
}

/** Forms of addresses such as 0x7f.1 and 2130706433 are canonical after this. */
function parse(url: string | URL): URL | undefined {
  if (url instanceof URL) return url;
  try {
    return new URL(url); // to ask `canParse` before would be to parse it twice
  } catch {
    return undefined;
  }
}

function judge(url: URL | undefined, rule: AddressRule): Refusal | undefined {
  if (!url) return refuse('egress_refused', notUrl);
  const { protocol, username, password, hostname } = url;
  if (protocol !== 'http:' && protocol !== 'https:')
    return refuse('egress_refused', `only http and https are called, not ${protocol.slice(0, 16)}`);
  if (username !== '' || password !== '') return refuse('egress_refused', 'the URL holds credentials');
  const host = bare(hostname);
  const literal = isIP(host) !== 0;
  const reason = literal ? rule(host) : local.test(host) ? rule('127.0.0.1') && rule('::1') : undefined;
  return reason === undefined ? undefined : refuse('egress_refused', literal ? reason : `${host} is this machine`);
}

/** Names that stand for loopback (RFC 6761); with the dot that ends an absolute name, too. */
const local = /(^|\.)localhost\.?$/;

/** An IPv6 address stands in brackets in a URL. */
function bare(hostname: string): string {
  return hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
}

async function openAgent(rule: AddressRule, resolve: Resolve): Promise<Agent> {
  const undici = await import('undici');
  const dial = undici.buildConnector({ timeout: connectMs, lookup: checkedLookup(rule, resolve) } as DialOptions);
  return new undici.Agent({
    connections: mostToOrigin,
    maxOrigins: mostOrigins,
    pipelining: 1,
    connect: (target, done) => {
      const refused = isIP(target.hostname) === 0 ? undefined : rule(target.hostname); // literals are not looked up
      if (refused === undefined) dial(target, done);
      else done(new EgressRefused(refused), null);
    },
  });
}

/** undici hands its options on to `net.connect`, which its types leave out. */
type DialOptions = buildConnector.BuildOptions & { lookup: LookupFunction };

/** Resolves a name for `net.connect`, which connects to what it is given here and asks nobody again. */
function checkedLookup(rule: AddressRule, resolve: Resolve): LookupFunction {
  return (hostname, { all }, done) => {
    resolve(hostname).then(
      (found) => {
        const reasons = found.map(({ address }) => rule(address));
        const passed = found.filter((_, at) => reasons[at] === undefined);
        const [first] = passed;
        if (!first) done(new EgressRefused(`${hostname}: ${reasons[0] ?? 'has no address'}`), '', 0);
        else if (all) done(null, [...passed]);
        else done(null, first.address, first.family);
      },
      (error: NodeJS.ErrnoException) => done(error, '', 0),
    );
  };
}

const resolveAll: Resolve = (hostname) => resolveName(hostname, { all: true, verbatim: true });

/** Who is under way, by origin. */
class Places {
  readonly #taken = new Map<string, number>();
  #all = 0;

  /** What is returned gives the place back; twice is harmless. Throws the `overloaded` fault. */
  take(origin: string): () => void {
    const taken = this.#taken.get(origin) ?? 0;
    if (taken >= mostToOrigin) throw new Fault('overloaded', `${mostToOrigin} calls to ${origin} are under way`);
    if (this.#all >= mostCalls) throw new Fault('overloaded', `${mostCalls} outgoing calls are under way`);
    this.#taken.set(origin, taken + 1);
    this.#all++;
    let left = false;
    return () => {
      if (left) return;
      left = true;
      this.#all--;
      const others = this.#taken.get(origin)! - 1; // this one is counted until now
      if (others === 0) this.#taken.delete(origin);
      else this.#taken.set(origin, others);
    };
  }
}
