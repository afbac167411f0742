/** Traces of running hubs as a collector gets them: from a packet or a request to the views, and to whoever is told or called. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FederationNode, generateKey } from '../../src/client/node.ts';
import { RawSocket } from '../security/raw-socket.ts';
import { post } from '../security/visitor.ts';
import { type Collector, startCollector, type TakenSpan } from '../setup/collector.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { startReceiver } from '../setup/receiver.ts';

const caller = '00f067aa0ba902b7';
let made = 0;
const traceId = () => (0xabc0000 + ++made).toString(16).padStart(32, 'c0ffee');
const traceparentOf = (id: string, flags = '01') => `00-${id}-${caller}-${flags}`;

let collector: Collector;
const nodes: FederationNode[] = [];

const settings = (url: string) => ({ OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_BSP_SCHEDULE_DELAY: '100' });
const spansOf = (id: string) => collector.spans.filter((span) => span.traceId === id);
const one = (id: string, name: string) => spansOf(id).find((span) => span.name === name);
/** Waits for a span, and gives it. */
async function span(id: string, name: string): Promise<TakenSpan> {
  await expect.poll(() => one(id, name)?.name, { timeout: 15_000 }).toBe(name);
  return one(id, name)!;
}

async function enlist(hub: TestHub, nodeId: string, traceparent?: () => string | undefined) {
  const options = { url: hub.url, nodeId, key: await generateKey() };
  const node = new FederationNode({ ...options, ...(traceparent && { traceparent }) });
  nodes.push(node);
  return node;
}

beforeAll(async () => {
  collector = await startCollector();
});
afterAll(async () => {
  for (const node of nodes) node.close();
  await collector?.close();
});

