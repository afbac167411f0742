/** A service to call, and `@fastify/http-proxy` alone before it: what routing costs at least. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import proxy from '@fastify/http-proxy';
import Fastify from 'fastify';
import { answerParent } from '../processes.ts';

export type Proxied = {
  /** The service itself: answers a small JSON. Gives its port. */
  serve(): Promise<number>;
  /** The proxy before it. Gives its URL. */
  proxy(port: number): Promise<string>;
};

const answers: Proxied = {
  serve() {
    const body = JSON.stringify({ answer: 'a small one', words: 3 });
    const server = createServer((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length }).end(body);
    });
    server.keepAliveTimeout = 60_000;
    return new Promise((resolve) => {
      server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)); // TCP
    });
  },
  async proxy(port) {
    const app = Fastify();
    await app.register(proxy, { upstream: `http://127.0.0.1:${port}` });
    return app.listen({ port: 0, host: '127.0.0.1' });
  },
};

answerParent(answers);
