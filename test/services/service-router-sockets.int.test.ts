/** Routed calls to nodes that nobody can dial: through their own sockets, at this replica or another. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { FederationNode, generateKey, type ServiceHandler } from '../../src/client/node.ts';
import type { NodeProfile } from '../../src/events/node.ts';
import { call, defects, joinByHttp, joinBySocket, type Visitor } from '../security/visitor.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { type RedisServer, startRedis } from '../setup/redis.ts';
import { allowLocal, begin, startUpstream } from './service-router.ts';

const nodes: FederationNode[] = [];
let made = 0;

afterEach(() => {
  for (const node of nodes.splice(0)) node.close();
});

/** A node that serves `api` through its socket, at a hub. */
async function serving(hub: TestHub, handler: ServiceHandler, profile: NodeProfile = {}): Promise<string> {
  const nodeId = `served-${++made}`;
  const node = new FederationNode({
    url: hub.url,
    nodeId,
    key: await generateKey(),
    ...profile,
  });
  nodes.push(node);
  node.serve('api', handler);
  node.on('error', () => {});
  await node.connect({ timeoutMs: 10_000 });
  return nodeId;
}

const echo: ServiceHandler = (request) =>
  new Response(request.body, { headers: { 'content-type': request.headers.get('content-type') ?? 'text/plain' } });

