/** What everyone meets while work is put aside, at two replicas of one hub: who is turned away, who is not, and who hears of it. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { FederationNode, generateKey, HubRefusal } from '../../src/client/node.ts';
import { call, joinByHttp, joinBySocket, post } from '../security/visitor.ts';
import { readExposition } from '../setup/exposition.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

let first: TestHub;
let second: TestHub;
/** Sockets at the first and at the second replica. */
let here: Awaited<ReturnType<typeof joinBySocket>>;
let there: Awaited<ReturnType<typeof joinBySocket>>;
const nodes: FederationNode[] = [];

beforeAll(async () => {
  first = await startTestHub({ database: 'postgres' });
  second = await startTestHub({ env: { DATABASE_URL: first.databaseUrl! } });
  here = await joinBySocket(first, 'here');
  // A replica that starts on a busy machine may say for a moment that it is not ready.
  there = await vi.waitFor(() => joinBySocket({ ...second, adminToken: first.adminToken }, 'there'), 20_000);
});
afterAll(async () => {
  for (const node of nodes) node.close();
  here?.socket.close();
  there?.socket.close();
  await second?.stop();
  await first?.stop();
});

const as = (hub: TestHub, method: string, path: string, body?: object) =>
  call(hub, method, path, { token: first.adminToken, ...(body && { body }) });
const order = (level: string, more: object = {}) => as(first, 'PUT', '/degradation', { level, ...more });
const lift = () => as(first, 'DELETE', '/degradation');
const levelOf = async (hub: TestHub) => ((await as(hub, 'GET', '/status')).body.degradation as { level: string }).level;
const both = (level: string) =>
  vi.waitFor(async () => {
    expect(await levelOf(first)).toBe(level);
    expect(await levelOf(second)).toBe(level);
  }, 10_000);
const heard = (who: typeof here) => who.socket.of('federation:degraded').at(-1);
const beat = (who: typeof here) => who.socket.ask('federation:heartbeat', { node_id: who.nodeId });
const raw = (hub: TestHub, path: string, init: RequestInit = {}) =>
  fetch(`${hub.url}/api/federation${path}`, { ...init, headers: { authorization: `Bearer ${first.adminToken}` } });