describe('a hub with a collector', () => {
  let hub: TestHub;
  let ada: FederationNode;
  let current: string | undefined;

  beforeAll(async () => {
    const env = {
      ...settings(collector.url),
      OTEL_SERVICE_NAME: 'hub-of-tests',
      OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment=test,team=a%20b',
      OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20for-the-collector',
      FEDERATION_EGRESS_ALLOW: '127.0.0.0/8',
    };
    hub = await startTestHub({ env });
    ada = await enlist(hub, 'ada', () => current);
    await ada.connect();
  });
  afterAll(() => hub?.stop());

  const during = async <T>(id: string, run: () => Promise<T>): Promise<T> => {
    current = traceparentOf(id);
    try {
      return await run();
    } finally {
      current = undefined;
    }
  };

  it('makes one trace of a packet: guard, command, decision, append, views', async () => {
    const id = traceId();
    const handle = await during(id, () => ada.submit({ type: 'count' }));
    await span(id, 'project');
    const packet = await span(id, 'federation:task:submit');
    const command = await span(id, 'command submit');
    expect(packet).toMatchObject({ kind: 2, parentSpanId: caller, status: 0 });
    expect(packet.attributes).toMatchObject({
      'federation.door': 'socket',
      'federation.service': 'task-queue',
      'federation.actor': 'node:ada',
    });
    expect(packet.resource).toMatchObject({
      'service.name': 'hub-of-tests',
      'deployment.environment': 'test',
      team: 'a b',
    });
    expect((await span(id, 'guard')).parentSpanId).toBe(packet.spanId);
    expect(command.parentSpanId).toBe(packet.spanId);
    expect(command.attributes).toMatchObject({ 'federation.stream': `task-${handle.taskId}` });
    for (const part of ['decide', 'append', 'project'])
      expect((await span(id, part)).parentSpanId, part).toBe(command.spanId);
    for (const each of spansOf(id)) expect(each.endedMs, each.name).toBeGreaterThanOrEqual(each.beganMs);
    expect(packet.endedMs).toBeGreaterThanOrEqual(command.endedMs);
    expect(collector.headers[0]?.authorization).toBe('Bearer for-the-collector');
  });

  it('links the write of the log and the page of the views to what they were for', async () => {
    const id = traceId();
    await during(id, () => ada.submit({ type: 'count' }));
    const command = await span(id, 'command submit');
    const linked = (name: string) =>
      collector.spans.find((each) => each.name === name && each.links.some(({ spanId }) => spanId === command.spanId));
    await expect.poll(() => linked('log.flush')?.name).toBe('log.flush');
    await expect.poll(() => linked('project batch')?.name).toBe('project batch');
    expect(linked('log.flush')).toMatchObject({ parentSpanId: '' });
    const each = await span(id, 'project');
    expect(each.links.map(({ spanId }) => spanId)).toEqual([linked('project batch')?.spanId]);
  });

  it('writes the command into the meta of its events, which whoever follows them gets', async () => {
    const id = traceId();
    const seen: (string | undefined)[] = [];
    const subscription = await ada.subscribe(['task.submitted'], (event) => void seen.push(event.traceparent));
    await during(id, () => ada.submit({ type: 'count' }));
    const command = await span(id, 'command submit');
    await expect.poll(() => seen).toEqual([`00-${id}-${command.spanId}-01`]);
    expect(await span(id, 'push federation:event')).toMatchObject({ kind: 4, parentSpanId: command.spanId });
    await subscription.unsubscribe();
  });

  it('goes on with the trace of a request, and names it in problems', async () => {
    const id = traceId();
    const ask = (path: string, init: RequestInit = {}) => {
      const headers = {
        traceparent: traceparentOf(id),
        authorization: `Bearer ${hub.adminToken}`,
        'content-type': 'application/json',
      };
      return fetch(`${hub.url}/api/federation${path}`, { ...init, headers });
    };
    const refused = await ask('/nodes/nobody-is-called-this');
    expect([refused.status, await refused.json()]).toMatchObject([404, { code: 'not_found', trace_id: id }]);
    const request = await span(id, 'GET /api/federation/nodes/:id');
    expect(request).toMatchObject({ kind: 2, parentSpanId: caller, status: 0 });
    expect(request.attributes).toMatchObject({
      'http.request.method': 'GET',
      'http.route': '/api/federation/nodes/:id',
      'http.response.status_code': 404,
      'federation.service': 'node-registry',
      'federation.code': 'not_found',
    });
    const body = JSON.stringify({ message: 'hear, hear', level: 'info' });
    expect((await ask('/governance/announce', { method: 'POST', body })).status).toBeLessThan(300);
    const posted = await span(id, 'POST /api/federation/governance/announce');
    const command = await span(id, 'command announce');
    expect(command.parentSpanId).toBe(posted.spanId);
    expect((await span(id, 'push federation:announcement')).parentSpanId).toBe(command.spanId);
  });

  it('begins traces of its own, but none for heartbeats, probes and what is not a traceparent', async () => {
    const of = (name: string) => collector.spans.filter((each) => each.name === name);
    await fetch(`${hub.url}/api/federation/governance`, { headers: { traceparent: 'by the way' } });
    await fetch(`${hub.url}/api/federation/health`);
    await fetch(`${hub.url}/metrics`);
    await expect.poll(() => of('GET /api/federation/governance').length).toBe(1);
    expect(of('GET /api/federation/governance')[0]?.parentSpanId).toBe('');
    await sleep(300);
    for (const name of ['federation:heartbeat', 'GET /api/federation/health', 'GET /metrics'])
      expect(of(name)).toEqual([]);
  });

  it('overlooks in a packet what is no traceparent, and refuses other members as ever', async () => {
    const socket = await RawSocket.open(hub.url);
    for (const traceparent of [7, null, {}, 'x', ['00'], `00-${'0'.repeat(32)}-${caller}-01`]) {
      const asked = { node_id: 'x', purpose: 'register', traceparent };
      expect(await socket.ask('federation:challenge', asked)).toMatchObject({ ok: true });
    }
    const id = traceId();
    const odd = { node_id: 'x', purpose: 'register', traceparents: 'x', traceparent: traceparentOf(id) };
    const refused = await socket.ask('federation:challenge', odd);
    expect(refused).toMatchObject({ ok: false, error: { code: 'invalid_input', trace_id: id } });
    expect((await span(id, 'federation:challenge')).attributes).toMatchObject({ 'federation.code': 'invalid_input' });
    socket.close();
  });

  it('records nothing of a trace that its caller does not record, and hands its id on', async () => {
    const id = traceId();
    const seen: (string | undefined)[] = [];
    const subscription = await ada.subscribe(['task.submitted'], (event) => void seen.push(event.traceparent));
    current = traceparentOf(id, '00');
    await ada.submit({ type: 'count' });
    current = undefined;
    await expect.poll(() => seen.length).toBe(1);
    expect(seen[0]).toMatch(new RegExp(`^00-${id}-[0-9a-f]{16}-00$`));
    await sleep(300);
    expect(spansOf(id)).toEqual([]);
    await subscription.unsubscribe();
  });

  it('tells webhooks and callbacks the trace of what they are told of', async () => {
    const receiver = await startReceiver();
    try {
      const subscribed = { label: 'x', patterns: ['task.cancelled'], delivery: { kind: 'webhook', url: receiver.url } };
      expect((await post(hub, '/subscriptions', subscribed, hub.adminToken)).status).toBe(200);
      const callback = { kind: 'webhook' as const, url: `${receiver.url}?callback` };
      const id = traceId();
      const handle = await during(id, () => ada.submit({ type: 'nobody-does-this', callback }));
      await during(id, () => handle.cancel());
      for (const name of ['webhook', 'callback']) {
        const sent = await span(id, name);
        expect(sent).toMatchObject({ kind: 3, parentSpanId: one(id, 'command cancel')?.spanId });
        const call = receiver.calls.find(({ path }) => path.endsWith('?callback') === (name === 'callback'));
        expect(call?.headers.traceparent).toBe(`00-${id}-${sent.spanId}-01`);
      }
    } finally {
      await receiver.close();
    }
  });

  it('follows a task to the node that gets it, and a message to its mailbox', async () => {
    const bob = await enlist(hub, 'bob');
    const told: (string | undefined)[] = [];
    bob.work({ add: async ({ traceparent }) => void told.push(traceparent) });
    bob.messages(async () => {});
    await bob.connect();
    const id = traceId();
    await during(id, () => ada.submit({ type: 'add' }));
    const pushed = await span(id, 'push federation:task:assigned');
    expect(pushed.parentSpanId).toBe((await span(id, 'command assign')).spanId);
    await expect.poll(() => told).toEqual([`00-${id}-${pushed.spanId}-01`]);
    await during(id, () => ada.send('bob', 'hello'));
    expect((await span(id, 'push federation:message')).parentSpanId).toBe((await span(id, 'command send')).spanId);
  });

  it('gives a node that asks for a task the trace of its submission', async () => {
    const id = traceId();
    await during(id, () => ada.submit({ type: 'claimed' }));
    const claimed = await ada.claim({ types: ['claimed'] });
    expect(claimed?.task.traceparent).toBe(`00-${id}-${(await span(id, 'command submit')).spanId}-01`);
    await claimed?.complete(3);
  });

  it('tells the collector nothing that is secret, and nothing of what anyone said', async () => {
    const id = traceId();
    const canary = 'canary-9f2b7c41';
    current = traceparentOf(id);
    const carol = await enlist(hub, 'carol', () => current);
    await carol.connect();
    const told = await during(id, () =>
      ada.submit({ type: 'count', payload: { words: canary }, sensitive: true }, { key: `${canary}-key` }),
    );
    await during(id, () => ada.send('carol', canary));
    const headers = { authorization: `Bearer ${hub.adminToken}`, traceparent: traceparentOf(id) };
    await fetch(`${hub.url}/api/federation/nodes?owner=${canary}`, { headers });
    await fetch(`${hub.url}/${canary}`, { headers });
    await span(id, 'GET (none)');
    await span(id, 'push federation:message');
    const text = collector.text();
    expect(text).toContain(told.taskId);
    for (const secret of [canary, hub.adminToken, carol.token!, ada.token!]) expect(text).not.toContain(secret);
    expect(text).not.toMatch(/BEGIN|eyJ[A-Za-z0-9_-]{10}|fht_[a-z]/);
  });

  it('ends the span of a stream that its reader leaves', async () => {
    const id = traceId();
    const reader = new AbortController();
    const headers = { traceparent: traceparentOf(id), authorization: `Bearer ${hub.adminToken}` };
    const stream = await fetch(`${hub.url}/api/federation/events`, { headers, signal: reader.signal });
    expect(stream.status).toBe(200);
    reader.abort();
    expect((await span(id, 'GET /api/federation/events')).attributes).toMatchObject({
      'http.response.status_code': 200,
    });
  });

  it('counts its spans', async () => {
    const text = await (await fetch(`${hub.url}/metrics`)).text();
    expect(Number(/^federation_trace_spans_total\{outcome="sent"\} (\d+)$/m.exec(text)?.[1])).toBeGreaterThan(50);
    expect(text).toMatch(/^federation_trace_spans_total\{outcome="(failed|dropped)"\} 0$/m);
  });
});

