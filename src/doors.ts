/**
 * The doors of a replica and the slots of their guards.
 *
 * Doors own the slots; guards register into them when they start. A slot that is empty shuts the door: 503, never "allowed".
 * The HTTP server is part of the frame, so that it can say "not ready" when the service behind it is not there.
 */
import { readFileSync } from 'node:fs';
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import proxyAddress from '@fastify/proxy-addr';
import type { About } from './commands/execute.ts';
import type { Config } from './config.ts';
import { type Code, codes, isRefusal, type Refusal, refuse } from './errors.ts';
import type { Level } from './events/degradation.ts';
import type { LimitKind } from './events/limits.ts';
import type { Admission, NodeProfile, NodeRole } from './events/node.ts';
import type { Kernel } from './kernel.ts';
import type { Work } from './shedding.ts';

/** Who stands at the door. */
export type Identity =
  | { readonly kind: 'anonymous' }
  | {
      readonly kind: 'node';
      readonly nodeId: string;
      readonly sessionId: string;
      readonly role: NodeRole;
      /** The key that was proved just now, of a node that may be no member yet. */
      readonly publicKey?: string;
      /** Nonce of the signature, of a node that signed this very request. */
      readonly signedWith?: string;
    }
  | { readonly kind: 'operator'; readonly prefix: string; readonly scopes: readonly string[] };

export const anonymous: Identity = { kind: 'anonymous' };

/** How an identity is written in events: `meta.actor`. */
export function actorOf(identity: Identity): string {
  switch (identity.kind) {
    case 'anonymous':
      return 'anonymous';
    case 'node':
      return `node:${identity.nodeId}`;
    case 'operator':
      return `operator:${identity.prefix}`;
  }
}

/** How an identity is named where strangers count by their address: limits and warnings. */
export function whoOf(identity: Identity, address: string): string {
  return identity.kind === 'anonymous' ? `address:${address}` : actorOf(identity);
}

/** What of an HTTP request says who sent it. */
export interface Credentials {
  readonly method: string;
  /** Path and query as they came. */
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
}

/**
 * Finds out who shows these credentials: a bearer token, or a signature over the request (RFC 9421). Without credentials:
 * anonymous. Refuses `unauthenticated`, `token_expired`, `session_superseded` and what a signature may have wrong.
 */
export type IdentityGuard = (shown: Credentials, address: string) => Promise<Identity | Refusal>;

/** Whether someone known may pass at all: bans, the block list. Asked at every door and again at every delivery. */
export type Guard = (identity: Identity) => Refusal | undefined;

/** A node that proved its key and wants a session, a member or not. */
export interface Candidate {
  readonly nodeId: string;
  readonly publicKey: string;
  /** Of the key; see `keyThumbprint`. */
  readonly thumbprint: string;
  readonly profile: NodeProfile;
  /** It is a member with this key, as far as this replica knows. */
  readonly member: boolean;
  readonly invite: string | undefined;
  readonly address: string;
}

/** Leave to become a member. */
export interface Grant {
  readonly role: NodeRole;
  readonly admission: Admission;
  /** Told when the node is in (`true`), or could not be let in after all (`false`). */
  settle(admitted: boolean): Promise<void>;
}

/**
 * Judges a candidate. For a member, a grant means that it may open a session. Refuses `banned`, `approval_required` (then a
 * request waits), `join_rejected`, `invite_required`, `invite_invalid`. `about` carries the nonce of the proof as its
 * command, which a request to join uses up.
 */
export type AdmissionGuard = (candidate: Candidate, about: About) => Promise<Grant | Refusal>;

/** What is left of an allowance after taking from it. */
export interface Allowance {
  readonly limit: LimitKind;
  /** A minute's worth, in the unit of the limit. */
  readonly allowed: number;
  readonly remaining: number;
  /** Until the whole allowance is there again, milliseconds. */
  readonly resetMs: number;
  /** When there was not enough: how long until there is. Nothing was taken then. */
  readonly retryAfterMs: number | undefined;
}

/** What one request or packet took. */
export interface Passage {
  readonly allowances: readonly Allowance[];
  /** The one of them that was not enough: whoever asks must wait. */
  readonly short: Allowance | undefined;
}

/** The refusal of one who has to wait. */
export function rateLimited({ limit, allowed, retryAfterMs = 0 }: Allowance): Refusal {
  return refuse('rate_limited', `${allowed} ${limit} a minute are allowed here`, {
    limit,
    retry_after_ms: retryAfterMs,
  });
}

