/** Routed calls through a running hub, to real servers. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { call, defects, joinByHttp, type Visitor } from '../security/visitor.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { allowLocal, begin, offering, startUpstream, type Upstream } from './service-router.ts';

let hub: TestHub;
let caller: Visitor;
const open: Upstream[] = [];
const patience = 33; // seconds; requests that are not routed have 30
/** Begun before all tests and looked at by one of the last. */
let patient: ReturnType<typeof patientCall>;

beforeAll(async () => {
  hub = await startTestHub({ env: allowLocal });
  caller = await joinByHttp(hub, 'caller');
  patient = patientCall();
  patient.catch(() => {}); // the test that looks at it says so
});
afterAll(async () => {
  for (const upstream of open) await upstream.close();
  const log = hub?.stderr() ?? '';
  await hub?.stop();
  expect(defects(log)).toEqual([]);
});

async function upstream(...args: Parameters<typeof startUpstream>): Promise<Upstream> {
  const started = await startUpstream(...args);
  open.push(started);
  return started;
}

const echo: Parameters<typeof startUpstream>[0] = (request, response) => {
  response.setHeader('content-type', request.headers['content-type'] ?? 'text/plain');
  request.pipe(response);
};
const hello: Parameters<typeof startUpstream>[0] = (_request, response) => void response.end('hello');

const ask = (method: string, path: string, init: RequestInit = {}) =>
  fetch(`${hub.url}/api/federation${path}`, {
    method,
    ...init,
    headers: { authorization: `Bearer ${caller.token}`, ...(init.headers as Record<string, string>) },
  });
/** A call whose body comes a byte a second; what was answered to it. */
async function patientCall() {
  const server = await upstream(echo);
  const { nodeId } = await offering(hub, server.url);
  const { request, answered } = begin(hub, 'POST', `/route/${nodeId}/api/`, caller.token);
  for (let second = 0; second < patience; second++) {
    request.write('x');
    await sleep(1_000);
  }
  request.end();
  const response = await answered;
  return { status: response.statusCode, body: await text(response) };
}
const problem = async (response: Response) => ({ status: response.status, ...((await response.json()) as object) });