/** Starting hubs takes longer than tests may, where others use the machine too. */
const patience = { timeout: 120_000 };

describe('two replicas', patience, () => {
  it('make one trace of a call that comes to one and goes through a socket of the other', async () => {
    const env = { ...settings(collector.url), FEDERATION_EGRESS_ALLOW: '127.0.0.0/8' };
    const first = await startTestHub({ database: 'postgres', env });
    const second = await startTestHub({ env: { ...env, DATABASE_URL: first.databaseUrl! } });
    try {
      const serving = await enlist(second, 'serving');
      let told: Headers | undefined;
      serving.serve('api', (request) => {
        told = request.headers;
        return new Response('served');
      });
      await serving.connect();
      const id = traceId();
      const call = () =>
        fetch(`${first.url}/api/federation/route/serving/api/x`, {
          headers: {
            authorization: `Bearer ${first.adminToken}`,
            traceparent: traceparentOf(id),
            tracestate: 'vendor=opaque',
          },
        });
      await expect.poll(async () => (await call()).status, { timeout: 15_000 }).toBe(200);
      const relay = await span(id, 'relay');
      const isThere = () => spansOf(id).some(({ spanId }) => spanId === relay.parentSpanId);
      await expect.poll(isThere, { timeout: 15_000 }).toBe(true);
      const route = spansOf(id).find(({ spanId }) => spanId === relay.parentSpanId)!;
      expect([route.name, route.kind]).toEqual(['route api', 3]);
      const parent = () => spansOf(id).find(({ spanId }) => spanId === route.parentSpanId);
      await expect.poll(() => parent()?.kind, { timeout: 15_000 }).toBe(2); // it ends with the answer
      const request = parent();
      expect(request).toMatchObject({
        name: 'GET /api/federation/route/:node/:service/*',
        kind: 2,
        parentSpanId: caller,
      });
      expect(told?.get('traceparent')).toMatch(new RegExp(`^00-${id}-[0-9a-f]{16}-01$`));
      expect(told?.get('tracestate')).toBe('vendor=opaque');
      const replicas = [request, route, relay].map((each) => each?.resource['service.instance.id']);
      expect(replicas[0]).toBe(replicas[1]);
      expect(replicas[2]).not.toBe(replicas[1]);
    } finally {
      await second.stop();
      await first.stop();
    }
  });
});

