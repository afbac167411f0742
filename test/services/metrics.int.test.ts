/** GET /metrics of a running hub, read as Prometheus reads it: who may, what it says, and that it does not grow with what strangers send. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FederationNode } from '../../src/client/node.ts';
import { codes } from '../../src/errors.ts';
import { catalog } from '../../src/events/catalog.ts';
import { clientPackets } from '../../src/protocol.ts';
import { RawSocket } from '../security/raw-socket.ts';
import { post } from '../security/visitor.ts';
import { type Family, readExposition } from '../setup/exposition.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { startReceiver } from '../setup/receiver.ts';

async function scrape(hub: TestHub): Promise<Map<string, Family>> {
  const response = await fetch(`${hub.url}/metrics`);
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  return readExposition(await response.text());
}

/** The sum of the samples that have these labels; undefined when there is none. */
function reading(families: Map<string, Family>, name: string, labels: Record<string, string> = {}): number | undefined {
  const family = families.get(name) ?? families.get(name.replace(/_(count|sum)$/, ''));
  const fitting = family?.samples.filter(
    (sample) => sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
  );
  return fitting?.length ? fitting.reduce((sum, { value }) => sum + value, 0) : undefined;
}

describe.each(['sqlite', 'postgres'] as const)('a hub on %s', (database) => {
  let hub: TestHub;
  let folder: string;
  const nodes: FederationNode[] = [];

  beforeAll(async () => {
    hub = await startTestHub({ database, env: { FEDERATION_EGRESS_ALLOW: '127.0.0.0/8' } });
    folder = await mkdtemp(join(tmpdir(), 'fedhub-metrics-'));
  });
  afterAll(async () => {
    for (const node of nodes) node.close();
    await hub?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const enlist = async (nodeId: string) => {
    const node = new FederationNode({ url: hub.url, nodeId, keyFile: join(folder, `${nodeId}.json`) });
    nodes.push(node);
    return node.connect();
  };

  it('says what stands: version, services, views, leases, jobs, process', async () => {
    const failures = (of: Map<string, Family>) => reading(of, 'federation_scrape_failures_total') ?? 0;
    const failedJobs = (of: Map<string, Family>) => reading(of, 'federation_jobs', { queue: 'tasks', state: 'failed' });
    // A scrape leaves jobs out that take long to be opened, as they may right after the start.
    await expect.poll(async () => failedJobs(await scrape(hub)), { timeout: 20_000 }).toBe(0);
    const before = await scrape(hub);
    const families = await scrape(hub);
    expect(reading(families, 'federation_build_info')).toBe(1);
    expect(reading(families, 'federation_service_state', { service: 'metrics', state: 'running' })).toBe(1);
    expect(reading(families, 'federation_service_state', { service: 'metrics', state: 'failed' })).toBe(0);
    await expect.poll(async () => reading(await scrape(hub), 'federation_projecting')).toBe(1);
    await expect.poll(async () => reading(await scrape(hub), 'federation_projection_lag_positions')).toBe(0);
    const held = async () => reading(await scrape(hub), 'federation_lease_held', { duty: 'retention' });
    await expect.poll(held).toBe(1); // a hub listens before it has all its leases
    expect(failedJobs(families)).toBe(0);
    expect(reading(families, 'federation_log_queue_depth')).toBe(0);
    expect(reading(families, 'process_resident_memory_bytes')).toBeGreaterThan(1_000_000);
    expect(families.has('nodejs_eventloop_lag_p99_seconds')).toBe(true);
    expect(failures(families)).toBe(failures(before)); // of the jobs before they were opened, if any
  });

  it('counts what happens: sessions, packets, events, appends, requests, refusals', async () => {
    const before = await scrape(hub);
    const node = await enlist('ada');
    await fetch(`${hub.url}/api/federation/status`);
    await fetch(`${hub.url}/api/federation/audit`);
    const after = await scrape(hub);
    const grown = (name: string, labels: Record<string, string> = {}) =>
      (reading(after, name, labels) ?? 0) - (reading(before, name, labels) ?? 0);
    expect(grown('federation_sessions_opened_total')).toBe(1);
    expect(grown('federation_connected_nodes')).toBe(1);
    expect(grown('federation_sockets')).toBe(1);
    expect(grown('federation_nodes', { status: 'online' })).toBe(1);
    expect(grown('federation_live_rows', { view: 'nodes' })).toBe(1);
    expect(grown('federation_packets_total', { packet: 'federation:register', outcome: 'ok' })).toBe(1);
    expect(grown('federation_packet_duration_seconds_count', { packet: 'federation:register' })).toBe(1);
    expect(grown('federation_events_appended_total', { category: 'key' })).toBe(2); // reserved, confirmed
    expect(grown('federation_events_appended_total', { category: 'session' })).toBe(1);
    expect(grown('federation_log_append_duration_seconds_count')).toBeGreaterThanOrEqual(4);
    const flushed = grown('federation_log_flush_events_sum');
    expect(flushed).toBeGreaterThanOrEqual(4);
    expect(grown('federation_events_appended_total')).toBe(flushed);
    expect(grown('federation_log_head_position')).toBeGreaterThanOrEqual(flushed);
    const route = '/api/federation/status';
    expect(grown('federation_http_requests_total', { method: 'GET', route, status: '2xx' })).toBe(1);
    expect(grown('federation_http_request_duration_seconds_count', { method: 'GET', route })).toBe(1);
    expect(grown('federation_refusals_total', { door: 'http', code: 'unauthenticated' })).toBe(1);
    node.close();
    await expect.poll(async () => reading(await scrape(hub), 'federation_connected_nodes')).toBe(0);
  });

  it('counts streams that their readers leave, for as long as they lasted', async () => {
    const labels = { method: 'GET', route: '/api/federation/events' };
    const of = (families: Map<string, Family>, name: string) => reading(families, name, labels) ?? 0;
    const before = await scrape(hub);
    const reader = new AbortController();
    const headers = { authorization: `Bearer ${hub.adminToken}` };
    await fetch(`${hub.url}/api/federation/events`, { headers, signal: reader.signal });
    await new Promise((done) => setTimeout(done, 150));
    reader.abort();
    const requests = 'federation_http_requests_total';
    await expect.poll(async () => of(await scrape(hub), requests)).toBe(of(before, requests) + 1);
    const after = await scrape(hub);
    expect(reading(after, requests, { ...labels, status: '2xx' })).toBe(of(before, requests) + 1);
    const seconds = 'federation_http_request_duration_seconds_sum';
    expect(of(after, seconds) - of(before, seconds)).toBeGreaterThan(0.1);
  });

  it('counts tasks, how long they waited, and how long they ran', async () => {
    const worker = new FederationNode({ url: hub.url, nodeId: 'worker', keyFile: join(folder, 'worker.json') });
    nodes.push(worker);
    let runs = 0;
    worker.work({
      nap: async () => {
        await new Promise((done) => setTimeout(done, 300));
        if (++runs === 1) throw new Error('the first attempt fails');
        return 'rested';
      },
    });
    const backoff = { kind: 'fixed', delay_ms: 10, max_ms: 10 };
    const { status } = await post(hub, '/tasks', { type: 'nap', backoff }, hub.adminToken);
    expect(status).toBe(201);
    const waiting = await scrape(hub);
    expect(reading(waiting, 'federation_tasks', { status: 'pending' })).toBe(1);
    await worker.connect();
    await expect
      .poll(async () => reading(await scrape(hub), 'federation_tasks_completed_total'), { timeout: 15_000 })
      .toBe(1);
    const done = await scrape(hub);
    expect(reading(done, 'federation_tasks_submitted_total')).toBe(1);
    expect(reading(done, 'federation_tasks_failed_total')).toBe(0);
    expect(reading(done, 'federation_task_attempts_failed_total', { cause: 'reported' })).toBe(1);
    expect(reading(done, 'federation_tasks')).toBe(0);
    expect(reading(done, 'federation_task_wait_seconds_count')).toBe(2);
    for (const outcome of ['failed', 'completed']) {
      expect(reading(done, 'federation_task_run_seconds_count', { outcome })).toBe(1);
      expect(reading(done, 'federation_task_run_seconds_sum', { outcome })).toBeGreaterThan(0.25);
      expect(reading(done, 'federation_task_run_seconds_sum', { outcome })).toBeLessThan(5);
    }
    worker.close();
  });

  it('counts calls of webhooks by what they are for and what became of them', async () => {
    const receiver = await startReceiver();
    try {
      receiver.answer = ({ path }) => (path.endsWith('?gone') ? 410 : 204);
      const subscribe = async (url: string) => {
        const body = { label: 'x', patterns: ['task.cancelled'], delivery: { kind: 'webhook', url } };
        expect((await post(hub, '/subscriptions', body, hub.adminToken)).status).toBe(200);
      };
      await subscribe(receiver.url);
      await subscribe(`${receiver.url}?gone`);
      const callback = { kind: 'webhook', url: `${receiver.url}?callback` };
      const { body: task } = await post(hub, '/tasks', { type: 'nobody-does-this', callback }, hub.adminToken);
      await post(hub, `/tasks/${task.task_id}/cancel`, {}, hub.adminToken);
      const name = 'federation_webhook_deliveries_total';
      for (const [kind, outcome] of [
        ['subscription', 'delivered'],
        ['subscription', 'failed'],
        ['callback', 'delivered'],
      ] as const) {
        await expect.poll(async () => reading(await scrape(hub), name, { kind, outcome }), { timeout: 10_000 }).toBe(1);
      }
      const told = await scrape(hub);
      expect(reading(told, 'federation_webhook_duration_seconds_count', { kind: 'subscription' })).toBe(2);
    } finally {
      await receiver.close();
    }
  });

  it('does not grow with what strangers make up', async () => {
    const oddities = async (round: string) => {
      for (let at = 0; at < 20; at++) {
        await fetch(`${hub.url}/${round}-${at}`);
        await fetch(`${hub.url}/api/federation/nodes/${round}-${at}`, { method: 'PROPFIND' });
        await fetch(`${hub.url}/api/federation/entities/${round}-${at}?a=${at}`);
      }
      const socket = await RawSocket.open(hub.url);
      for (let at = 0; at < 20; at++) await socket.ask(`federation:${round}-${at}`, {});
      await socket.ask('toString', {});
      socket.close();
    };
    await oddities('first');
    const before = await scrape(hub);
    await oddities('second');
    const after = await scrape(hub);
    const series = (families: Map<string, Family>) =>
      [...families.values()]
        .filter(({ name }) => name.startsWith('federation_'))
        .flatMap(({ samples }) => samples.map(({ name, labels }) => `${name}${JSON.stringify(labels)}`))
        .sort();
    expect(series(after)).toEqual(series(before));
    expect(reading(after, 'federation_packets_total', { packet: '(none)', outcome: 'refused' })).toBe(42);
    expect(reading(after, 'federation_http_requests_total', { route: '(none)', method: 'other' })).toBe(40);
    const known: Record<string, ReadonlySet<string>> = {
      code: new Set(Object.keys(codes)),
      packet: new Set([...Object.keys(clientPackets), '(none)']),
      category: new Set(Object.keys(catalog).map((type) => type.split('.')[0]!)),
      status: new Set([
        '1xx',
        '2xx',
        '3xx',
        '4xx',
        '5xx',
        'online',
        'suspect',
        'offline',
        'pending',
        'assigned',
        'running',
      ]),
    };
    for (const { samples } of after.values()) {
      for (const { labels } of samples) {
        for (const [label, value] of Object.entries(labels)) if (known[label]) expect(known[label]).toContain(value);
      }
    }
  });

  it('speaks OpenMetrics to whoever asks for it, with the same numbers, and names its counters the same afterwards', async () => {
    const accept = 'application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5';
    const response = await fetch(`${hub.url}/metrics`, { headers: { accept } });
    const text = await response.text();
    expect(response.headers.get('content-type')).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8');
    expect(text).toContain('\n# TYPE federation_sessions_opened counter\nfederation_sessions_opened_total ');
    expect(text).toMatch(/le="1\.0"/);
    expect(text).not.toMatch(/^\s*$\n./m);
    expect(text.endsWith('\n# EOF\n')).toBe(true);
    expect(reading(await scrape(hub), 'federation_sessions_opened_total')).toBeGreaterThan(0);
  });

  it('answers many at once', async () => {
    const all = await Promise.all(Array.from({ length: 50 }, () => scrape(hub)));
    for (const families of all) expect(reading(families, 'federation_build_info')).toBe(1);
  });
});

describe('who may read /metrics', () => {
  let hub: TestHub;
  beforeAll(async () => {
    hub = await startTestHub({
      env: { FEDERATION_METRICS_ALLOW: '192.0.2.7', FEDERATION_TRUSTED_PROXIES: '127.0.0.1' },
    });
  });
  afterAll(() => hub?.stop());

  const ask = async (headers: Record<string, string> = {}) => {
    const response = await fetch(`${hub.url}/metrics`, { headers });
    return [response.status, response.headers.get('content-type')?.split(';')[0]];
  };

  it('is whoever comes from an address that was named', async () => {
    expect(await ask({ 'x-forwarded-for': '192.0.2.7' })).toEqual([200, 'text/plain']);
    expect(await ask({ 'x-forwarded-for': '192.0.2.8' })).toEqual([401, 'application/problem+json']);
  });

  it('is an operator with any scope, from anywhere, and nobody with a token that is none', async () => {
    expect(await ask()).toEqual([401, 'application/problem+json']);
    const { body } = await post(hub, '/auth/tokens', { label: 'scraper', scopes: ['read'] }, hub.adminToken);
    expect(await ask({ authorization: `Bearer ${body.token}` })).toEqual([200, 'text/plain']);
    expect(await ask({ authorization: 'Bearer fht_aaaaaaaa_x' })).toEqual([401, 'application/problem+json']);
  });

  it('is nobody who comes through a proxy that the hub does not know', async () => {
    const behind = await startTestHub();
    try {
      const through = (headers: Record<string, string>) => fetch(`${behind.url}/metrics`, { headers });
      expect((await through({})).status).toBe(200);
      expect((await through({ 'x-forwarded-for': '203.0.113.9' })).status).toBe(401);
      expect((await through({ forwarded: 'for=203.0.113.9' })).status).toBe(401);
    } finally {
      await behind.stop();
    }
  });
});