describe('a routed call', () => {
  it('goes to the service of the node with method, path, query and body as they are', async () => {
    const server = await upstream(echo);
    const { nodeId } = await offering(hub, `${server.url}/base/`);
    const response = await ask('POST', `/route/${nodeId}/api/v1/a%20b/%C3%A9?q=1&q=2&r=a%2Fb`, {
      body: '{"not json',
      headers: { 'content-type': 'application/x-anything', 'x-own': 'kept' },
    });
    expect([response.status, await response.text()]).toEqual([200, '{"not json']);
    expect(response.headers.get('content-type')).toBe('application/x-anything');
    expect(response.headers.get('federation-node')).toBe(nodeId);
    expect(response.headers.get('via')).toBe(`1.1 ${hub.federationId}`);
    expect(server.got).toMatchObject([
      { method: 'POST', url: '/base/v1/a%20b/%C3%A9?q=1&q=2&r=a%2Fb', headers: { 'x-own': 'kept' } },
    ]);
  });

  it.each(['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])('may be a %s', async (method) => {
    const server = await upstream((_request, response) => void response.writeHead(204, { 'x-method': 'seen' }).end());
    const { nodeId } = await offering(hub, server.url);
    const response = await ask(method, `/route/${nodeId}/api/`);
    expect([response.status, response.headers.get('x-method')]).toEqual([204, 'seen']);
    expect(server.got.map((got) => got.method)).toEqual([method]);
  });

  it.each(['', 'foo', 'text/', ';', '/', 'text/plain foo', 'text/html;'])(
    'passes a body on under the type %j, as it passes any other',
    async (type) => {
      const server = await upstream(echo);
      const { nodeId } = await offering(hub, server.url);
      for (const method of ['POST', 'DELETE']) {
        const headers = { 'content-type': type, 'content-length': '8' };
        const { request, answered } = begin(hub, method, `/route/${nodeId}/api/`, caller.token, headers);
        request.end('whatever');
        const answer = await answered;
        expect([answer.statusCode, await text(answer)]).toEqual([200, 'whatever']);
      }
      expect(server.got.map(({ headers }) => headers['content-type'])).toEqual([type, type]);
    },
  );

  it('goes to the port that the service states', async () => {
    const [base, service] = [await upstream(hello), await upstream(hello)];
    const { nodeId } = await offering(hub, base.url, { services: { api: { port: service.port } } });
    expect((await ask('GET', `/route/${nodeId}/api/x`)).status).toBe(200);
    expect([base.got.length, service.got.length]).toEqual([0, 1]);
  });

  it('carries no credentials and no claims of the caller, in either direction, but says who calls', async () => {
    const server = await upstream((_request, response) => {
      response.setHeader('set-cookie', ['a=1', 'b=2']);
      response.setHeader('strict-transport-security', 'max-age=1');
      response.setHeader('clear-site-data', '"*"');
      response.setHeader('connection', 'x-hop');
      response.setHeader('x-hop', 'gone');
      response.end('<script>');
    });
    const { nodeId } = await offering(hub, server.url);
    const response = await ask('GET', `/route/${nodeId}/api/`, {
      headers: {
        cookie: 'session=secret',
        'x-forwarded-for': '10.0.0.1',
        'x-forwarded-host': 'evil',
        forwarded: 'for=10.0.0.1',
        'x-real-ip': '10.0.0.1',
        'x-node-id': 'ada',
        'federation-caller': 'node:ada',
        'proxy-authorization': 'Basic c2VjcmV0',
        signature: 'sig=:c2VjcmV0:',
        te: 'trailers',
        traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      },
    });
    await response.text();
    const { headers } = server.got[0]!;
    expect(JSON.stringify(headers)).not.toMatch(/secret|10\.0\.0\.1|evil|Bearer/);
    for (const name of ['authorization', 'cookie', 'te', 'signature', 'x-node-id'])
      expect(headers[name], name).toBe(undefined);
    expect(headers).toMatchObject({
      host: new URL(server.url).host,
      'federation-caller': 'node:caller',
      'federation-hops': hub.federationId,
      via: `1.1 ${hub.federationId}`,
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    });
    for (const name of ['set-cookie', 'strict-transport-security', 'clear-site-data', 'x-hop'])
      expect(response.headers.get(name), name).toBe(null);
    expect(response.headers.get('content-security-policy')).toBe('sandbox');
  });

  it.each([
    '..%2fadmin',
    '%2e%2e/admin',
    '%2E%2e%2Fadmin',
    'a/..%5cadmin',
    'a%2f..%2f..%2fadmin',
    '%252e%252e%252fadmin',
    '..;/admin',
    'a/%2e/b',
    'a%ff',
  ])('does not leave its place by %s', async (path) => {
    const server = await upstream(hello);
    const { nodeId } = await offering(hub, `${server.url}/tenant`);
    const { answered, request } = begin(hub, 'GET', `/route/${nodeId}/api/`, caller.token);
    request.path += path; // clients make it another one
    request.end();
    expect(JSON.parse(await text(await answered))).toMatchObject({ status: 400, code: 'invalid_input' });
    expect(server.got).toEqual([]);
  });

  it('does not take plain dots, backslashes or another host for a path', async () => {
    const server = await upstream(hello);
    const { nodeId } = await offering(hub, `${server.url}/tenant`);
    for (const path of ['../x', 'a/../../x', '\\x', '/evil.example/x', 'a#b']) {
      const { answered, request } = begin(hub, 'GET', '/status', caller.token);
      request.path = `/api/federation/route/${nodeId}/api/${path}`;
      request.end();
      const response = await answered;
      expect([400, 404], path).toContain(response.statusCode);
      response.resume();
    }
    expect(server.got).toEqual([]);
  });

  it('takes encoded slashes and percent signs that stay where they are', async () => {
    const server = await upstream(hello);
    const { nodeId } = await offering(hub, server.url);
    for (const path of ['/group%2Fproject/files', '/100%25', '/a..b/...'])
      expect((await ask('GET', `/route/${nodeId}/api${path}`)).status, path).toBe(200);
    expect(server.got.map(({ url }) => url)).toEqual(['/group%2Fproject/files', '/100%25', '/a..b/...']);
  });

  it('is refused when it comes back to a federation that it passed, or passed too many', async () => {
    const server = await upstream(hello);
    const { nodeId } = await offering(hub, server.url);
    const many = Array.from({ length: 8 }, (_, n) => `fed-${n}`).join(', ');
    for (const hops of [`other, ${hub.federationId}`, many]) {
      const response = await ask('GET', `/route/${nodeId}/api/`, { headers: { 'federation-hops': hops } });
      expect(await problem(response)).toMatchObject({ status: 508, code: 'loop_detected' });
    }
    const passed = await ask('GET', `/route/${nodeId}/api/`, { headers: { 'federation-hops': 'one,two' } });
    expect(passed.status).toBe(200);
    expect(server.got.map(({ headers }) => headers['federation-hops'])).toEqual([`one, two, ${hub.federationId}`]);
  });

  it('that comes back to the hub through a node is refused there', async () => {
    const server = await upstream((request, response) => {
      const headers = {
        authorization: `Bearer ${caller.token}`,
        'federation-hops': String(request.headers['federation-hops']),
      };
      void fetch(`${hub.url}/api/federation/route/${nodeId}/api/`, { headers }).then(async (looped) =>
        response.writeHead(looped.status).end(await looped.text()),
      );
    });
    const { nodeId } = await offering(hub, server.url);
    const response = await ask('GET', `/route/${nodeId}/api/`);
    expect(await problem(response)).toMatchObject({ status: 508, code: 'loop_detected' });
    expect(server.got.length).toBe(1);
  });

  it.each(['content-length', 'transfer-encoding'])('may be a GET with a body, by its %s', async (header) => {
    const server = await upstream(echo);
    const { nodeId } = await offering(hub, server.url);
    const how = { [header]: header === 'content-length' ? '5' : 'chunked' };
    const { request, answered } = begin(hub, 'GET', `/route/${nodeId}/api/_search`, caller.token, how);
    request.end('query');
    expect(await text(await answered)).toBe('query');
  });

  it('carries no claims that only some targets read as such, nor orders to a proxy before the hub', async () => {
    const server = await upstream((_request, response) => {
      response.setHeader('x-accel-redirect', '/inner');
      response.setHeader('x-sendfile', '/etc/passwd');
      response.end('answer');
    });
    const { nodeId } = await offering(hub, server.url);
    const headers = { Federation_Caller: 'operator:x', x_forwarded_for: '10.0.0.1', X_Node_Id: 'ada', own_header: 'y' };
    const response = await ask('GET', `/route/${nodeId}/api/`, { headers });
    expect(await response.text()).toBe('answer');
    expect(Object.keys(server.got[0]!.headers).filter((name) => name.includes('_'))).toEqual(['own_header']);
    expect([response.headers.get('x-accel-redirect'), response.headers.get('x-sendfile')]).toEqual([null, null]);
  });

  it('opens no WebSocket, and says so; another protocol is not asked for behind the hub', async () => {
    const server = await upstream(hello);
    const { nodeId } = await offering(hub, server.url);
    const upgrade = (headers: Record<string, string>) =>
      begin(hub, 'GET', `/route/${nodeId}/api/`, caller.token, { connection: 'Upgrade', ...headers });
    const key = { 'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==', 'sec-websocket-version': '13' };
    const webSocket = upgrade({ upgrade: 'websocket', ...key });
    webSocket.request.end();
    const refused = await webSocket.answered;
    expect(refused.statusCode).toBe(400);
    expect(JSON.parse(await text(refused))).toMatchObject({ code: 'upgrade_refused' });
    expect(server.got).toEqual([]);
    const plain = upgrade({ upgrade: 'h2c' });
    plain.request.end();
    expect(await text(await plain.answered)).toBe('hello');
    expect(server.got).toHaveLength(1);
    expect(server.got[0]!.headers).not.toHaveProperty('upgrade');
  });

  it('ends when its caller, or its target, may not take part any more', async () => {
    const server = await upstream((_request, response) => void response.write('first'));
    const ban = (nodeId: string) =>
      call(hub, 'POST', `/governance/bans/${nodeId}`, { token: hub.adminToken, body: { reason: 'test' } });
    const endsFor = async (banned: string) => {
      const { nodeId } = await offering(hub, server.url);
      const { token } = await joinByHttp(hub, `calls-${banned}`);
      const { request, answered } = begin(hub, 'GET', `/route/${nodeId}/api/`, token);
      request.on('error', () => {}).end();
      const response = (await answered).on('error', () => {}).resume();
      const ended = new Promise<void>((done) => response.once('close', done));
      await sleep(1_500);
      expect(request.destroyed).toBe(false);
      expect((await ban(banned === 'caller' ? 'calls-caller' : nodeId)).status).toBe(200);
      await Promise.race([ended, sleep(3_000).then(() => Promise.reject(new Error(`goes on: ${banned}`)))]);
    };
    await Promise.all(['caller', 'target'].map(endsFor));
  });

  it('answers the events of a stream one by one, as they come', async () => {
    const heard: string[] = [];
    const server = await upstream(async (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      for (let token = 0; token < 5; token++) {
        response.write(`data: ${token}\n\n`);
        await expect.poll(() => heard.length, { interval: 5 }).toBe(token + 1); // the next only when this one was heard
      }
      response.end();
    });
    const { nodeId } = await offering(hub, server.url);
    const response = await ask('GET', `/route/${nodeId}/api/completions`);
    for await (const chunk of response.body!) heard.push(Buffer.from(chunk).toString());
    expect(heard).toEqual([0, 1, 2, 3, 4].map((token) => `data: ${token}\n\n`));
  });

  it('shows the head of the answer before there is a body', async () => {
    const server = await upstream(
      (_request, response) => void response.writeHead(200, { 'x-early': 'yes' }).flushHeaders(),
    );
    const { nodeId } = await offering(hub, server.url);
    const { request, answered } = begin(hub, 'GET', `/route/${nodeId}/api/`, caller.token);
    request.end();
    expect((await answered).headers['x-early']).toBe('yes');
    request.destroy();
  });

  it('passes 100 MB up and down at once in flat memory', async () => {
    const server = await upstream(echo);
    const { nodeId } = await offering(hub, server.url);
    const { request, answered } = begin(hub, 'POST', `/route/${nodeId}/api/`, caller.token);
    const chunk = Buffer.alloc(64 * 1024, 'x');
    const chunks = 1_600;
    await sleep(200);
    const before = rssOf(hub);
    let most = before;
    const watch = setInterval(() => {
      most = Math.max(most, rssOf(hub));
    }, 20);
    const sending = (async () => {
      const hash = createHash('sha256');
      for (let sent = 0; sent < chunks; sent++) {
        chunk.writeUInt32BE(sent);
        hash.update(chunk);
        if (!request.write(Buffer.from(chunk))) await once(request, 'drain');
      }
      request.end();
      return hash.digest('hex');
    })();
    const hash = createHash('sha256');
    for await (const part of await answered) hash.update(part as Buffer);
    clearInterval(watch);
    expect(hash.digest('hex')).toBe(await sending);
    expect(most - before).toBeLessThan(60 * 1024 * 1024);
  }, 60_000);

  it('is held up by a reader that does not read, and the target with it', async () => {
    let written = 0;
    const server = await upstream(async (_request, response) => {
      for (const end = Date.now() + 1_500; Date.now() < end && !response.destroyed; ) {
        if (!response.write(Buffer.alloc(256 * 1024))) await Promise.race([once(response, 'drain'), sleep(500)]);
        else written += 256 * 1024;
      }
      response.destroy();
    });
    const { nodeId } = await offering(hub, server.url);
    const { request, answered } = begin(hub, 'GET', `/route/${nodeId}/api/`, caller.token);
    request.end();
    await answered; // and never read
    await sleep(1_500);
    request.destroy();
    expect(written).toBeLessThan(64 * 1024 * 1024);
  });

  it('that the caller gives up is given up at the target', async () => {
    let cut: Promise<unknown> | undefined;
    const server = await upstream((_request, response) => {
      response.write('first');
      cut = once(response, 'close');
    });
    const { nodeId } = await offering(hub, server.url);
    const stop = new AbortController();
    const response = await ask('GET', `/route/${nodeId}/api/`, { signal: stop.signal });
    await response.body!.getReader().read();
    stop.abort();
    await cut;
  });

  it('that the caller gives up before there is an answer is given up at the target', async () => {
    const cuts: Promise<unknown>[] = [];
    const server = await upstream((request) => {
      cuts.push(new Promise((done) => request.on('error', () => {}).on('close', done)));
    });
    const { nodeId } = await offering(hub, server.url);
    for (const body of ['half of a body', undefined]) {
      const { request } = begin(hub, body ? 'POST' : 'GET', `/route/${nodeId}/api/`, caller.token);
      request.on('error', () => {});
      if (body) request.write(body);
      else request.end();
      await expect.poll(() => cuts.length).toBe(1);
      request.destroy();
      await cuts.pop();
    }
  });

  it('breaks off where the target breaks off, and is not taken for whole', async () => {
    const server = await upstream((_request, response) => {
      response.write('half');
      setTimeout(() => response.destroy(), 50);
    });
    const { nodeId } = await offering(hub, server.url);
    const response = await ask('GET', `/route/${nodeId}/api/`);
    await expect(response.text()).rejects.toThrow();
  });

  it('says what went wrong, and who else offers the same', async () => {
    const gone = await upstream(hello);
    const well = await upstream(hello);
    const services = { rare: {} };
    const first = await offering(hub, gone.url, { services });
    const second = await offering(hub, well.url, { services });
    await gone.close();
    const response = await ask('GET', `/route/${first.nodeId}/rare/`);
    expect(await problem(response)).toMatchObject({
      status: 502,
      code: 'target_unreachable',
      tried: [{ node_id: first.nodeId, service: 'rare', code: 'target_unreachable' }],
      alternatives: [{ node_id: second.nodeId, service: 'rare' }],
    });
    const unknown = await ask('GET', `/route/nobody/rare/`);
    expect(await problem(unknown)).toMatchObject({ status: 503, code: 'no_target' });
    const none = await ask('GET', `/route/${second.nodeId}/constructor/`);
    expect(await problem(none)).toMatchObject({ code: 'no_target' });
  });

  it('is given up when the target does not begin to answer in the time that the caller gives', async () => {
    const server = await upstream(() => {});
    const { nodeId } = await offering(hub, server.url);
    const began = Date.now();
    const response = await ask('GET', `/route/${nodeId}/api/`, { headers: { 'federation-timeout-ms': '300' } });
    expect(await problem(response)).toMatchObject({ status: 504, code: 'target_timeout' });
    expect(Date.now() - began).toBeLessThan(3_000);
    const wrong = await ask('GET', `/route/${nodeId}/api/`, { headers: { 'federation-timeout-ms': '99' } });
    expect(await problem(wrong)).toMatchObject({ status: 400, code: 'invalid_input' });
  });

  it('is given up when that time is over, not half a second later, however long its body took before', async () => {
    const server = await upstream((request, response) => {
      request.resume().once('end', () => setTimeout(() => response.end('late'), 250));
    });
    const { nodeId } = await offering(hub, server.url);
    const within = async (timeoutMs: number) => {
      const headers = { 'federation-timeout-ms': String(timeoutMs) };
      const { request, answered } = begin(hub, 'POST', `/route/${nodeId}/api/`, caller.token, headers);
      request.write('slow');
      await sleep(700);
      request.end('ly');
      const answer = await answered;
      answer.resume();
      return answer.statusCode;
    };
    const bare = await ask('GET', `/route/${nodeId}/api/`, { headers: { 'federation-timeout-ms': '100' } });
    expect(await problem(bare)).toMatchObject({ status: 504, code: 'target_timeout' });
    expect(await within(100)).toBe(504);
    expect(await within(600)).toBe(200);
  });

  it('may begin its answer in time and go on after it', async () => {
    const server = await upstream((_request, response) => {
      response.write('begun');
      setTimeout(() => response.end(', done'), 600);
    });
    const { nodeId } = await offering(hub, server.url);
    const response = await ask('POST', `/route/${nodeId}/api/`, {
      headers: { 'federation-timeout-ms': '200' },
      body: 'all',
    });
    expect(await response.text()).toBe('begun, done');
  });

  it('is for members: neither strangers nor observers route', async () => {
    const server = await upstream(hello);
    const { nodeId } = await offering(hub, server.url);
    expect((await call(hub, 'GET', `/route/${nodeId}/api/`)).body.code).toBe('unauthenticated');
    const observer = await joinByHttp(hub, 'observer');
    const { status } = await call(hub, 'POST', '/governance/roles/observer', {
      token: hub.adminToken,
      body: { role: 'observer' },
    });
    expect(status).toBe(200);
    await expect
      .poll(async () => (await call(hub, 'GET', `/route/${nodeId}/api/`, { token: observer.token })).status)
      .toBe(403);
    expect(server.got).toEqual([]);
  });

  it('does not go to a node that is blocked', async () => {
    const server = await upstream(hello);
    const { nodeId } = await offering(hub, server.url);
    const blocked = await call(hub, 'POST', `/access/block/${nodeId}`, {
      token: hub.adminToken,
      body: { reason: 'test' },
    });
    expect(blocked.status, JSON.stringify(blocked.body)).toBe(200);
    expect((await ask('GET', `/route/${nodeId}/api/`)).status).toBe(503);
    expect(server.got).toEqual([]);
  });
});