/** Takes from the allowances of whoever asks; of strangers, from those of their address. Neither throws nor rejects. */
export interface LimitGuard {
  /** One request or packet and the bytes of it that are known by now. */
  enter(identity: Identity, address: string, kind: 'requests' | 'messages', bytes: number): Passage | Promise<Passage>;
  /** Bytes that went over the wire besides; taken even when that makes a debt. */
  spend(identity: Identity, address: string, bytes: number): void;
  /** Takes bytes that are about to pass. Answers 0 when they may; else, and nothing is taken then, how many milliseconds to wait. */
  pass(identity: Identity, address: string, bytes: number): number | Promise<number>;
}

/** Something that was asked at a door, as the audit log tells of it. */
export interface Asked {
  readonly identity: Identity;
  readonly address: string;
  /** The route or packet. */
  readonly action: string;
  /** The one thing it was about, or ''. */
  readonly target: string;
}

/** Hears what the log does not tell by itself. */
export interface AuditGuard {
  /** Returns at once: refusals that look alike are taken together and written within seconds. */
  refused(asked: Asked, code: Code): void;
  /** An ordinary read; counted. */
  read(identity: Identity): void;
  /** A sensitive read. Resolves when it is in the log; throws a `Fault` when it cannot be. */
  sensitive(asked: Asked): Promise<void>;
}

/** Gives a place among what is under way back. */
export type Leave = () => void;

/** Judges whether a replica that has more to do than it can takes something on. It is asked before anything else is done. */
export interface LoadGuard {
  readonly level: Level;
  /** Of a request, by the level alone. Refuses `shedding`. */
  judge(work: Work): Refusal | undefined;
  /** As `judge`, and gives it a place among what is under way, for which a request may wait a moment. Refuses `shedding`. */
  enter(work: Work, door: 'http' | 'socket'): Leave | Refusal | Promise<Leave | Refusal>;
}

/** A place for one guard, or one that takes what comes. Where a service is started anew there are two for a while: the one that came last guards until it goes. */
export class Slot<Guard> {
  readonly #name: string;
  #guards: readonly { readonly guard: Guard }[] = [];

  constructor(name: string) {
    this.#name = name;
  }

  /** Puts the guard in; what is returned takes it out again. */
  fill(guard: Guard): () => void {
    const one = { guard };
    this.#guards = [...this.#guards, one];
    return () => {
      this.#guards = this.#guards.filter((other) => other !== one);
    };
  }

  /** The guard, or the refusal that shuts the door. */
  get(): Guard | Refusal {
    return this.find() ?? refuse('guard_unavailable', `the ${this.#name} guard is not running`);
  }

  /** The guard, if it is there: of a door that stays open without. */
  find(): Guard | undefined {
    return this.#guards.at(-1)?.guard;
  }
}

/** How long a request may take to come, milliseconds; looked at each second, where Node itself would look twice a minute. */
const limits = { headersTimeout: 10_000, requestTimeout: 30_000, connectionsCheckingInterval: 1_000 };
/** Newer versions of Node ask this, and serve what is not taken like any other request. */
const upgrades = { shouldUpgradeCallback: takesUpgrade };
/** Connections of all kinds; sockets have a bound of their own, below this. */
export const mostConnections = 24_000;
/** Connections that the system may hold until they are accepted: beyond it, who connects is made to wait for seconds. */
const mostUnaccepted = 4_096;
/** Header lines that Node keeps; it leaves out what comes after. */
const mostHeaders = 100;

type HttpHandler = (request: IncomingMessage, response: ServerResponse) => void;
/** What a request is by its method and URL; undefined when only the handler can tell. */
type WorkOf = (method: string, url: string) => Work | undefined;

/** A body that is longer is not waited for when its request is turned away. */
const mostUnread = 64 * 1024;

/** Where sockets connect: the only path on which the hub takes an upgrade. */
export const socketPath = '/socket.io/';

export class Doors {
  readonly identity = new Slot<IdentityGuard>('identity');
  readonly admission = new Slot<AdmissionGuard>('admission');
  /** Filled by governance. */
  readonly bans = new Slot<Guard>('governance');
  readonly access = new Slot<Guard>('access');
  readonly limits = new Slot<LimitGuard>('rate');
  readonly audit = new Slot<AuditGuard>('audit');
  /** Filled by degradation. It guards the replica, not what is behind the door: without it all is served. */
  readonly load = new Slot<LoadGuard>('load');
  readonly server: Server;
  readonly #trusted: (address: string, hop: number) => boolean;
  readonly #kernel: Kernel;
  readonly #unhurried = new WeakSet<Duplex>();
  /** Connections whose next request waits until the one before is answered; Node does not know of them meanwhile. */
  readonly #queued = new Set<Duplex>();
  /** What a connection is announced to the server with, when it can be read. */
  readonly #connected: 'connection' | 'secureConnection';
  /** Filled by nexus-api. */
  readonly #http = new Slot<{ readonly handler: HttpHandler; readonly workOf: WorkOf }>('http');

