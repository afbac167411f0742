/** Copies that no rule allows any more are asked back, from holders that are here, that come back later, and that never do. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { generateKey, type NodeKey } from '../../src/client/key-file.ts';
import type { RawSocket } from '../security/raw-socket.ts';
import { call, joinByHttp, joinBySocket, type Response, type Visitor } from '../security/visitor.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

type Held = { holder: string; rule: string; state: string; cause: string | null; policy_version: number };
const everything = { shares: [], takes: [{ id: 'all', categories: ['*'], with: { everyone: true } }] };

describe.each(['one hub on SQLite', 'two replicas on PostgreSQL'] as const)('%s', (setting) => {
  let first: TestHub;
  let second: TestHub;
  let ada: Visitor;

  beforeAll(async () => {
    const replicas = setting === 'two replicas on PostgreSQL';
    first = await startTestHub({ database: replicas ? 'postgres' : 'sqlite' });
    second = replicas ? await startTestHub({ env: { DATABASE_URL: first.databaseUrl! } }) : first;
    ada = await joinByHttp(first, 'ada');
    await vi.waitFor(async () => expect((await ask('GET', '/governance', ada)).status).toBe(200), { timeout: 15_000 });
  });
  afterAll(async () => {
    if (second !== first) await second.stop();
    await first.stop();
  });

  const ask = (method: string, path: string, visitor?: Visitor, body?: unknown): Promise<Response> =>
    call(second, method, path, { token: visitor?.token ?? first.adminToken, body });
  const done = async (asked: Promise<Response>, ...also: number[]) => {
    const { status, body } = await asked;
    expect([200, ...also], JSON.stringify(body)).toContain(status);
    return body as Record<string, unknown> as Record<string, unknown> & { position: number };
  };
  /** What ada shares of one category with everyone from now on. */
  const share = (category: string | undefined, more: object = {}) =>
    done(
      ask('PUT', '/knowledge/sovereignty/ada', ada, {
        shares:
          category === undefined ? [] : [{ id: 'some', categories: [category], with: { everyone: true }, ...more }],
        takes: [],
      }),
    );
  const store = (memory_id: string, category: string) =>
    done(ask('POST', '/memory/store', ada, { memory_id, category, content: memory_id }), 201);
  /** A node that takes everything, with its socket at the other replica than the one that is asked. */
  const holder = async (nodeId: string, key?: NodeKey) => {
    const joined = await joinBySocket(first, nodeId, {}, key);
    await done(call(first, 'PUT', `/knowledge/sovereignty/${nodeId}`, { token: joined.token, body: everything }));
    return joined;
  };
  const pull = async (socket: RawSocket, versions: unknown[]) => {
    const sync = { direction: 'pull', scope: { mode: 'full' } };
    const begun = await socket.ask('federation:knowledge:sync', sync);
    expect(begun).toMatchObject({ ok: true });
    const { sync_id } = begun as unknown as { sync_id: string };
    const pulled = await socket.ask('federation:knowledge:pull', { sync_id, versions });
    await socket.ask('federation:knowledge:end', { sync_id, outcome: 'completed' });
    return pulled as { documents?: { memory_id: string; receipt: object }[] };
  };
  const holders = async (id: string) =>
    ((await done(ask('GET', `/memory/${id}/holders`, ada))).holders as Held[]).map(
      ({ holder: who, state, cause }) => `${who} ${state} ${cause}`,
    );
  const becomes = (id: string, ...expected: string[]) =>
    vi.waitFor(async () => expect(await holders(id)).toEqual(expected), { timeout: 8_000 });
  const asked = (socket: RawSocket, memoryId: string) =>
    socket.until(() =>
      socket.of('federation:knowledge:withdraw').some(({ memory_ids }) => (memory_ids as string[]).includes(memoryId)),
    );

  it('a copy carries the rule that let it go; when the rule goes, its holder is asked, and answers', async () => {
    const bob = await holder('bob');
    const { version } = await store('w1', 'one');
    const policy = await share('one');
    const { documents } = await pull(bob.socket, [version]);
    const receipt = { subject: 'ada', rule: 'some', policy_version: policy.version, pass_on: false, edit: false };
    expect(documents).toMatchObject([{ memory_id: 'w1', receipt }]);
    await becomes('w1', 'bob held null');
    await share(undefined);
    await becomes('w1', 'bob asked policy');
    expect(await asked(bob.socket, 'w1')).toBe(true);
    const answer = (outcome: string) =>
      bob.socket.ask('federation:knowledge:withdrawn', { memory_ids: ['w1'], outcome });
    expect(await answer('declined')).toMatchObject({ ok: true });
    await becomes('w1', 'bob declined policy');
    expect(await answer('honoured')).toMatchObject({ ok: true });
    await becomes('w1');
    const { withdrawals } = await done(ask('GET', '/knowledge/withdrawals?limit=1', ada));
    expect(withdrawals).toMatchObject([{ memory_id: 'w1', holder: 'bob', state: 'honoured', cause: 'policy' }]);
    expect((await ask('GET', '/knowledge/withdrawals?subject=ada', bob)).body.code).toBe('forbidden');
    expect((await ask('GET', '/memory/w1/holders', bob)).body.code).toBe('not_found');
    bob.socket.close();
  });

  it('a holder that is away is asked when it comes back, each time, until it answers', async () => {
    const key = await generateKey();
    const away = await holder('away', key);
    const { version } = await store('w2', 'two');
    await share('two');
    await pull(away.socket, [version]);
    await becomes('w2', 'away held null');
    away.socket.close();
    await done(ask('DELETE', '/memory/w2', ada));
    await becomes('w2', 'away asked deleted');
    for (const _ of [1, 2]) {
      const back = await joinBySocket(first, 'away', {}, key);
      expect(await asked(back.socket, 'w2')).toBe(true);
      back.socket.close();
    }
    const back = await joinBySocket(first, 'away', {}, key);
    const said = { memory_ids: ['w2', 'never-held'], outcome: 'honoured' };
    await done(ask('POST', '/knowledge/withdrawals/answer', back, said));
    await becomes('w2');
    back.socket.close();
  });

  it('says where it could not: a holder that is no member any more is out of reach, and who has its name holds nothing', async () => {
    const lost = await holder('lost');
    const { version } = await store('w3', 'three');
    await share('three');
    await pull(lost.socket, [version]);
    await becomes('w3', 'lost held null');
    await done(ask('DELETE', '/nodes/lost'));
    await becomes('w3', 'lost unreachable policy');
    const namesake = await joinBySocket(first, 'lost');
    expect(await namesake.socket.until(() => namesake.socket.of('federation:knowledge:withdraw').length > 0, 500)).toBe(
      false,
    );
    namesake.socket.close();
  });

  it('a copy that was kept for as long as its rule lets is asked back in time', async () => {
    const brief = await holder('brief');
    const { version } = await store('w4', 'four');
    await share('four', { keep_seconds: 1 });
    await pull(brief.socket, [version]);
    await becomes('w4', 'brief asked kept_long_enough');
    expect(await asked(brief.socket, 'w4')).toBe(true);
    const { version: other } = await store('w5', 'five');
    await share('five', { until: new Date(Date.now() + 1_500).toISOString() });
    await pull(brief.socket, [other]);
    await vi.waitFor(async () => expect((await holders('w5'))[0]).toMatch(/^brief asked/), { timeout: 8_000 });
    brief.socket.close();
  });

  it('a node that ceases to fit, by its role or by what it takes, or to whom a memory no longer fits, is asked', async () => {
    const [role, takes] = [await holder('role'), await holder('takes')];
    const { version } = await store('w6', 'six');
    await share('six', { with: { roles: ['member'] } });
    for (const { socket } of [role, takes]) await pull(socket, [version]);
    await becomes('w6', 'role held null', 'takes held null');
    await done(ask('POST', '/governance/roles/role', undefined, { role: 'observer' }));
    await becomes('w6', 'role asked policy', 'takes held null');
    await done(
      call(first, 'PUT', '/knowledge/sovereignty/takes', { token: takes.token, body: { shares: [], takes: [] } }),
    );
    await becomes('w6', 'role asked policy', 'takes asked policy');
    const { version: other } = await store('w7', 'six');
    await done(call(first, 'PUT', '/knowledge/sovereignty/takes', { token: takes.token, body: everything }));
    await pull(takes.socket, [other]);
    await becomes('w7', 'takes held null');
    await done(ask('PUT', '/memory/w7', ada, { category: 'private', content: 'not theirs any more' }));
    await becomes('w7', 'takes asked policy');
    for (const { socket } of [role, takes]) socket.close();
  });

  it('what was erased is asked back everywhere', async () => {
    const keeper = await holder('keeper');
    const { version } = await store('w8', 'eight');
    await share('eight');
    await pull(keeper.socket, [version]);
    await becomes('w8', 'keeper held null');
    await done(ask('DELETE', '/memory', ada));
    await becomes('w8', 'keeper asked erased');
    keeper.socket.close();
  });
});