describe('a call by capability', () => {
  it('goes to nodes that have it, by their service of that name, else to the node itself', async () => {
    const [base, service] = [await upstream(hello), await upstream(hello)];
    const node = await offering(hub, base.url, { capabilities: ['sing'] });
    expect((await ask('GET', '/route/by-capability/sing/songs')).headers.get('federation-node')).toBe(node.nodeId);
    await call(hub, 'PATCH', `/nodes/${node.nodeId}`, {
      token: node.token,
      body: { services: { sing: { port: service.port } } },
    });
    await expect
      .poll(async () => {
        await ask('GET', '/route/by-capability/sing/songs');
        return service.got.length;
      })
      .toBeGreaterThan(0);
    expect(base.got.length).toBeGreaterThan(0);
  });

  it('goes to another node when one fails, as long as it may be repeated', async () => {
    const failing = await upstream((_request, response) => void response.writeHead(503).end('not now'));
    const well = await upstream(hello);
    const capabilities = ['retry'];
    await offering(hub, failing.url, { capabilities });
    const good = await offering(hub, well.url, { capabilities });
    for (let asked = 0; asked < 6 || failing.got.length === 0; asked++) {
      const response = await ask('GET', '/route/by-capability/retry/');
      expect([response.status, response.headers.get('federation-node')]).toEqual([200, good.nodeId]);
    }
  });

  it('is not repeated when it could do something twice', async () => {
    const failing = await upstream((_request, response) => void response.writeHead(503).end('not now'));
    const capabilities = ['once'];
    await offering(hub, failing.url, { capabilities });
    await offering(hub, failing.url, { capabilities });
    const response = await ask('POST', '/route/by-capability/once/', { body: 'x' });
    expect([response.status, await response.text()]).toEqual([503, 'not now']);
    expect(failing.got.length).toBe(1);
  });

  it('goes on with its body where a node could not be reached at all', async () => {
    const gone = await upstream(hello);
    const well = await upstream(echo);
    const capabilities = ['carry'];
    await offering(hub, gone.url, { capabilities });
    await offering(hub, well.url, { capabilities });
    await gone.close();
    for (let asked = 0; asked < 4; asked++)
      expect(await (await ask('POST', '/route/by-capability/carry/', { body: 'the body' })).text()).toBe('the body');
  });
});

