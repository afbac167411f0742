/**
 * The doors of a replica and the slots of their guards.
 *
 * Doors own the slots; guards register into them when they start. A slot that is empty shuts the door: 503, never "allowed".
 * The HTTP server is part of the frame, so that it can say "not ready" when the service behind it is not there.
 */
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Config } from './config.ts';
import { type Code, codes, type Refusal, refuse } from './errors.ts';
import type { NodeRole } from './events/node.ts';
import type { Kernel } from './kernel.ts';

/** Who stands at the door. */
export type Identity =
  | { readonly kind: 'anonymous' }
  | { readonly kind: 'node'; readonly nodeId: string; readonly sessionId: string; readonly role: NodeRole }
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

/** Finds out who shows these credentials. Refuses `unauthenticated`, `token_expired`; without credentials: anonymous. */
export type IdentityGuard = (authorization: string | undefined) => Promise<Identity | Refusal>;

/** A place for one guard. */
class Slot<Guard> {
  readonly #name: string;
  #guard: Guard | undefined;

  constructor(name: string) {
    this.#name = name;
  }

  /** Puts the guard in; what is returned takes it out again. */
  fill(guard: Guard): () => void {
    this.#guard = guard;
    return () => {
      if (this.#guard === guard) this.#guard = undefined;
    };
  }

  /** The guard, or the refusal that shuts the door. */
  get(): Guard | Refusal {
    return this.#guard ?? refuse('guard_unavailable', `the ${this.#name} guard is not running`);
  }
}

/** How long a request may take to come, milliseconds; looked at each second, where Node itself would look twice a minute. */
const limits = { headersTimeout: 10_000, requestTimeout: 30_000, connectionsCheckingInterval: 1_000 };
/** Connections of all kinds; sockets have a bound of their own, below this. */
const mostConnections = 24_000;

export class Doors {
  readonly identity = new Slot<IdentityGuard>('identity');
  readonly server: Server;
  readonly #kernel: Kernel;
  #handler: ((request: IncomingMessage, response: ServerResponse) => void) | undefined;

  constructor(config: Config, kernel: Kernel) {
    this.#kernel = kernel;
    const handle = (request: IncomingMessage, response: ServerResponse) => {
      if (this.#handler) this.#handler(request, response);
      else sayNotReady(response);
    };
    this.server = config.tls
      ? createTlsServer(
          { ...limits, cert: readFileSync(config.tls.certFile), key: readFileSync(config.tls.keyFile) },
          handle,
        )
      : createServer(limits, handle);
    this.server.maxHeadersCount = 100;
    this.server.maxConnections = mostConnections;
    this.server.on('checkExpectation', handle); // an Expect header is no reason to refuse without a word
    this.server.on('clientError', answerUnreadable);
  }

  /** Gives HTTP requests to a handler; what is returned takes it away again. */
  serveHttp(handler: (request: IncomingMessage, response: ServerResponse) => void): () => void {
    this.#handler = handler;
    return () => {
      if (this.#handler === handler) this.#handler = undefined;
    };
  }

  /** Opens the door. Rejects when the port is taken. Answers the port. */
  listen(port: number, host: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(port, host, () => {
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
    const calm = this.#kernel.after(graceMs, () => this.server.closeAllConnections());
    await closed;
    calm();
  }
}

function sayNotReady(response: ServerResponse): void {
  response.writeHead(codes.not_ready.status, { 'content-type': 'application/problem+json', 'retry-after': '1' });
  response.end(problem('not_ready'));
}

const unreadableCodes: Readonly<Record<string, Code>> = {
  HPE_HEADER_OVERFLOW: 'payload_too_large',
  ERR_HTTP_REQUEST_TIMEOUT: 'request_timeout',
};

/** What came is no HTTP, or came too slowly: an answer while there is someone to answer, then the connection is cut. */
function answerUnreadable(error: Error & { code?: string }, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const code = unreadableCodes[error.code ?? ''] ?? 'invalid_input';
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