  constructor(config: Config, kernel: Kernel) {
    this.#kernel = kernel;
    this.#trusted = proxyAddress.compile([...config.trustedProxies]);
    const handle = (request: IncomingMessage, response: ServerResponse) => {
      this.#weigh(request, response);
    };
    this.server = config.tls
      ? createTlsServer(
          { ...limits, ...upgrades, cert: readFileSync(config.tls.certFile), key: readFileSync(config.tls.keyFile) },
          handle,
        )
      : createServer({ ...limits, ...upgrades }, handle);
    this.#connected = config.tls ? 'secureConnection' : 'connection';
    this.server.maxHeadersCount = mostHeaders;
    this.server.maxConnections = mostConnections;
    this.server.on('checkExpectation', handle); // an Expect header is no reason to refuse without a word
    this.server.on('upgrade', (request: IncomingMessage, socket: Duplex, rest: Buffer) => {
      if (!takesUpgrade(request)) this.#ignoreUpgrade(request, socket, rest);
    });
    this.server.on('clientError', (error: Error & { code?: string }, socket) => {
      if (error.code === requestTimeout && this.#unhurried.has(socket)) return;
      answerUnreadable(error, socket);
    });
  }

  /**
   * Lets the request under way on a connection take longer than others may, because its body is passed on as it comes: whoever
   * asks for this cuts it when it stalls. What is returned ends that.
   */
  takeTime(socket: Duplex): () => void {
    this.#unhurried.add(socket);
    return () => void this.#unhurried.delete(socket);
  }

  /** Whether someone known may pass: neither banned nor blocked. A guard that is not running lets nobody pass. */
  judge(identity: Identity): Refusal | undefined {
    for (const slot of [this.bans, this.access]) {
      const guard = slot.get();
      const refused = isRefusal(guard) ? guard : guard(identity);
      if (refused) return refused;
    }
    return undefined;
  }

  /**
   * Tells the audit log of a refusal, but for those for want of room or of a database, which say nothing of who asked. What
   * is refused because the audit log is not there cannot be told.
   */
  tellRefused(asked: Asked, code: Code): void {
    if (codes[code].status >= 500 && code !== 'guard_unavailable') return;
    const audit = this.audit.get();
    if (!isRefusal(audit)) audit.refused(asked, code);
  }

  /** Connections that are open, sockets among them. */
  connections(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.server.getConnections((error, count) => (error ? reject(error) : resolve(count)));
    });
  }

  /** Where a request comes from: the peer, or what a proxy that is trusted says of it. */
  addressOf(request: IncomingMessage): string {
    return proxyAddress(request, this.#trusted) ?? '';
  }

  /**
   * Gives HTTP requests to a handler, but for those that the guard of the load turns away by what `workOf` says they are: that costs
   * a tenth of what the handler would. What is returned takes the handler away again.
   */
  serveHttp(handler: HttpHandler, workOf: WorkOf): () => void {
    return this.#http.fill({ handler, workOf });
  }

  /** Opens the door. Rejects when the port is taken. Answers the port. */
  listen(port: number, host: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(port, host, mostUnaccepted, () => {
        this.server.removeListener('error', reject);
        resolve((this.server.address() as AddressInfo).port); // a TCP server's address is an AddressInfo
      });
    });
  }

  /** Shuts the door: idle connections at once, those with a request under way after `graceMs`. */
  async close(graceMs: number): Promise<void> {
    if (!this.server.listening) return;
    const closed = new Promise<void>((done) => this.server.close(() => done()));
    this.server.closeIdleConnections();
    const calm = this.#kernel.after(graceMs, () => {
      this.server.closeAllConnections();
      for (const socket of this.#queued) socket.destroy();
    });
    await closed;
    calm();
  }

  #weigh(request: IncomingMessage, response: ServerResponse): void {
    const guard = this.load.find();
    const work = guard && this.#http.find()?.workOf(request.method ?? '', request.url ?? '');
    const entered = guard && work ? guard.enter(work, 'http') : undefined;
    if (entered instanceof Promise) void entered.then((later) => this.#go(request, response, later));
    else this.#go(request, response, entered);
  }

  #go(request: IncomingMessage, response: ServerResponse, entered: Leave | Refusal | undefined): void {
    if (isRefusal(entered)) return void turnAway(request, response, entered);
    if (entered) {
      if (response.destroyed) return void entered(); // who waited is gone
      response.once('close', entered);
    }
    const http = this.#http.find();
    if (http) http.handler(request, response);
    else sayNotReady(response);
  }

  /**
   * Serves a request as if it had not asked for another protocol, as RFC 9110, 7.8 allows: `curl --http2` asks for HTTP/2 with
   * whatever it sends. Node hands over the connection when it has read the head, so what came goes back without the wish, and
   * the server takes the connection as a new one, for which all limits hold.
   */
  #ignoreUpgrade(request: IncomingMessage, socket: Duplex, rest: Buffer): void {
    if (request.rawHeaders.length < 2 * mostHeaders) {
      socket.unshift(Buffer.concat([headWithoutUpgrade(request), rest]));
      this.#resume(socket);
      return;
    }
    socket.on('error', ignore); // a header that was left out may say where the body ends
    if (answering(socket)) socket.destroy();
    else answer('payload_too_large', socket);
  }

  #resume(socket: Duplex): void {
    const before = answering(socket);
    if (!before) {
      this.server.emit(this.#connected, socket);
      return;
    }
    this.#queued.add(socket.on('error', ignore));
    before.once('close', () => {
      this.#queued.delete(socket);
      if (socket.destroyed || !socket.writable) return; // that answer was the last
      (socket as Socket).setTimeout(0); // it rested for a moment, as far as Node knew
      this.#resume(socket.off('error', ignore));
    });
  }
}

