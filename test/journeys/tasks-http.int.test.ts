/** Work over HTTP, as nodes without a socket, submitters and operators live through it: one hub on SQLite, two replicas on one PostgreSQL. */
import { connect, createServer, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { FederationNode, generateKey } from '../../src/client/node.ts';
import { call, joinByHttp, type Response, type Visitor } from '../security/visitor.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

interface Assigned {
  task_id: string;
  type: string;
  payload?: unknown;
  lease: number;
  attempt: number;
}

describe.each(['one hub on SQLite', 'two replicas on PostgreSQL'] as const)('%s', (setting) => {
  let first: TestHub;
  /** Another replica of the same federation; the same hub where there is one only. */
  let second: TestHub;
  let ada: Visitor;
  let bob: Visitor;
  let eve: Visitor;

  beforeAll(async () => {
    const replicas = setting === 'two replicas on PostgreSQL';
    first = await startTestHub({ database: replicas ? 'postgres' : 'sqlite' });
    second = replicas ? await startTestHub({ env: { DATABASE_URL: first.databaseUrl! } }) : first;
    ada = await join('ada', { work: { capacity: 10, mode: 'claim' } });
    bob = await join('bob', { work: { capacity: 10, mode: 'claim', types: ['words', 'twice'] } });
    eve = await join('eve', {});
  });

  afterAll(async () => {
    if (second !== first) await second.stop();
    await first.stop();
  });

  const join = async (nodeId: string, profile: object) => {
    const visitor = await joinByHttp(first, nodeId, profile);
    await vi.waitFor(async () => expect((await ask('GET', '/nodes', visitor)).status).toBe(200), 10_000);
    return visitor;
  };
  /** Asks the second replica; as a node or, without one, as an operator. */
  const ask = (
    method: string,
    path: string,
    visitor?: Visitor,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Response> => call(second, method, path, { token: visitor?.token ?? first.adminToken, body, headers });
  const submit = async (task: object, visitor?: Visitor) => {
    const { status, body } = await ask('POST', '/tasks', visitor, task);
    expect([status, body.code]).toEqual([201, undefined]);
    return { id: String(body.task_id), position: Number(body.position) };
  };
  const claim = async (visitor: Visitor, wish: object = { wait_ms: 5_000 }) => {
    const { status, body } = await ask('POST', '/tasks/claim', visitor, wish);
    expect([status, body.code]).toEqual([200, undefined]);
    return body.task as Assigned | null;
  };
  const report = (visitor: Visitor, { task_id, lease }: Assigned, what: string, more: object = {}) =>
    ask('POST', `/tasks/${task_id}/${what}`, visitor, { lease, ...more });
  const read = async (id: string, position: unknown, visitor?: Visitor) => {
    const { status, body } = await ask('GET', `/tasks/${id}?min_position=${position}`, visitor);
    expect(status).toBe(200);
    return body.task as Record<string, unknown>;
  };

  it('a node claims what it can do, says how far it is, and hands in the result', async () => {
    const { id, position } = await submit({ type: 'words', payload: { text: 'a b' }, priority: 8 }, eve);
    expect(await read(id, position)).toMatchObject({
      status: 'pending',
      priority: 8,
      submitter: 'node:eve',
      attempts: [],
    });
    const task = await claim(bob, { types: ['words'], wait_ms: 5_000 });
    expect(task).toMatchObject({ task_id: id, type: 'words', payload: { text: 'a b' }, lease: 1, attempt: 1 });
    expect((await report(bob, task!, 'started')).status).toBe(200);
    const told = await report(bob, task!, 'progress', { percent: 40, message: 'one of two' });
    expect(told).toMatchObject({ status: 200, body: { recorded: true } });
    expect(await read(id, told.body.position)).toMatchObject({ status: 'running', percent: 40, message: 'one of two' });
    const done = await report(bob, task!, 'complete', { result: { words: 2 } });
    expect(done.status).toBe(200);
    expect(await read(id, done.body.position, eve)).toMatchObject({
      status: 'completed',
      node_id: 'bob',
      content: 'shown',
      payload: { text: 'a b' },
      result: { words: 2 },
      attempts: [{ lease: 1, node_id: 'bob', how: 'claim', end: 'completed' }],
    });
  });

  it('shows what is in a task to those whom it concerns, and how it stands to everyone', async () => {
    const callback = { kind: 'webhook', url: 'https://example.com/hook?secret=1' };
    const { id } = await submit({ type: 'words', payload: 'mine', callback }, eve);
    const task = await claim(bob);
    const { body } = await report(bob, task!, 'complete', { result: 'done' });
    for (const visitor of [eve, bob, undefined]) {
      const seen = await read(id, body.position, visitor);
      expect(seen).toMatchObject({ content: 'shown', payload: 'mine', result: 'done', callback });
    }
    const seen = await read(id, body.position, ada);
    expect(seen).toMatchObject({ content: 'withheld', status: 'completed', callback: { kind: 'webhook' } });
    expect(JSON.stringify(seen)).not.toMatch(/mine|"done"|secret/);
  });

  it('tells what a node said of the work to those whom the task concerns only', async () => {
    const { id } = await submit({ type: 'words', payload: 'mine', max_attempts: 1 }, eve);
    const task = await claim(bob);
    await report(bob, task!, 'progress', { percent: 40, message: 'at page "mine"' });
    const error = { code: 'unreadable', message: 'cannot read "mine"' };
    const { body } = await report(bob, task!, 'fail', { error });
    for (const visitor of [eve, bob, undefined]) {
      expect(await read(id, body.position, visitor)).toMatchObject({ message: 'at page "mine"', error, percent: 40 });
      const listed = await ask('GET', `/tasks?min_position=${body.position}&limit=1`, visitor);
      expect(listed.body.tasks).toMatchObject([{ task_id: id, message: 'at page "mine"', error }]);
    }
    const withheld = {
      task_id: id,
      status: 'failed',
      percent: 40,
      message: null,
      error: { code: 'unreadable', message: '' },
    };
    expect(await read(id, body.position, ada)).toMatchObject(withheld);
    const listed = await ask('GET', `/tasks?min_position=${body.position}&limit=1`, ada);
    expect(listed.body.tasks).toMatchObject([withheld]);
    expect(JSON.stringify([await read(id, 0, ada), listed.body])).not.toContain('mine');
  });

  it('says why a task went to a node: who could have, with their scores', async () => {
    const nodes = await Promise.all(
      ['pam', 'pip'].map(async (nodeId, at) => {
        const node = new FederationNode({ url: first.url, nodeId, key: await generateKey() });
        node.work({ pushed: () => nodeId }, { capacity: at + 2 });
        return node.connect();
      }),
    );
    const { id } = await submit({ type: 'pushed' }, eve);
    const seen = await vi.waitFor(async () => {
      const task = await read(id, 0, eve);
      expect(task.status).toBe('completed');
      return task as { node_id: string; result: string; choice: { considered: number; candidates: object[] } };
    }, 10_000);
    expect(seen.result).toBe(seen.node_id);
    expect(seen.choice.considered).toBe(2);
    const capacity = seen.node_id === 'pam' ? 2 : 3;
    expect(seen.choice.candidates[0]).toMatchObject({
      node_id: seen.node_id,
      score: expect.any(Number),
      why: { capacity },
    });
    for (const node of nodes) await node.leave();
  });

  it('gives tasks to a node that says only after it joined that it takes them', async () => {
    const node = new FederationNode({ url: first.url, nodeId: 'late', key: await generateKey() });
    await node.connect();
    const { id } = await submit({ type: 'afterwards' }, eve);
    node.work({ afterwards: ({ attempt }) => attempt });
    await vi.waitFor(
      async () => expect(await read(id, 0, eve)).toMatchObject({ status: 'completed', result: 1 }),
      10_000,
    );
    await node.leave();
  });

  it('tells a node of the end of its task that came while its connection was cut', async () => {
    const wire = await cuttable(first.port);
    const handing = new FederationNode({ url: wire.url, nodeId: 'hal', key: await generateKey() });
    try {
      await handing.connect();
      const handle = await handing.submit({ type: 'words', payload: 'a b c' });
      const done = handle.done();
      const task = await claim(bob);
      wire.cut();
      expect((await report(bob, task!, 'complete', { result: 3 })).status).toBe(200);
      wire.mend();
      expect(await done).toBe(3);
    } finally {
      handing.close();
      await wire.close();
    }
  });

  it('lets a claim wait until there is a task, and go without one', async () => {
    expect(await claim(bob, { wait_ms: 0 })).toBeNull();
    const waiting = claim(bob, { wait_ms: 10_000 });
    await new Promise((later) => setTimeout(later, 200));
    const { id } = await submit({ type: 'words' }, eve);
    const task = await waiting;
    expect(task?.task_id).toBe(id);
    expect((await report(bob, task!, 'complete')).status).toBe(200);
  });

  it('gives nothing to a claim whose asker is gone', async () => {
    const gone = new AbortController();
    const lost = fetch(`${second.url}/api/federation/tasks/claim`, {
      method: 'POST',
      headers: { authorization: `Bearer ${bob.token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ wait_ms: 20_000 }),
      signal: gone.signal,
    }).catch((error: Error) => error.name);
    await new Promise((later) => setTimeout(later, 300));
    gone.abort();
    expect(await lost).toBe('AbortError');
    await new Promise((later) => setTimeout(later, 300));
    const { id } = await submit({ type: 'words' }, eve);
    const task = await claim(bob);
    expect(task).toMatchObject({ task_id: id, lease: 1 });
    await report(bob, task!, 'complete');
  });

  it('two claims that wait under one key get one task, and what comes next goes to others', async () => {
    const key = { 'idempotency-key': 'waits twice' };
    const waits = () => ask('POST', '/tasks/claim', bob, { wait_ms: 6_000 }, key);
    const both = [waits(), waits()];
    await new Promise((later) => setTimeout(later, 300));
    const one = await submit({ type: 'words', payload: 'one' }, eve);
    const got = await Promise.race(both);
    expect(got.body.task).toMatchObject({ task_id: one.id, payload: 'one' });
    const two = await submit({ type: 'words', payload: 'two' }, eve);
    for (const { body } of await Promise.all(both))
      expect(body.task).toMatchObject({ task_id: one.id, payload: 'one' });
    const next = await claim(bob);
    expect(next).toMatchObject({ task_id: two.id, payload: 'two', lease: 1 });
    const other = await ask('POST', '/tasks/claim', bob, { types: ['words'] }, key);
    expect(other).toMatchObject({ status: 422, body: { code: 'idempotency_mismatch' } });
    await report(bob, got.body.task as Assigned, 'complete');
    await report(bob, next!, 'complete');
  });

  it('a task wakes a claim that asked for its type, not one that asked for another', async () => {
    const waiting = claim(ada, { types: ['rare'], wait_ms: 8_000 });
    await new Promise((later) => setTimeout(later, 200));
    const [same, other] = [claim(ada, { types: ['words'], wait_ms: 8_000 }), claim(bob, { wait_ms: 8_000 })];
    await new Promise((later) => setTimeout(later, 200));
    const since = performance.now();
    const ids = [(await submit({ type: 'words' }, eve)).id, (await submit({ type: 'words' }, eve)).id];
    const got = [await same, await other];
    expect(performance.now() - since).toBeLessThan(4_000);
    expect(got.map((task) => task?.task_id).sort()).toEqual([...ids].sort());
    await Promise.all([report(ada, got[0]!, 'complete'), report(bob, got[1]!, 'complete')]);
    expect(await waiting).toBeNull();
  });

  it('a node that is blocked while its claim waits is given nothing', async () => {
    const mallory = await join('mallory', { work: { capacity: 10, mode: 'claim', types: ['secrets'] } });
    const waiting = ask('POST', '/tasks/claim', mallory, { wait_ms: 6_000 });
    await new Promise((later) => setTimeout(later, 300));
    await ask('POST', '/access/block/mallory', undefined, { reason: 'test' });
    const { id, position } = await submit({ type: 'secrets', payload: 'for members' }, eve);
    expect(await waiting).toMatchObject({ status: 403, body: { code: 'access_blocked' } });
    expect(await read(id, position)).toMatchObject({ status: 'pending', attempts: [] });
    await ask('POST', `/tasks/${id}/cancel`);
  });

  it('one node waits with 64 claims at most, and leaves room for the others', async () => {
    const waiting = Array.from({ length: 64 }, () =>
      ask('POST', '/tasks/claim', ada, { types: ['rare'], wait_ms: 2_500 }),
    );
    await new Promise((later) => setTimeout(later, 1_000));
    const more = await ask('POST', '/tasks/claim', ada, { types: ['rare'], wait_ms: 2_500 });
    expect(more).toMatchObject({ status: 503, body: { code: 'queue_full' } });
    expect(await claim(bob, { wait_ms: 100 })).toBeNull();
    for (const { body } of await Promise.all(waiting)) expect(body.task).toBeNull();
  });

  it('is for nodes: an operator does not do tasks', async () => {
    const { id } = await submit({ type: 'nobody' });
    expect(await ask('POST', '/tasks/claim', undefined, {})).toMatchObject({
      status: 403,
      body: { code: 'forbidden' },
    });
    const started = await ask('POST', `/tasks/${id}/started`, undefined, { lease: 1 });
    expect(started).toMatchObject({ status: 403, body: { code: 'forbidden' } });
    await ask('POST', `/tasks/${id}/cancel`);
  });

  it('knows a submission by its key', async () => {
    const key = { 'idempotency-key': 'once' };
    const [one, two] = [
      await ask('POST', '/tasks', eve, { type: 'nobody' }, key),
      await ask('POST', '/tasks', eve, { type: 'nobody' }, key),
    ];
    expect([one.status, two.body]).toEqual([201, one.body]);
    const other = await ask('POST', '/tasks', eve, { type: 'nobody', priority: 1 }, key);
    expect(other).toMatchObject({ status: 422, body: { code: 'idempotency_mismatch' } });
    await ask('POST', `/tasks/${one.body.task_id}/cancel`);
  });

  it('tries a task again that failed, refuses the old lease, and gives up after so many attempts', async () => {
    const backoff = { kind: 'fixed', delay_ms: 0, max_ms: 0 };
    const { id } = await submit({ type: 'twice', max_attempts: 2, backoff }, eve);
    const once = await claim(bob);
    const error = { code: 'no_luck', message: 'not this time' };
    expect(await report(bob, once!, 'fail', { error })).toMatchObject({ status: 200, body: { status: 'pending' } });
    const again = await claim(bob);
    expect(again).toMatchObject({ task_id: id, lease: 2, attempt: 2 });
    const late = await report(bob, once!, 'complete', { result: 'late' });
    expect(late).toMatchObject({ status: 409, body: { code: 'lease_lost' } });
    const stolen = await report(ada, again!, 'complete', { result: 'stolen' });
    expect(stolen).toMatchObject({ status: 409, body: { code: 'lease_lost' } });
    const failed = await report(bob, again!, 'fail', { error });
    expect(failed).toMatchObject({ status: 200, body: { status: 'failed' } });
    const over = await report(bob, again!, 'complete');
    expect(over).toMatchObject({ status: 409, body: { code: 'task_over' } });
    expect(await read(id, failed.body.position)).toMatchObject({ status: 'failed', error, attempts: [{}, {}] });

    const refused = await ask('POST', `/tasks/${id}/retry`, ada);
    expect(refused).toMatchObject({ status: 403, body: { code: 'forbidden' } });
    expect(await ask('POST', `/tasks/${id}/retry`, eve)).toMatchObject({ status: 200, body: { status: 'pending' } });
    const third = await claim(bob);
    expect(third).toMatchObject({ task_id: id, lease: 3 });
    expect((await report(bob, third!, 'complete')).status).toBe(200);
    const done = await ask('POST', `/tasks/${id}/retry`, eve);
    expect(done).toMatchObject({ status: 409, body: { code: 'conflict' } });
  });

  it('says what a task waits for', async () => {
    const requirements = { capabilities: ['wings'], labels: { zone: 'b' } };
    const rare = await submit({ type: 'words', requirements }, eve);
    expect(await read(rare.id, rare.position, ada)).toMatchObject({ missing: ['capability wings', 'label zone=b'] });
    const { id, position } = await submit({ type: 'words' }, eve);
    expect(await read(id, position)).toMatchObject({ status: 'pending', missing: [] });
    for (const task of [rare.id, id]) {
      const { body } = await ask('POST', `/tasks/${task}/cancel`, eve);
      expect(await read(task, body.position)).toMatchObject({ missing: null });
    }
  });

  it('is cancelled by whoever handed it in, or who governs, and by nobody else', async () => {
    const { id } = await submit({ type: 'words' }, eve);
    const task = await claim(bob);
    const stranger = await ask('POST', `/tasks/${id}/cancel`, ada, { reason: 'mine now' });
    expect(stranger).toMatchObject({ status: 403, body: { code: 'forbidden' } });
    const cancelled = await ask('POST', `/tasks/${id}/cancel`, eve, { reason: 'not needed' });
    expect(cancelled).toMatchObject({ status: 200, body: { status: 'cancelled' } });
    const late = await report(bob, task!, 'complete');
    expect(late).toMatchObject({ status: 409, body: { code: 'task_over' } });
    const other = await submit({ type: 'words' }, eve);
    expect((await ask('POST', `/tasks/${other.id}/cancel`)).status).toBe(200);
    expect(await ask('POST', '/tasks/nosuch/cancel')).toMatchObject({ status: 404, body: { code: 'not_found' } });
  });

  it('lists tasks by status, type, node and submitter, the newest first, page by page', async () => {
    const ids: string[] = [];
    let position = 0;
    for (let at = 0; at < 5; at++) {
      const made = await submit({ type: 'listed' }, eve);
      ids.unshift(made.id);
      position = made.position;
    }
    const seen: string[] = [];
    let cursor: unknown = null;
    do {
      const query: string = `type=listed&limit=2&min_position=${position}${cursor === null ? '' : `&cursor=${cursor}`}`;
      const { body } = await ask('GET', `/tasks?${query}`, ada);
      seen.push(...(body.tasks as { task_id: string }[]).map(({ task_id }) => task_id));
      cursor = body.next_cursor;
    } while (cursor !== null);
    expect(seen).toEqual(ids);
    const task = await claim(ada, { types: ['listed'], wait_ms: 5_000 });
    const { body } = await report(ada, task!, 'complete');
    for (const [query, count] of [
      ['status=completed&node=ada', 1],
      ['status=pending', 4],
      ['submitter=node:eve', 5],
      ['submitter=node:ada', 0],
    ] as const) {
      const listed = await ask('GET', `/tasks?type=listed&min_position=${body.position}&${query}`, ada);
      expect(listed.body.tasks, query).toHaveLength(count);
    }
    expect(await ask('GET', '/tasks?cursor=MA', ada)).toMatchObject({ status: 400, body: { code: 'cursor_invalid' } });
    for (const id of ids) await ask('POST', `/tasks/${id}/cancel`);
  });

  it('tells what waits, for how long, and what is missing for it', async () => {
    const requirements = { capabilities: ['gpu'], model: 'llama', labels: { room: 'cellar' } };
    const rare = await submit({ type: 'words', requirements, priority: 10 }, eve);
    const away = await submit({ type: 'words', requirements: { node: 'zoe' } }, eve);
    const { body } = await ask('GET', `/tasks/queue?min_position=${away.position}`, ada);
    expect(body).toMatchObject({ pending: 2, assigned: 0, running: 0 });
    expect(body.oldest_pending_ms).toBeGreaterThanOrEqual(0);
    expect(body.by_priority).toEqual([
      { priority: 10, pending: 1, assigned: 0, running: 0 },
      { priority: 5, pending: 1, assigned: 0, running: 0 },
    ]);
    expect(body.waiting_for).toMatchObject([
      { type: 'words', count: 1, missing: ['capability gpu', 'label room=cellar', 'model llama'] },
      { type: 'words', count: 1, missing: ['node zoe is not online'] },
    ]);
    await vi.waitFor(async () => expect((await ask('GET', '/tasks/queue')).body.unplaceable).toBe(2), 10_000);
    for (const { id } of [rare, away]) await ask('POST', `/tasks/${id}/cancel`);
  });

  it('takes a payload of 256 KiB, and none that is larger', async () => {
    const fits = await submit({ type: 'nobody', payload: 'x'.repeat(256 * 1024 - 2) });
    await ask('POST', `/tasks/${fits.id}/cancel`);
    const large = await ask('POST', '/tasks', undefined, { type: 'nobody', payload: 'x'.repeat(256 * 1024 + 1) });
    expect(large).toMatchObject({ status: 413, body: { code: 'payload_too_large' } });
  });

  it('refuses what is no submission', async () => {
    for (const wrong of [
      {},
      { type: '' },
      { type: 'a', priority: 11 },
      { type: 'a', nonsense: 1 },
      { type: 'a', requirements: { gpu: true } },
    ]) {
      expect((await ask('POST', '/tasks', eve, wrong)).body.code, JSON.stringify(wrong)).toBe('invalid_input');
    }
    const private_ = { type: 'a', callback: { kind: 'webhook', url: 'http://127.0.0.1/hook' } };
    expect(await ask('POST', '/tasks', eve, private_)).toMatchObject({ status: 403, body: { code: 'egress_refused' } });
  });
});

/** A wire to a port that can be cut, and mended. */
async function cuttable(port: number) {
  const sockets = new Set<Socket>();
  let whole = true;
  const server = createServer((near) => {
    if (!whole) return void near.destroy();
    const far = connect(port, '127.0.0.1');
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const cut = () => {
    whole = false;
    for (const socket of sockets) socket.destroy();
  };
  return {
    url: `http://127.0.0.1:${(server.address() as { port: number }).port}`, // a TCP server's address has a port
    cut,
    mend: () => {
      whole = true;
    },
    close: () => {
      cut();
      return new Promise((closed) => server.close(closed));
    },
  };
}
