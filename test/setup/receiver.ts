/** A web server that takes webhooks, and answers each as it is told to. */
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Told } from './event-stream.ts';

export interface Call {
  /** Path and query. */
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly events: Told[];
  readonly at: number;
  /** How it was answered. */
  status: number;
}

export interface Receiver {
  readonly url: string;
  /** All that came, in order. */
  readonly calls: Call[];
  /** The status of the answer to a call, and more headers for it. */
  answer: (call: Call) => number | { status: number; headers: Record<string, string> };
  /** Events of the calls that were answered with 2xx; of those whose path ends so, when it is said. */
  taken(ending?: string): Told[];
  close(): Promise<void>;
}

export async function startReceiver(): Promise<Receiver> {
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const body = Buffer.concat(parts).toString();
    const call = {
      path: request.url ?? '',
      headers: request.headers,
      body,
      events: JSON.parse(body) as Told[],
      at: performance.now(),
      status: 0,
    };
    const given = receiver.answer(call);
    const { status, headers } = typeof given === 'number' ? { status: given, headers: {} } : given;
    call.status = status;
    receiver.calls.push(call);
    response.writeHead(status, headers).end();
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const receiver: Receiver = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    calls: [],
    answer: () => 204,
    taken: (ending = '') =>
      receiver.calls
        .filter(({ status, path }) => status < 300 && path.endsWith(ending))
        .flatMap(({ events }) => events),
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
  return receiver;
}
