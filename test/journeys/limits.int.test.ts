/** What those live through who ask too much, and those beside them, against one hub on SQLite and two replicas with one Redis. */
import { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { HubClient } from '../../src/cli/hub-client.ts';
import { registerLimits } from '../../src/cli/limits.ts';
import { Output } from '../../src/cli/output.ts';
import { RawSocket } from '../security/raw-socket.ts';
import { call, joinByHttp, joinBySocket, type Visitor } from '../security/visitor.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

const small = {
  FEDERATION_LIMIT_REQUESTS: '300',
  FEDERATION_LIMIT_MEGABYTES: '1',
  FEDERATION_LIMIT_MESSAGES: '100',
  FEDERATION_LIMIT_STRANGERS: '50',
  FEDERATION_TRUSTED_PROXIES: '127.0.0.1', // so that each who asks has an address of its own
};

describe.each(['one hub on SQLite', 'two replicas with one Redis'] as const)('%s', (setting) => {
  const replicas = setting === 'two replicas with one Redis';
  let first: TestHub;
  /** Another replica of the same federation; the same hub where there is one only. */
  let second: TestHub;

  beforeAll(async () => {
    first = await startTestHub({ database: replicas ? 'postgres' : 'sqlite', redis: replicas, env: small });
    second = replicas
      ? await startTestHub({ redis: true, env: { ...small, DATABASE_URL: first.databaseUrl! } })
      : first;
  });

  afterAll(async () => {
    if (second !== first) await second.stop();
    await first.stop();
  });

  const ask = (hub: TestHub, path: string, options: { token?: string; address?: string } = {}) =>
    fetch(`${hub.url}/api/federation${path}`, {
      headers: {
        'x-forwarded-for': options.address ?? '198.51.100.1',
        ...(options.token && { authorization: `Bearer ${options.token}` }),
      },
    });
  const itself = (hub: TestHub, { nodeId, token }: Visitor) => ask(hub, `/limits/${nodeId}`, { token });
  /** Asks both replicas by turns until one says that it is too much; answers how many passed. */
  const passes = async (visitor: Visitor, most = 1_000) => {
    let count = 0;
    while (count < most) {
      const { status } = await itself(count % 2 === 0 ? first : second, visitor);
      if (status === 429) break;
      expect(status).toBe(200);
      count++;
    }
    return count;
  };
  const set = (nodeId: string, body: object) =>
    call(first, 'PUT', `/limits/${nodeId}`, { token: first.adminToken, body });

  it('each answer tells what is left; one too many is refused, with how long to wait', async () => {
    await set('ada', { requests: 20 });
    const ada = await joinByHttp(first, 'ada');
    const answer = await itself(first, ada);
    expect(answer.headers.get('ratelimit-policy')).toBe('"requests";q=20;w=60, "megabytes";q=1;w=60');
    expect(answer.headers.get('ratelimit')).toMatch(/^"requests";r=19;t=3, "megabytes";r=\d+;t=\d+$/);
    expect(answer.headers.get('retry-after')).toBeNull();
    const passed = await passes(ada);
    expect(passed).toBeGreaterThanOrEqual(19);
    expect(passed).toBeLessThanOrEqual(21); // one more every three seconds
    const refused = await itself(second, ada);
    expect(refused.status).toBe(429);
    expect(refused.headers.get('content-type')).toMatch('application/problem+json');
    expect(refused.headers.get('ratelimit')).toMatch(/^"requests";r=0;t=60, /);
    const wait = Number(refused.headers.get('retry-after'));
    expect(wait).toBeGreaterThanOrEqual(1);
    expect(wait).toBeLessThanOrEqual(3);
    expect(await refused.json()).toMatchObject({ code: 'rate_limited', limit: 'requests', status: 429 });
    await new Promise((done) => setTimeout(done, wait * 1000));
    expect((await itself(second, ada)).status).toBe(200);
  });

  it('a node’s own limits hold at once at every replica, and go as they came', async () => {
    const bob = await joinByHttp(first, 'bob');
    const allowed = async (hub: TestHub) =>
      /"requests";q=(\d+)/.exec((await itself(hub, bob)).headers.get('ratelimit-policy') ?? '')?.[1];
    expect(await allowed(second)).toBe('300');
    expect((await set('bob', { requests: 5_000, messages: 7 })).body).toMatchObject({
      node_id: 'bob',
      own: { requests: 5_000, messages: 7 },
    });
    for (const hub of [first, second]) await expect.poll(() => allowed(hub), { timeout: 2_000 }).toBe('5000');
    const { body } = await call(second, 'GET', '/limits/bob', { token: bob.token });
    expect(body).toMatchObject({
      own: { requests: 5_000, messages: 7 },
      limits: { requests: 5_000, megabytes: 1, messages: 7 },
      shared: replicas,
    });
    await set('bob', {});
    for (const hub of [first, second]) await expect.poll(() => allowed(hub), { timeout: 2_000 }).toBe('300');
  });

  it('are an administrator’s to set, and of no other node to see', async () => {
    const carol = await joinByHttp(first, 'carol');
    for (const [method, path] of [
      ['GET', '/limits'],
      ['GET', '/limits/ada'],
      ['PUT', '/limits/carol'],
    ] as const) {
      const body = method === 'PUT' ? { body: {} } : {};
      const refused = await call(first, method, path, { token: carol.token, ...body });
      expect([refused.status, refused.body.code], path).toEqual([403, 'forbidden']);
    }
    for (const body of [{ requests: 0 }, { requests: 1.5 }, { requests: 1e9 }, { bandwidth: 1 }, []]) {
      expect((await call(first, 'PUT', '/limits/x', { token: first.adminToken, body })).status).toBe(400);
    }
  });

  it('a socket that sends too much is told so, and warned before, once', async () => {
    const dora = await joinBySocket(second, 'dora');
    const beat = () => dora.socket.ask('federation:heartbeat', { node_id: 'dora' });
    const answers = await Promise.all(Array.from({ length: 110 }, beat));
    const refused = answers.filter(({ ok }) => !ok);
    expect(refused.length).toBeGreaterThanOrEqual(5);
    expect(refused.length).toBeLessThanOrEqual(13);
    expect(refused[0]!.error).toMatchObject({ code: 'rate_limited', limit: 'messages' });
    const warnings = () => dora.socket.pushed.filter(({ name }) => name === 'federation:limit-warning');
    await expect.poll(warnings).toHaveLength(1);
    expect(warnings()[0]!.packet).toMatchObject({ limit: 'messages', allowed: 100, window_seconds: 60 });
    expect(warnings()[0]!.packet.used).toBeGreaterThanOrEqual(80);
    await Promise.all(Array.from({ length: 20 }, beat));
    await new Promise((done) => setTimeout(done, 1_500));
    expect(warnings()).toHaveLength(1);
    dora.socket.close();
  });

  it('a warning is heard at the replica that holds the socket, wherever it was found', async () => {
    await set('eve', { requests: 10 });
    const eve = await joinBySocket(first, 'eve');
    for (let at = 0; at < 9; at++) await itself(second, eve);
    await expect
      .poll(() => eve.socket.pushed.filter(({ name }) => name === 'federation:limit-warning'), { timeout: 3_000 })
      .toMatchObject([{ packet: { limit: 'requests', allowed: 10 } }]);
    eve.socket.close();
  });

  it('bytes count both ways', async () => {
    const fred = await joinByHttp(first, 'fred');
    const display_name = 'x';
    const sovereignty = { note: 'y'.repeat(7_000) };
    const statuses: number[] = [];
    for (let at = 0; at < 200 && statuses.at(-1) !== 429; at++) {
      const { status, body } = await call(first, 'PATCH', '/nodes/fred', {
        token: fred.token,
        body: { display_name: `${display_name}${at}`, sovereignty },
      });
      statuses.push(status);
      if (status === 429) expect(body).toMatchObject({ limit: 'megabytes' });
    }
    expect(statuses.at(-1)).toBe(429);
    expect(statuses.length).toBeLessThan(120); // answers are as long as requests
  });

  it('a flood of strangers is refused by its address, and touches no node and no probe', async () => {
    const gina = await joinByHttp(first, 'gina');
    const flood = '203.0.113.9';
    const statuses = new Set<number>();
    for (let at = 0; at < 60; at++) statuses.add((await ask(first, '/nodes', { address: flood })).status);
    expect(statuses).toEqual(new Set([401, 429]));
    const socket = await RawSocket.upgrade(first.url, { 'X-Forwarded-For': flood });
    expect([socket.ended, socket.head.split('\r\n')[0]]).toEqual([true, expect.stringMatching(/ 403 | 400 /)]);
    for (const path of ['/health', '/ready']) expect((await ask(first, path, { address: flood })).status).toBe(200);
    expect((await ask(first, '/limits/gina', { token: gina.token, address: flood })).status).toBe(200);
    expect((await ask(first, '/nodes', { address: '203.0.113.10' })).status).toBe(401);
  });

  it('an operator sees who asks most', async () => {
    const { body } = await call(first, 'GET', '/limits', { token: first.adminToken });
    expect(body).toMatchObject({
      defaults: { requests: 300, megabytes: 1, messages: 100, strangers: 50 },
      shared: replicas,
      busiest: expect.arrayContaining([expect.objectContaining({ who: 'node:fred', limit: 'megabytes' })]),
    });
    const shares = (body.busiest as { used: number; allowed: number }[]).map(({ used, allowed }) => used / allowed);
    expect(shares).toEqual(shares.toSorted((a, b) => b - a));
  });

  it('by the command line: seen, set and cleared', async () => {
    const printed: string[] = [];
    const write = vi.spyOn(process.stdout, 'write').mockImplementation((text) => printed.push(String(text)) > 0);
    const run = (...args: string[]) => {
      const program = new Command().exitOverride().configureOutput({ writeErr: () => {} });
      registerLimits(
        program,
        () => new HubClient(first.url, first.adminToken),
        () => new Output(false),
      );
      return program.parseAsync(['limits', ...args], { from: 'user' });
    };
    try {
      await run();
      await expect(run('set', 'hal')).rejects.toMatchObject({ exitCode: 2 });
      await run('set', 'hal', '--requests', '12');
      await expect
        .poll(() => call(first, 'GET', '/limits/hal', { token: first.adminToken }))
        .toMatchObject({ body: { own: { requests: 12 } } });
      await run('hal');
      await run('clear', 'hal');
      await expect(run('set', 'hal', '--requests', 'many')).rejects.toMatchObject({
        problem: { code: 'invalid_input' },
      });
    } finally {
      write.mockRestore();
    }
    const said = printed.join('');
    expect(said).toContain('300 requests, 1 megabytes, 100 messages, 50 strangers');
    expect(said).toContain('hal may ask, a minute: 12 requests');
    expect(said).toMatch(/requests +0\.0 +12 +yes/);
    expect(said).toContain('hal has the default limits');
  });
});