/** Whoever waits for the connection hears that it closed; nobody else needs to. */
function ignore(): void {}

/** The answer under way on a connection, which Node notes there. */
function answering(socket: Duplex): ServerResponse | undefined {
  return (socket as Duplex & { readonly _httpMessage?: ServerResponse | null })._httpMessage ?? undefined;
}

function takesUpgrade({ url = '' }: IncomingMessage): boolean {
  return url.startsWith(socketPath);
}

/** The head as it came, but for the header; without it, no upgrade is asked for, whatever `Connection` says. */
function headWithoutUpgrade({ method, url, httpVersion, rawHeaders }: IncomingMessage): Buffer {
  let head = `${method} ${url} HTTP/${httpVersion}\r\n`;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    if (rawHeaders[at]!.toLowerCase() !== 'upgrade') head += `${rawHeaders[at]}: ${rawHeaders[at + 1]}\r\n`;
  }
  return Buffer.from(`${head}\r\n`, 'latin1'); // as Node read it
}

function sayNotReady(response: ServerResponse): void {
  response.writeHead(codes.not_ready.status, { 'content-type': 'application/problem+json', 'retry-after': '1' });
  response.end(problem('not_ready'));
}

/** The answer to what is put aside. */
function turnAway({ headers }: IncomingMessage, response: ServerResponse, { refused, detail, extra }: Refusal): void {
  const { status, title } = codes[refused];
  const { retry_after_ms: ms } = extra as { retry_after_ms: number }; // the guard of the load gives it
  const body = JSON.stringify({ ...extra, type: 'about:blank', title, status, code: refused, detail });
  const long = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > mostUnread;
  response.writeHead(status, {
    'content-type': 'application/problem+json',
    'content-length': Buffer.byteLength(body),
    'retry-after': String(Math.ceil(ms / 1000)),
    ...(long && { connection: 'close' }),
  });
  response.end(body);
}

const requestTimeout = 'ERR_HTTP_REQUEST_TIMEOUT';
const unreadableCodes: Readonly<Record<string, Code>> = {
  HPE_HEADER_OVERFLOW: 'payload_too_large',
  [requestTimeout]: 'request_timeout',
};

/** What came is no HTTP, or came too slowly: an answer while there is someone to answer, then the connection is cut. */
function answerUnreadable(error: Error & { code?: string }, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  answer(unreadableCodes[error.code ?? ''] ?? 'invalid_input', socket);
}

function answer(code: Code, socket: Duplex): void {
  const { status } = codes[code];
  const body = problem(code);
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'content-type: application/problem+json',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy());
}

function problem(code: Code): string {
  return JSON.stringify({ type: 'about:blank', title: codes[code].title, status: codes[code].status, code });
}