// Each waits for a circuit to let a call try again: they do so side by side.
describe.concurrent('the circuit of a target', () => {
  it('opens after five failures, spares the target, lets one call try after ten seconds, and is told in the log', async ({
    expect,
  }) => {
    const server = await upstream((_request, response) => void response.writeHead(502).end());
    const { nodeId } = await offering(hub, server.url);
    const path = `/route/${nodeId}/api/`;
    for (let failed = 0; failed < 5; failed++) expect((await ask('GET', path)).status).toBe(502);
    const refused = await problem(await ask('GET', path));
    expect(refused).toMatchObject({ status: 503, code: 'circuit_open', tried: [{ node_id: nodeId }] });
    expect(server.got.length).toBe(5);
    const offers = await call(hub, 'GET', '/services/api?limit=500', { token: caller.token });
    expect(offers.body.offers).toContainEqual(expect.objectContaining({ node_id: nodeId, circuit: 'open' }));
    server.answer = hello;
    await expect.poll(async () => (await ask('GET', path)).status, { timeout: 15_000, interval: 500 }).toBe(200);
    expect(server.got.length).toBe(6);
    expect((await ask('GET', path)).status).toBe(200);
    const told = async () => {
      const audit = await call(hub, 'GET', `/audit?limit=500&target=${nodeId}`, { token: hub.adminToken });
      return JSON.stringify(audit.body);
    };
    await expect.poll(told).toMatch(/circuit\.opened/);
    await expect.poll(told).toMatch(/circuit\.closed/);
  }, 40_000);
});