/** What holds wherever the socket is: `asked` is the hub that is asked, `joined` the one that the node is connected to. */
function promises(where: () => { asked: TestHub; joined: TestHub; caller: Visitor }): void {
  const ask = (method: string, path: string, init: RequestInit = {}) =>
    fetch(`${where().asked.url}/api/federation${path}`, {
      method,
      ...init,
      headers: { authorization: `Bearer ${where().caller.token}`, ...(init.headers as Record<string, string>) },
    });
  const known = (nodeId: string) =>
    expect
      .poll(async () => (await ask('GET', '/services/api?limit=500')).json(), { timeout: 5_000 })
      .toMatchObject({
        offers: expect.arrayContaining([expect.objectContaining({ node_id: nodeId, reachability: 'socket' })]),
      });

  it('a call reaches the handler as a request, and its response comes back', async () => {
    const nodeId = await serving(where().joined, async (request) => {
      const { pathname, search } = new URL(request.url);
      const said = { method: request.method, path: pathname + search, body: await request.text() };
      const credentials = ['authorization', 'cookie'].filter((name) => request.headers.has(name));
      const caller = request.headers.get('federation-caller');
      return Response.json(
        { ...said, credentials, caller },
        { status: 201, headers: { 'x-own': 'yes', 'set-cookie': 'a=b', 'content-length': '3' } },
      );
    });
    await known(nodeId);
    const response = await ask('PUT', `/route/${nodeId}/api/a%20b?c=d`, {
      body: 'given',
      headers: { cookie: 'secret' },
    });
    expect([response.status, response.headers.get('x-own'), response.headers.get('set-cookie')]).toEqual([
      201,
      'yes',
      null,
    ]);
    expect(response.headers.get('federation-node')).toBe(nodeId);
    expect(await response.json()).toEqual({
      method: 'PUT',
      path: '/a%20b?c=d',
      body: 'given',
      credentials: [],
      caller: `node:${where().caller.nodeId}`,
    });
  });

  it('a stream comes token by token', async () => {
    const heard: string[] = [];
    const nodeId = await serving(where().joined, () => {
      const tokens = new ReadableStream<Uint8Array>({
        async start(stream) {
          for (let token = 0; token < 5; token++) {
            stream.enqueue(Buffer.from(`data: ${token}\n\n`));
            await expect.poll(() => heard.length, { interval: 5, timeout: 5_000 }).toBe(token + 1);
          }
          stream.close();
        },
      });
      return new Response(tokens, { headers: { 'content-type': 'text/event-stream' } });
    });
    await known(nodeId);
    const response = await ask('GET', `/route/${nodeId}/api/`);
    for await (const chunk of response.body!) heard.push(Buffer.from(chunk).toString());
    expect(heard).toEqual([0, 1, 2, 3, 4].map((token) => `data: ${token}\n\n`));
  });

  it('megabytes go up and down at once, whole and in order', async () => {
    const nodeId = await serving(where().joined, echo);
    await known(nodeId);
    const { request, answered } = begin(where().asked, 'POST', `/route/${nodeId}/api/`, where().caller.token);
    const chunks = 128;
    const sent = createHash('sha256');
    const sending = (async () => {
      for (let n = 0; n < chunks; n++) {
        const chunk = Buffer.alloc(100_000, `${n} `);
        sent.update(chunk);
        if (!request.write(chunk)) await once(request, 'drain');
      }
      request.end();
    })();
    request.on('error', () => {}); // the answer fails as well
    const got = createHash('sha256');
    for await (const part of await answered) got.update(part as Buffer);
    await sending;
    expect(got.digest('hex')).toBe(sent.digest('hex'));
  });

  it('a body may take its time, as it may where a node is dialled', async () => {
    const nodeId = await serving(where().joined, async (request) => new Response(await request.text()));
    await known(nodeId);
    const headers = { 'federation-timeout-ms': '500' };
    const { request, answered } = begin(where().asked, 'POST', `/route/${nodeId}/api/`, where().caller.token, headers);
    for (let part = 0; part < 10; part++) {
      request.write(String(part));
      await sleep(150);
    }
    request.end();
    const response = await answered;
    expect([response.statusCode, await text(response)]).toEqual([200, '0123456789']);
  });

  it('a caller that leaves is told to the handler', async () => {
    const left: Promise<unknown>[] = [];
    const nodeId = await serving(where().joined, (request) => {
      left.push(once(request.signal, 'abort'));
      return new Promise<Response>(() => {});
    });
    await known(nodeId);
    const { request } = begin(where().asked, 'GET', `/route/${nodeId}/api/`, where().caller.token);
    request.on('error', () => {}).end();
    await expect.poll(() => left.length).toBe(1);
    request.destroy();
    await left[0];
  });

  it('a caller that leaves ends a response that is silent', async () => {
    let cancelled = false;
    const nodeId = await serving(where().joined, () => {
      const start = (stream: ReadableStreamDefaultController) => stream.enqueue(Buffer.from('first'));
      const cancel = () => {
        cancelled = true;
      };
      return new Response(new ReadableStream({ start, cancel }));
    });
    await known(nodeId);
    const { request, answered } = begin(where().asked, 'GET', `/route/${nodeId}/api/`, where().caller.token);
    request.on('error', () => {}).end();
    await answered;
    request.destroy();
    await expect.poll(() => cancelled, { timeout: 5_000 }).toBe(true);
  });

  it('a node that goes in the middle of an answer breaks it off; one that does not serve says so', async () => {
    const nodeId = await serving(where().joined, () => {
      setTimeout(() => nodes.at(-1)!.close(), 100);
      return new Response(new ReadableStream({ start: (stream) => stream.enqueue(Buffer.from('half')) }));
    });
    await known(nodeId);
    const response = await ask('GET', `/route/${nodeId}/api/`);
    await expect(response.text()).rejects.toThrow();
    const other = await serving(where().joined, echo, { services: { api: {}, other: {} } });
    await known(other);
    const refused = await ask('GET', `/route/${other}/other/`);
    expect(await refused.json()).toMatchObject({
      status: 502,
      code: 'target_unreachable',
      detail: expect.stringMatching(/does not serve other/),
    });
  });

  it('a handler that fails answers 500, and one that is late is given up', async () => {
    const nodeId = await serving(where().joined, (request) => {
      if (request.method === 'GET') throw new Error('broken');
      return new Promise<Response>(() => {});
    });
    await known(nodeId);
    expect((await ask('GET', `/route/${nodeId}/api/`)).status).toBe(500);
    const late = await ask('POST', `/route/${nodeId}/api/`, { body: 'x', headers: { 'federation-timeout-ms': '300' } });
    expect(await late.json()).toMatchObject({ status: 504, code: 'target_timeout' });
  });
}

