/** Nodes with real servers behind them, and callers that reach them through a hub. */
import { once } from 'node:events';
import { type ClientRequest, createServer, type IncomingMessage, type RequestListener, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { NodeProfile } from '../../src/events/node.ts';
import { joinByHttp, type Visitor } from '../security/visitor.ts';
import type { TestHub } from '../setup/hub.ts';

/** Lets hubs of tests call servers of tests. */
export const allowLocal = { FEDERATION_EGRESS_ALLOW: '127.0.0.0/8' };

export interface Upstream {
  readonly url: string;
  readonly port: number;
  /** What came in, in order. */
  readonly got: { method: string; url: string; headers: IncomingMessage['headers'] }[];
  /** Replaces what answers. */
  answer: RequestListener;
  close(): Promise<void>;
}

export async function startUpstream(answer: RequestListener, port = 0): Promise<Upstream> {
  const server = createServer((incoming, response) => {
    upstream.got.push({ method: incoming.method ?? '', url: incoming.url ?? '', headers: incoming.headers });
    upstream.answer(incoming, response);
  }).listen(port, '127.0.0.1');
  await once(server, 'listening');
  const { port: taken } = server.address() as AddressInfo; // a TCP server's address
  const upstream: Upstream = {
    url: `http://127.0.0.1:${taken}`,
    port: taken,
    got: [],
    answer,
    async close() {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
  return upstream;
}

let made = 0;

/** A node of a new name that lives by HTTP, with its server at a URL. */
export function offering(hub: TestHub, url: string, profile: NodeProfile = {}): Promise<Visitor> {
  return joinByHttp(hub, `n${++made}`, { network: { public_url: url }, services: { api: {} }, ...profile });
}

export interface Outgoing {
  readonly request: ClientRequest;
  /** The head of the answer. */
  readonly answered: Promise<IncomingMessage>;
}

/** One request over Node's own client, whose body can be written bit by bit. */
export function begin(
  hub: TestHub,
  method: string,
  path: string,
  token: string,
  headers: Record<string, string> = {},
): Outgoing {
  const outgoing = request(`${hub.url}/api/federation${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, ...headers },
  });
  const answered = once(outgoing, 'response').then(([response]) => response as IncomingMessage);
  answered.catch(() => {});
  return { request: outgoing, answered };
}