describe.concurrent('the circuit of a target, whatever its callers do,', () => {
  const circuitOf = async (nodeId: string) => {
    const { body } = await call(hub, 'GET', '/services/api?limit=500', { token: caller.token });
    return (body.offers as { node_id: string; circuit: string }[]).find((offer) => offer.node_id === nodeId)?.circuit;
  };

  it('stays closed when callers give it less time than is usual', async ({ expect }) => {
    const server = await upstream((_request, response) => void setTimeout(() => response.end('thought'), 3_000));
    const { nodeId } = await offering(hub, server.url);
    const hasty = () => ask('GET', `/route/${nodeId}/api/`, { headers: { 'federation-timeout-ms': '100' } });
    const answers = await Promise.all(Array.from({ length: 6 }, hasty));
    expect(answers.map(({ status }) => status)).toEqual(Array(6).fill(504));
    expect(await circuitOf(nodeId)).toBe('closed');
    expect(await (await ask('GET', `/route/${nodeId}/api/`)).text()).toBe('thought');
  });

  it('is not closed by a trial that its caller gave up, and the next call is a trial at once', async ({ expect }) => {
    const server = await upstream((_request, response) => void response.writeHead(503).end());
    const { nodeId } = await offering(hub, server.url);
    const path = `/route/${nodeId}/api/`;
    for (let failed = 0; failed < 5; failed++) expect((await ask('GET', path)).status).toBe(503);
    server.answer = () => {};
    await sleep(10_200);
    await expect(ask('GET', path, { signal: AbortSignal.timeout(300) })).rejects.toThrow();
    expect(server.got.length).toBe(6);
    await expect.poll(() => circuitOf(nodeId)).toBe('open');
    server.answer = hello;
    expect(await (await ask('GET', path)).text()).toBe('hello');
    expect(await circuitOf(nodeId)).toBe('closed');
  }, 40_000);
});