describe('through the socket of a node', () => {
  let hub: TestHub;
  let caller: Visitor;
  beforeAll(async () => {
    hub = await startTestHub({ env: allowLocal });
    caller = await joinByHttp(hub, 'caller');
  });
  afterAll(async () => {
    const log = hub?.stderr() ?? '';
    await hub?.stop();
    expect(defects(log)).toEqual([]);
  });
  const ask = (path: string) =>
    fetch(`${hub.url}/api/federation${path}`, { headers: { authorization: `Bearer ${caller.token}` } });

  promises(() => ({ asked: hub, joined: hub, caller }));

  it('a call goes when the URL of the node cannot be reached, or may not be called', async () => {
    const gone = await startUpstream(() => {});
    await gone.close();
    for (const public_url of [gone.url, 'http://10.0.0.1/']) {
      const nodeId = await serving(hub, () => new Response('by socket'), { network: { public_url } });
      expect(await (await ask(`/route/${nodeId}/api/`)).text(), public_url).toBe('by socket');
    }
  });

  it('a call by capability finds the handler of that name, and a call to the node the one without', async () => {
    const key = await generateKey();
    const node = new FederationNode({
      url: hub.url,
      nodeId: 'capable',
      key,
      services: { sum: {} },
      capabilities: ['sum', 'sub'],
    });
    nodes.push(node);
    node.serve('sum', () => new Response('sum'));
    node.serve('', () => new Response('any'));
    await node.connect({ timeoutMs: 10_000 });
    expect(await (await ask('/route/by-capability/sum/')).text()).toBe('sum');
    expect(await (await ask('/route/by-capability/sub/')).text()).toBe('any');
  });

  it('64 calls are under way at most; one more is refused at once', async () => {
    let waiting = 0;
    const stop = new AbortController();
    const nodeId = await serving(hub, () => {
      waiting++;
      return new Promise<Response>(() => {});
    });
    const signal = stop.signal;
    const headers = { authorization: `Bearer ${caller.token}` };
    const calls = Array.from({ length: 64 }, () =>
      fetch(`${hub.url}/api/federation/route/${nodeId}/api/`, { headers, signal }).catch(() => 'given up'),
    );
    await expect.poll(() => waiting, { timeout: 5_000 }).toBe(64);
    expect(await (await ask(`/route/${nodeId}/api/`)).json()).toMatchObject({ status: 503, code: 'overloaded' });
    stop.abort();
    await Promise.all(calls);
  });

  it('nobody answers for another node, and what is no part of an answer harms nobody', async () => {
    const started: string[] = [];
    const nodeId = await serving(hub, async () => {
      started.push('call');
      await sleep(500);
      return new Response('true');
    });
    const evil = await joinBySocket(hub, 'evil');
    const { socket: victim, ...raw } = await joinBySocket(hub, 'raw', { services: { api: {} } });
    const response = ask(`/route/${nodeId}/api/`);
    const head = { status: 200, headers: {} };
    for (const packet of [
      { call: 'guess', seq: 0, head },
      { call: 'guess', seq: 0, chunk: Buffer.from('x') },
      { call: 'guess', seq: 0, chunk: 'text' },
      { call: 'guess', seq: 0, head: { status: 200, headers: { 'x\r\ny': 'z' } } },
      { call: 'guess', seq: 0, error: Buffer.from('x') },
      { call: Buffer.from('x'), seq: 0 },
    ]) {
      const answer = await evil.socket.ask('federation:response', packet);
      if (answer.ok) expect(answer.open).toBe(false);
      else expect(answer.error?.code).toBe('invalid_input');
    }
    expect(await (await response).text()).toBe('true');
    expect(started).toEqual(['call']);
    void raw;
    victim.close();
    evil.socket.close();
    expect(hub.alive()).toBe(true);
  });
});