describe('at essential', () => {
  it('whoever may not operate the hub orders nothing, and an order has an end', async () => {
    const ada = await joinByHttp(first, 'ada');
    const asAda = { token: ada.token, body: { level: 'core' } };
    expect((await call(first, 'PUT', '/degradation', asAda)).status).toBe(403);
    for (const until of ['2020-01-01T00:00:00Z', '2999-01-01T00:00:00Z', 'soon'])
      expect((await order('core', { until })).body.code, until).toBe('invalid_input');
    expect((await order('worse')).body.code).toBe('invalid_input');
    expect(await levelOf(first)).toBe('normal');
  });

  it('all replicas are at the level that is ordered, from the answer on and within a second', async () => {
    const until = new Date(Date.now() + 3_600_000).toISOString();
    const { status, body } = await order('essential', { until, reason: 'a try' });
    expect([status, body]).toEqual([200, { level: 'essential', until, reason: 'a try', position: expect.any(Number) }]);
    expect(await levelOf(first)).toBe('essential');
    await vi.waitFor(async () => expect(await levelOf(second)).toBe('essential'), 1_000);
  });

  it.each(['first', 'second'])('P2 is turned away at the %s, with a code and a time to come back', async (which) => {
    const hub = which === 'first' ? first : second;
    const waits = new Set<number>();
    for (const path of ['/memory/search?q=x', '/messages/m1', '/channels', '/knowledge/syncs', '/messages']) {
      const response = await raw(hub, path);
      const problem = (await response.json()) as Record<string, unknown>;
      expect([path, response.status, problem.code, problem.level]).toEqual([path, 503, 'shedding', 'essential']);
      expect(response.headers.get('content-type')).toBe('application/problem+json');
      expect(problem.retry_after_ms).toBeGreaterThanOrEqual(2_000);
      expect(problem.retry_after_ms).toBeLessThanOrEqual(6_000);
      expect(response.headers.get('retry-after')).toBe(String(Math.ceil(Number(problem.retry_after_ms) / 1000)));
      waits.add(Number(problem.retry_after_ms));
    }
    expect(waits.size).toBeGreaterThan(1); // not all come back at once
  });

  it('on a socket with the same code, and nothing is done', async () => {
    const answer = await here.socket.ask('federation:knowledge:sync', { direction: 'both', scope: { kind: 'full' } });
    expect(answer).toMatchObject({ ok: false, error: { code: 'shedding', level: 'essential' } });
    const wait = (answer.error as unknown as { retry_after_ms: number }).retry_after_ms;
    expect(wait).toBeGreaterThanOrEqual(2_000);
  });

  it('a path that is written in another way is no way in', async () => {
    const response = await raw(first, '/mem%6fry/search?q=x');
    expect(response.status).toBe(503);
    expect(response.headers.get('retry-after')).toMatch(/^[2-6]$/);
    expect(await response.json()).toMatchObject({ code: 'shedding' });
    expect((await raw(first, '/memory/search', { method: 'HEAD' })).status).toBe(503);
  });

  it('a body that is turned away is not waited for', async () => {
    const body = 'x'.repeat(200_000);
    const response = await raw(first, '/memory/store', { method: 'POST', body });
    expect(response.status).toBe(503);
    expect(response.headers.get('connection')).toBe('close');
    const short = await raw(first, '/memory/store', { method: 'POST', body: '{}' });
    expect([short.status, short.headers.get('connection')]).toEqual([503, 'keep-alive']);
  });

  it('nodes live on, and P1 and Nexus are served', async () => {
    expect(await beat(here)).toMatchObject({ ok: true });
    expect(await beat(there)).toMatchObject({ ok: true });
    const handedIn = await here.socket.ask('federation:task:submit', { type: 'x' });
    expect(handedIn).toMatchObject({ ok: true });
    for (const path of ['/tasks', '/entities', '/nodes', '/models', '/views', '/audit', '/limits', '/governance'])
      expect([path, (await as(second, 'GET', path)).status]).toEqual([path, 200]);
  });

  it('mail for who is away is stored, and handed over', async () => {
    const zoe = await generateKey();
    await joinByHttp(first, 'zoe', {}, zoe);
    const { status, body } = await as(second, 'POST', '/send', { to: { node: 'zoe' }, content: 'wait for me' });
    expect(status, JSON.stringify(body)).toBeLessThan(300);
    const node = new FederationNode({ url: first.url, nodeId: 'zoe', key: zoe });
    nodes.push(node);
    const got = new Promise((resolve) => void node.messages(({ content }) => resolve(content)));
    await node.connect();
    expect(await got).toBe('wait for me');
  });

  it('nodes of all replicas heard it, and who comes later hears it too', async () => {
    const told = { reason: 'order', level: 'essential', sheds: expect.arrayContaining(['knowledge-sync']) };
    await vi.waitFor(() => expect([heard(here), heard(there)]).toEqual([told, told]), 5_000);
    expect(heard(here)!.sheds).not.toContain('task-queue');
    const late = new FederationNode({ url: second.url, nodeId: 'late', key: await generateKey() });
    nodes.push(late);
    const packet = new Promise((resolve) => late.once('degraded', resolve));
    await late.connect();
    expect(await packet).toEqual(told);
  });

  it('GET /degradation says who ordered it, what each level puts aside, and which replicas it is of', async () => {
    const { body } = await as(second, 'GET', '/degradation');
    expect(body).toMatchObject({ level: 'essential', cause: 'order', stale: false, measured: { level: 'normal' } });
    expect(body.order).toMatchObject({ level: 'essential', reason: 'a try', by: expect.stringMatching(/^operator:/) });
    await vi.waitFor(async () => {
      const { replicas } = (await as(second, 'GET', '/degradation')).body as unknown as { replicas: object[] };
      expect(replicas).toHaveLength(2);
      for (const each of replicas) expect(each).toMatchObject({ level: 'essential', cause: 'order', signals: [] });
    }, 5_000);
    const { signals } = body.measured as { signals: { signal: string; reduced: number }[] };
    const names = signals.map(({ signal }) => signal);
    expect(names).toEqual(
      expect.arrayContaining(['loop_delay', 'heap', 'log_queue', 'append', 'views_lag', 'log_away']),
    );
    const [normal] = body.levels as { level: string; sheds: string[] }[];
    expect(normal).toEqual({ level: 'normal', sheds: [] });
  });

  it('each change is in the log, the view and the metrics', async () => {
    const { body } = await vi.waitFor(async () => {
      const found = await as(first, 'GET', '/audit?action=degradation.changed');
      expect(found.body.entries).toHaveLength(2);
      return found;
    }, 5_000);
    expect(body.entries).toEqual([
      expect.objectContaining({ actor: 'hub' }),
      expect.objectContaining({ actor: 'hub' }),
    ]);
    const ordered = await as(first, 'GET', '/audit?action=degradation.ordered');
    expect(ordered.body.entries).toEqual([expect.objectContaining({ actor: expect.stringMatching(/^operator:/) })]);
    const families = readExposition(await (await fetch(`${first.url}/metrics`)).text());
    expect(families.get('federation_degradation_level')?.samples[0]?.value).toBe(2);
    const shed = families.get('federation_shed_total')?.samples ?? [];
    const counted = (door: string) =>
      shed.filter(({ labels }) => labels.door === door && labels.service === 'knowledge-sync');
    expect(counted('http')[0]?.value).toBeGreaterThan(0);
    expect(counted('socket')[0]?.value).toBeGreaterThan(0);
    const asked = families.get('federation_door_requests_total')?.samples ?? [];
    const failed = asked.filter(({ labels, value }) => labels.outcome === 'failed' && value > 0);
    expect(failed.filter(({ labels }) => labels.service !== '(none)')).toEqual([]); // it is no fault of a service
  });
});