describe('a collector that is of no help', patience, () => {
  it.each([
    ['is not there', 'http://127.0.0.1:9'],
    ['takes all and answers nothing', undefined],
  ])('that %s holds nothing up, is told of once, and does not delay the end', async (_how, given) => {
    const silent = await startCollector();
    silent.status = 0;
    const env = {
      ...settings(given ?? silent.url),
      OTEL_EXPORTER_OTLP_TIMEOUT: '500',
      OTEL_BSP_MAX_QUEUE_SIZE: '20',
      OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '10',
    };
    const hub = await startTestHub({ env });
    try {
      for (let at = 0; at < 60; at++) expect((await fetch(`${hub.url}/api/federation/status`)).status).toBe(200);
      const lost = async () => {
        const text = await (await fetch(`${hub.url}/metrics`)).text();
        return ['failed', 'dropped'].map((outcome) =>
          Number(new RegExp(`outcome="${outcome}"\\} (\\d+)`).exec(text)?.[1]),
        );
      };
      await expect.poll(async () => (await lost())[0], { timeout: 15_000 }).toBeGreaterThan(0);
      if (given === undefined) expect((await lost())[1]).toBeGreaterThan(0); // held up, and there is no room for more
      expect(hub.stderr().match(/the collector of traces took nothing/g)).toHaveLength(1);
      const began = performance.now();
      expect(await hub.stop()).toBe(0);
      expect(performance.now() - began).toBeLessThan(5_000);
    } finally {
      await hub.stop();
      await silent.close();
    }
  });
});

describe('a hub without a collector', patience, () => {
  it('lets no node keep what happens from the webhooks of others by what it calls a traceparent', async () => {
    const hub = await startTestHub({ env: { FEDERATION_EGRESS_ALLOW: '127.0.0.0/8' } });
    const receiver = await startReceiver();
    try {
      const delivery = { kind: 'webhook', url: receiver.url };
      const wish = { label: 'x', patterns: ['task.submitted'], delivery };
      expect((await post(hub, '/subscriptions', wish, hub.adminToken)).status).toBeLessThan(300);
      const id = traceId();
      const ada = await enlist(hub, 'ada', () => `01-${id}-${caller}-01-\u{2603}`);
      await ada.connect();
      await ada.submit({ type: 'count' });
      await expect.poll(() => receiver.taken().length, { timeout: 15_000 }).toBe(1);
    } finally {
      await receiver.close();
      await hub.stop();
    }
  });

  it('hands on the traces of others, names them in problems, and loads nothing', async () => {
    const hub = await startTestHub({ env: { OTEL_TRACES_SAMPLER: 'always_on' } });
    try {
      const id = traceId();
      const headers = {
        traceparent: traceparentOf(id),
        authorization: `Bearer ${hub.adminToken}`,
        'content-type': 'application/json',
      };
      const refused = await fetch(`${hub.url}/api/federation/nodes/nobody`, { headers });
      expect(await refused.json()).toMatchObject({ trace_id: id });
      const body = JSON.stringify({ message: 'hear', level: 'info' });
      await fetch(`${hub.url}/api/federation/governance/announce`, { method: 'POST', headers, body });
      const ada = await enlist(hub, 'ada');
      const seen: (string | undefined)[] = [];
      await ada.connect();
      await ada.subscribe(['governance.announced'], (event) => void seen.push(event.traceparent), { after: 0 });
      await expect.poll(() => seen).toEqual([traceparentOf(id)]);
      expect(await (await fetch(`${hub.url}/metrics`)).text()).toContain(
        'federation_trace_spans_total{outcome="sent"} 0',
      );
    } finally {
      await hub.stop();
    }
  });
});