describe.each([
  { over: 'PostgreSQL and Redis', redis: true },
  { over: 'PostgreSQL alone', redis: false },
])('through a socket at another replica, over $over', ({ redis }) => {
  let one: TestHub;
  let two: TestHub;
  let caller: Visitor;
  let server: RedisServer | undefined;

  beforeAll(async () => {
    server = redis ? await startRedis() : undefined;
    const env: Record<string, string> = { ...allowLocal, ...(server && { REDIS_URL: server.url }) };
    one = await startTestHub({ database: 'postgres', env });
    two = await startTestHub({ env: { ...env, DATABASE_URL: one.databaseUrl! } });
    caller = await joinByHttp(one, 'caller');
  }, 120_000);
  afterAll(async () => {
    const log = `${one?.stderr()}${two?.stderr()}`;
    await two?.stop();
    await one?.stop();
    await server?.remove();
    expect(defects(log)).toEqual([]);
  });

  promises(() => ({ asked: one, joined: two, caller }));

  it('a replica that stops takes only its own sockets with it', async () => {
    const three = await startTestHub({
      env: { ...allowLocal, DATABASE_URL: one.databaseUrl!, ...(server && { REDIS_URL: server.url }) },
    });
    const nodeId = await serving(two, echo);
    let lost = false;
    nodes.at(-1)!.on('disconnected', () => {
      lost = true;
    });
    await three.stop();
    await sleep(500);
    expect(lost).toBe(false);
    const { status } = await call(one, 'GET', `/route/${nodeId}/api/`, { token: caller.token });
    expect(status).toBe(200);
  });

  it('a call that was given up before the node was found never reaches it', async () => {
    const methods: string[] = [];
    const nodeId = await serving(two, (request) => {
      methods.push(request.method);
      return new Response('done');
    });
    const ask = (method: string, headers = {}) =>
      call(one, method, `/route/${nodeId}/api/`, { token: caller.token, headers });
    await expect.poll(async () => (await ask('GET')).status, { timeout: 5_000 }).toBe(200);
    process.kill(two.pid, 'SIGSTOP');
    const began = performance.now();
    const { body } = await ask('POST', { 'federation-timeout-ms': '300' });
    const tookMs = performance.now() - began;
    await sleep(200);
    process.kill(two.pid, 'SIGCONT');
    expect([body.code, tookMs < 800]).toEqual(['target_timeout', true]);
    await expect.poll(async () => (await ask('PUT')).status, { timeout: 5_000 }).toBe(200);
    expect(methods).not.toContain('POST');
  });

  it('a call is ended at its node when the replica that made it is killed', async () => {
    const env = { ...allowLocal, DATABASE_URL: one.databaseUrl!, ...(server && { REDIS_URL: server.url }) };
    const three = await startTestHub({ env });
    const ended: string[] = [];
    const nodeId = await serving(two, (request) => {
      if (request.method === 'GET') return new Response('here');
      request.signal.addEventListener('abort', () => ended.push(new URL(request.url).pathname));
      return new Promise<Response>(() => {});
    });
    for (const hub of [one, three]) {
      const get = async () => (await call(hub, 'GET', `/route/${nodeId}/api/`, { token: caller.token })).status;
      await expect.poll(get, { timeout: 5_000 }).toBe(200);
    }
    const calls = [one, three].map((hub, at) => {
      const { request } = begin(hub, 'DELETE', `/route/${nodeId}/api/by-${at}`, caller.token);
      request.on('error', () => {}).end();
      return request;
    });
    await sleep(500);
    await three.kill();
    await expect.poll(() => ended, { timeout: 20_000 }).toEqual(['/by-1']);
    for (const request of calls) request.destroy();
  }, 120_000);

  it('64 calls to a node are under way at most, whichever replica they come by, and its heartbeats find a place', async () => {
    let begun = 0;
    const nodeId = await serving(two, () => {
      begun++;
      return new Response(new ReadableStream({ pull: (stream) => stream.enqueue(new Uint8Array(64 * 1024)) }));
    });
    const troubles: string[] = [];
    nodes.at(-1)!.on('error', (error) => troubles.push(error.message));
    const offers = async () => (await call(one, 'GET', '/services/api?limit=500', { token: caller.token })).body.offers;
    await expect.poll(offers).toContainEqual(expect.objectContaining({ node_id: nodeId, reachability: 'socket' }));
    const statuses: unknown[] = [];
    const calls = [one, two].flatMap((hub) =>
      Array.from({ length: 40 }, () => {
        const { request, answered } = begin(hub, 'GET', `/route/${nodeId}/api/`, caller.token);
        request.on('error', () => {}).end();
        void answered.then(({ statusCode }) => statuses.push(statusCode)); // and never read
        return request;
      }),
    );
    await expect.poll(() => statuses.length, { timeout: 15_000 }).toBe(80);
    expect([begun, statuses.filter((status) => status === 200).length]).toEqual([64, 64]);
    expect(statuses.filter((status) => status === 503).length).toBe(16);
    await sleep(1_000);
    expect(troubles).toEqual([]);
    for (const request of calls) request.destroy();
  });

  if (!redis) return;
  it('a caller that leaves while its limits are still asked for is not called for', async () => {
    let called = 0;
    const upstream = await startUpstream((_request, response) => {
      called++;
      response.on('close', () => called--).write('endless');
    });
    const { nodeId } = await joinByHttp(one, 'endless', {
      network: { public_url: upstream.url },
      services: { api: {} },
    });
    const callers = await Promise.all(Array.from({ length: 5 }, (_, n) => joinByHttp(one, `early-${n}`)));
    await server!.freeze();
    const requests = callers.map(({ token }) => begin(one, 'GET', `/route/${nodeId}/api/`, token).request);
    for (const request of requests) request.on('error', () => {}).end();
    await sleep(30); // the limits wait a tenth of a second for Redis
    for (const request of requests) request.destroy();
    await sleep(500);
    await server!.resume();
    await expect.poll(() => called, { timeout: 3_000 }).toBe(0);
    await upstream.close();
  });

  it('a Redis that goes costs the calls meanwhile, and nothing else', async () => {
    const nodeId = await serving(two, echo);
    const here = await serving(one, echo);
    const ask = async (id: string) => (await call(one, 'GET', `/route/${id}/api/`, { token: caller.token })).status;
    await expect.poll(() => ask(nodeId), { timeout: 5_000 }).toBe(200);
    await server!.stop();
    expect(await ask(nodeId)).toBe(502);
    expect(await ask(here)).toBe(200);
    await server!.start();
    await expect.poll(() => ask(nodeId), { timeout: 20_000, interval: 500 }).toBe(200);
    expect([one.alive(), two.alive()]).toEqual([true, true]);
  }, 120_000);
});