describe('at core', () => {
  it('P1 and Nexus are turned away too', async () => {
    expect((await order('core')).status).toBe(200);
    await both('core');
    for (const path of ['/tasks', '/entities', '/models', '/views', '/events', '/services/x'])
      expect([path, (await as(second, 'GET', path)).body.code]).toEqual([path, 'shedding']);
    expect(await there.socket.ask('federation:task:submit', { type: 'x' })).toMatchObject({
      error: { code: 'shedding' },
    });
  });

  it('being there, guards, health and ends are not', async () => {
    expect(await beat(here)).toMatchObject({ ok: true });
    const newcomer = await joinBySocket({ ...second, adminToken: first.adminToken }, 'newcomer');
    expect((await as(first, 'POST', '/governance/bans/newcomer', { reason: 'a bad day' })).status).toBe(200);
    expect(await newcomer.socket.until(() => newcomer.socket.ended)).toBe(true);
    for (const path of [
      '/health',
      '/ready',
      '/status',
      '/hub/health',
      '/nodes',
      '/governance/bans',
      '/limits',
      '/audit',
    ])
      expect([path, (await as(first, 'GET', path)).status]).toEqual([path, 200]);
    const gone = await there.socket.ask('federation:task:complete', { task_id: 'nothing', lease: 1 });
    expect(gone.error?.code).not.toBe('shedding');
    expect((await as(first, 'POST', '/tasks/nothing/cancel')).body.code).not.toBe('shedding');
    expect((await as(first, 'POST', '/send', { to: { node: 'zoe' }, content: 'still' })).status).toBeLessThan(300);
    expect((await fetch(`${first.url}/metrics`)).status).toBe(200);
  });

  it('a node of the SDK waits with what is put aside, and stays connected', async () => {
    const patient = new FederationNode({ url: first.url, nodeId: 'patient', key: await generateKey() });
    nodes.push(patient);
    await patient.connect();
    const lost = vi.fn();
    patient.on('disconnected', lost);
    await expect(patient.submit({ type: 'later' }, { timeoutMs: 500 })).rejects.toThrow(HubRefusal);
    const handle = patient.submit({ type: 'later' });
    await lift();
    expect((await handle).taskId).toEqual(expect.any(String));
    expect(lost).not.toHaveBeenCalled();
  });

  it('once it is lifted all is served again, everyone hears it, and lifting again is no error', async () => {
    await both('normal');
    expect((await as(second, 'GET', '/memory/search?q=x')).status).toBe(200);
    expect((await as(second, 'GET', '/tasks')).status).toBe(200);
    const told = { reason: 'restored', level: 'normal', sheds: [] };
    await vi.waitFor(() => expect([heard(here), heard(there)]).toEqual([told, told]), 5_000);
    await vi.waitFor(async () => expect((await as(first, 'GET', '/degradation')).body.replicas).toEqual([]), 5_000);
    expect((await lift()).body).toMatchObject({ lifted: false });
  });
});

it('an order ends by itself', async () => {
  await order('reduced', { until: new Date(Date.now() + 1_500).toISOString() });
  await both('reduced');
  expect((await as(first, 'GET', '/messages/m1')).status).not.toBe(503); // only what costs most
  expect((await as(first, 'GET', '/memory/search?q=x')).status).toBe(503);
  await both('normal');
  expect((await as(first, 'GET', '/degradation')).body.order).toBeNull();
});

it('an order under the same key is given once', async () => {
  const headers = { 'idempotency-key': 'order-1' };
  const body = { level: 'reduced', until: new Date(Date.now() + 60_000).toISOString() };
  const ask = () => call(first, 'PUT', '/degradation', { token: first.adminToken, body, headers });
  const [one, two] = [await ask(), await ask()];
  expect(two.body).toEqual(one.body);
  await lift();
  await both('normal');
});

it('a replica that stops is not told of any more', async () => {
  await order('reduced');
  await both('reduced');
  there.socket.close();
  await second.stop();
  await vi.waitFor(async () => expect((await as(first, 'GET', '/degradation')).body.replicas).toHaveLength(1), 5_000);
  await lift();
  expect((await post(first, '/memory/store', {}, first.adminToken)).status).toBe(400);
});