describe('the discovery', () => {
  it('lists who offers a service, those that live first, with how each is reached', async () => {
    const services = { look: { version: '2.1', status: 'degraded' as const, port: 9000 } };
    const capabilities = ['see'];
    const one = await offering(hub, 'http://127.0.0.1:4000/x?y#z', { services, capabilities });
    const two = await offering(hub, 'http://10.9.8.7/', { services, capabilities });
    const { body, status } = await call(hub, 'GET', '/services/look?limit=1', { token: caller.token });
    expect(status).toBe(200);
    expect(body.offers).toEqual([
      {
        node_id: one.nodeId,
        display_name: null,
        node_status: 'online',
        status: 'degraded',
        version: '2.1',
        capabilities: ['see'],
        url: 'http://127.0.0.1:9000/x',
        reachability: 'direct',
        circuit: 'closed',
      },
    ]);
    const next = await call(hub, 'GET', `/services/look?limit=1&cursor=${body.next_cursor}`, { token: caller.token });
    expect(next.body.offers).toMatchObject([{ node_id: two.nodeId, url: null, reachability: null }]);
    expect((await call(hub, 'GET', '/services/look?cursor=xx', { token: caller.token })).body.code).toBe(
      'cursor_invalid',
    );
  });

  it('believes the newest heartbeat over the profile', async () => {
    const { nodeId, token } = await offering(hub, 'http://127.0.0.1:4000', { services: { beat: {} } });
    await call(hub, 'POST', `/nodes/${nodeId}/heartbeat`, {
      token,
      body: { services: { beat: { status: 'stopped' } } },
    });
    const status = async () => {
      const { body } = await call(hub, 'GET', '/services/beat', { token: caller.token });
      return (body.offers as { status: string }[])[0]?.status;
    };
    await expect.poll(status).toBe('stopped');
    expect((await ask('GET', `/route/${nodeId}/beat/`)).status).toBe(503);
  });
});

describe('a hub without an allow list', () => {
  it('does not call what is not public, and does not tell what a name stands for', async () => {
    const server = await upstream(hello);
    const strict = await startTestHub();
    try {
      const asker = await joinByHttp(strict, 'asker');
      for (const url of [server.url, server.url.replace('127.0.0.1', 'localhost'), 'http://169.254.169.254']) {
        const { nodeId } = await offering(strict, url);
        const { status, body } = await call(strict, 'GET', `/route/${nodeId}/api/`, { token: asker.token });
        expect([status, body.code], url).toEqual([503, 'no_target']);
      }
      expect(server.got).toEqual([]);
    } finally {
      await strict.stop();
    }
  });
});

describe('a call that takes longer than other requests may', () => {
  it('goes on for as long as its body does', async () => {
    expect(await patient).toEqual({ status: 200, body: 'x'.repeat(patience) });
  }, 60_000);
});

/** Memory of the hub's process, bytes. */
function rssOf({ pid }: TestHub): number {
  const pages = readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1];
  return Number(pages) * 4096;
}
