/** Tasks from hand to hand: submitted anywhere, given to nodes over their sockets, completed once, whatever goes wrong meanwhile. */
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { FederationNode, generateKey } from '../../src/client/node.ts';
import type { NodeProfile } from '../../src/events/node.ts';
import type { AssignedTask } from '../../src/protocol.ts';
import { call, defects } from '../security/visitor.ts';
import { TaskNode } from '../services/task-node.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

const settings = ['one hub on SQLite', 'two replicas on PostgreSQL', 'two replicas on PostgreSQL and Redis'] as const;
type Act = (task: AssignedTask, node: TaskNode) => unknown;
interface Options extends NodeProfile {
  readonly type?: string;
  readonly act?: Act;
}
interface Told {
  readonly type: string;
  readonly data: Record<string, unknown>;
}

const does: Act = async (task, node) => node.complete(task, { did: task.payload });

describe.each(settings)('tasks of %s', (setting) => {
  let first: TestHub;
  /** Another replica; the same hub where there is one only. */
  let second: TestHub;
  const nodes: TaskNode[] = [];
  const servers: Server[] = [];
  const sdk: FederationNode[] = [];
  let count = 0;

  beforeAll(async () => {
    const redis = setting.endsWith('Redis');
    const replicas = setting.startsWith('two');
    const env = { FEDERATION_EGRESS_ALLOW: '127.0.0.1' };
    first = await startTestHub({ database: replicas ? 'postgres' : 'sqlite', redis, env });
    second = replicas ? await startTestHub({ redis, env: { ...env, DATABASE_URL: first.databaseUrl! } }) : first;
  });

  afterEach(() => {
    for (const node of nodes.splice(0)) node.close();
    for (const node of sdk.splice(0)) node.close();
    for (const server of servers.splice(0)) server.close();
  });

  afterAll(async () => {
    for (const hub of new Set([first, second])) expect(defects(hub.stderr())).toEqual([]);
    if (second !== first) await second.stop();
    await first.stop();
  });

  /** A name that no other test has. */
  const fresh = (word: string) => `${word}-${count++}`;
  const worker = async (hub: TestHub, { type, act, ...profile }: Options = {}) => {
    const work = { capacity: 10, ...profile.work, ...(type && { types: [type] }) };
    const node = await TaskNode.join(hub, fresh('node'), { profile: { ...profile, work }, ...(act && { act }) });
    nodes.push(node);
    return node;
  };
  /** A node that hands tasks in and takes none. */
  const asker = (hub = first) => worker(hub, { type: 'nothing' });
  const submit = async (node: TaskNode, submission: object) => {
    const answer = await node.submit({ callback: { kind: 'socket' }, ...submission });
    expect(answer).toMatchObject({ ok: true });
    return String(answer.task_id);
  };
  const finished = async (node: TaskNode, taskId: string, ms = 20_000) => {
    await node.socket.until(() => node.told('federation:task:finished', taskId).length > 0, ms);
    return node.told('federation:task:finished', taskId)[0];
  };
  const given = async (node: TaskNode, many = 1) => {
    await node.socket.until(() => node.tasks.length >= many, 15_000);
    expect(node.tasks.length).toBe(many);
    return node.tasks[many - 1]!;
  };
  /** The task as the other replica shows it once it knows of the end. */
  const read = async (taskId: string, position: unknown = 0, token = first.adminToken) => {
    const { body } = await call(second, 'GET', `/tasks/${taskId}?min_position=${position}`, { token });
    return body.task as Record<string, unknown>;
  };
  const counts = async (hub: TestHub) =>
    (await call(hub, 'GET', '/tasks/queue', { token: first.adminToken })).body as Record<string, unknown>;

  it('a task goes to a node that takes its type, and its result comes back', async () => {
    const type = fresh('type');
    const act: Act = async (task, node) => {
      await node.start(task);
      await node.complete(task, { words: String(task.payload).split(' ').length });
    };
    const doer = await worker(second, { type, act });
    const ada = await asker();
    const taskId = await submit(ada, { type, payload: 'one two three' });
    const end = await finished(ada, taskId);
    expect(end).toMatchObject({ status: 'completed', result: { words: 3 } });
    const order = { task_id: taskId, type, payload: 'one two three', lease: 1, attempt: 1, priority: 5 };
    expect(doer.tasks).toMatchObject([order]);
    expect(ada.tasks).toEqual([]);
    expect(await read(taskId, end!.position)).toMatchObject({
      status: 'completed',
      result: { words: 3 },
      node_id: doer.nodeId,
      choice: { considered: 1, candidates: [{ node_id: doer.nodeId, why: { load: 0, capacity: 10 } }] },
      attempts: [{ lease: 1, node_id: doer.nodeId, how: 'push', end: 'completed' }],
    });
  });

  it('hundreds of tasks go over nodes at both replicas, each is completed once', async () => {
    const type = fresh('type');
    const doers = [await worker(first, { type, act: does }), await worker(second, { type, act: does })];
    const ada = await asker();
    const ids = await Promise.all(Array.from({ length: 200 }, (_, at) => submit(ada, { type, payload: at })));
    for (const [at, taskId] of ids.entries())
      expect(await finished(ada, taskId)).toMatchObject({ result: { did: at } });
    const done = doers.flatMap(({ tasks }) => tasks.map(({ task_id }) => task_id));
    expect(done.sort()).toEqual([...ids].sort());
    for (const doer of doers) expect(doer.tasks.length).toBeGreaterThan(20);
  });

  it('a node gets only what it has all of: capabilities, labels, model with context, or its own name', async () => {
    const type = fresh('type');
    const ada = await asker();
    const plain = await worker(first, { type, act: does });
    const able = await worker(second, { type, act: does, capabilities: ['gpu', 'ocr'], labels: { zone: 'a' } });
    await able.socket.ask('federation:models', { models: [{ model_id: 'llama', context_length: 8_192 }] });
    const wishes = [
      { capabilities: ['ocr', 'gpu'] },
      { labels: { zone: 'a' } },
      { model: 'llama' },
      { model: 'llama', min_context: 8_192 },
      { node: able.nodeId },
      { node: able.nodeId, capabilities: ['gpu'], labels: { zone: 'a' }, model: 'llama' },
    ];
    for (const requirements of wishes) {
      const taskId = await submit(ada, { type, requirements });
      expect(await finished(ada, taskId), JSON.stringify(requirements)).toMatchObject({ status: 'completed' });
    }
    expect(plain.tasks).toEqual([]);
    const impossible = [
      { capabilities: ['gpu', 'wings'] },
      { labels: { zone: 'b' } },
      { model: 'llama', min_context: 8_193 },
      { node: plain.nodeId, capabilities: ['gpu'] },
    ];
    const before = able.tasks.length;
    for (const requirements of impossible) await submit(ada, { type, requirements });
    for (const hub of [first, second]) await expect.poll(() => counts(hub)).toMatchObject({ unplaceable: 4 });
    expect([plain.tasks.length, able.tasks.length]).toEqual([0, before]);
  });

  it('what no node can do waits, blocks nobody, and goes out the moment a node appears that can', async () => {
    const [type, rare] = [fresh('type'), fresh('rare')];
    const ada = await asker();
    const waiting = await Promise.all(Array.from({ length: 20 }, () => submit(ada, { type: rare, priority: 10 })));
    await worker(second, { type, act: does });
    expect(await finished(ada, await submit(ada, { type, priority: 1 }))).toMatchObject({ status: 'completed' });
    await worker(first, { type: rare, act: does });
    for (const taskId of waiting) expect(await finished(ada, taskId)).toMatchObject({ status: 'completed' });
  });

  it('the most urgent goes first, and of equals the older', async () => {
    const type = fresh('type');
    const ada = await asker();
    const doer = await worker(second, { type, work: { capacity: 1 } });
    await submit(ada, { type, payload: 'blocker' });
    const blocker = await given(doer);
    for (const [payload, priority] of [
      ['a', 1],
      ['b', 5],
      ['c', 10],
      ['d', 5],
    ] as const) {
      await submit(ada, { type, payload, priority });
    }
    await expect.poll(async () => (await counts(second)).pending).toBeGreaterThanOrEqual(4);
    let task = blocker;
    for (let done = 1; done <= 4; done++) {
      await doer.complete(task);
      task = await given(doer, done + 1);
    }
    await doer.complete(task);
    expect(doer.tasks.map(({ payload }) => payload)).toEqual(['blocker', 'c', 'b', 'd', 'a']);
  });

  it('a failed attempt is followed by the next after its backoff; when none is left, the task fails and can be tried again', async () => {
    const type = fresh('type');
    const failing: Act = async (task, node) => {
      if (task.payload === 'never' && node.tasks.length <= 3) await node.fail(task);
      else if (task.payload === 'third' && task.attempt < 3) await node.fail(task);
      else await node.complete(task, task.attempt);
    };
    const ada = await asker();
    const eve = await asker(second);
    const backoff = { kind: 'fixed', delay_ms: 200, max_ms: 200 };
    await worker(second, { type, act: failing });
    const dead = await submit(ada, { type, payload: 'never', backoff, max_attempts: 3 });
    const end = await finished(ada, dead);
    expect(end).toMatchObject({ status: 'failed', error: { code: 'broken' } });
    const { attempts } = (await read(dead, end!.position)) as {
      attempts: { ended_at: string; assigned_at: string; end: string }[];
    };
    expect(attempts.map(({ end }) => end)).toEqual(['reported', 'reported', 'failed']);
    for (const [at, { assigned_at }] of attempts.entries()) {
      if (at > 0) expect(Date.parse(assigned_at) - Date.parse(attempts[at - 1]!.ended_at)).toBeGreaterThanOrEqual(150);
    }
    const alive = await submit(ada, { type, payload: 'third', backoff });
    expect(await finished(ada, alive)).toMatchObject({ status: 'completed', result: 3 });

    const retry = (token: string) => call(second, 'POST', `/tasks/${dead}/retry`, { token });
    expect((await retry(eve.token)).body.code).toBe('forbidden');
    expect((await retry(ada.token)).body).toMatchObject({ status: 'pending' });
    await ada.socket.until(() => ada.told('federation:task:finished', dead).length === 2);
    expect(ada.told('federation:task:finished', dead)[1]).toMatchObject({ status: 'completed', result: 1 });
  });

  it('what is of no use to try again fails at once', async () => {
    const type = fresh('type');
    const ada = await asker();
    await worker(second, { type, act: (task, node) => node.fail(task, { retryable: false }) });
    const end = await finished(ada, await submit(ada, { type }));
    expect(end).toMatchObject({ status: 'failed' });
    expect(await read(String(end!.task_id), end!.position)).toMatchObject({ attempts: [{ end: 'failed' }] });
  });

  it('a node that declines is passed over', async () => {
    const type = fresh('type');
    const ada = await asker();
    const unwilling = await worker(second, {
      type,
      act: (task, node) => node.fail(task, { declined: true }),
      work: { capacity: 100 },
    });
    const taskId = await submit(ada, { type, max_attempts: 1 });
    await given(unwilling);
    const doer = await worker(first, { type, act: does });
    expect(await finished(ada, taskId)).toMatchObject({ status: 'completed' });
    expect(doer.tasks).toMatchObject([{ lease: 2, attempt: 1 }]);
  });

  it('cancelling reaches the node at work, and what it says afterwards is refused', async () => {
    const type = fresh('type');
    const [ada, eve] = [await asker(), await asker()];
    const doer = await worker(second, { type });
    const taskId = await submit(ada, { type });
    const task = await given(doer);
    await doer.start(task);
    const cancel = (token: string) =>
      call(second, 'POST', `/tasks/${taskId}/cancel`, { token, body: { reason: 'no need' } });
    expect((await cancel(eve.token)).body.code).toBe('forbidden');
    expect((await cancel(ada.token)).body).toMatchObject({ status: 'cancelled' });
    expect(await finished(ada, taskId)).toMatchObject({ status: 'cancelled' });
    await doer.socket.until(() => doer.told('federation:task:cancelled', taskId).length > 0);
    expect(doer.told('federation:task:cancelled', taskId)).toMatchObject([{ lease: 1, reason: 'no need' }]);
    expect(await doer.complete(task)).toMatchObject({ ok: false, error: { code: 'task_over' } });
  });

  it('cancelling reaches a node that works on what it handed in itself', async () => {
    const type = fresh('type');
    const doer = await worker(second, { type });
    const taskId = await submit(doer, { type });
    await doer.start(await given(doer));
    expect((await call(first, 'POST', `/tasks/${taskId}/cancel`, { token: doer.token })).status).toBe(200);
    await doer.socket.until(() => doer.told('federation:task:cancelled', taskId).length > 0);
    expect(doer.told('federation:task:cancelled', taskId)).toMatchObject([{ lease: 1, reason: 'cancelled' }]);
  });

  it('who takes the name of a node that was removed has no part in the tasks of that node', async () => {
    const type = fresh('type');
    const [ada, doer] = [
      await asker(),
      await worker(second, { type, act: (task, node) => node.complete(task, 'made') }),
    ];
    const done = await submit(ada, { type, payload: 'for ada', sensitive: true });
    const dead = await submit(ada, { type: fresh('rare'), deadline: new Date(Date.now() + 500).toISOString() });
    const held = await submit(ada, { type: fresh('rare'), payload: 'for ada' });
    await finished(ada, done);
    await finished(ada, dead);
    const token = first.adminToken;
    for (const { nodeId } of [ada, doer]) await call(first, 'DELETE', `/nodes/${nodeId}`, { token });
    for (const { nodeId } of [ada, doer]) {
      const other = await TaskNode.join(first, nodeId, { profile: { work: { capacity: 1, types: ['nothing'] } } });
      nodes.push(other);
      for (const taskId of [done, held]) {
        const seen = await read(taskId, 0, other.token);
        expect(seen).toMatchObject({ submitter: `node:${ada.nodeId}`, content: 'withheld' });
        expect([seen.payload, seen.result]).toEqual([undefined, undefined]);
      }
      const change = async (taskId: string, what: string) =>
        (await call(second, 'POST', `/tasks/${taskId}/${what}`, { token: other.token })).body.code;
      expect([await change(held, 'cancel'), await change(dead, 'retry')]).toEqual(['forbidden', 'forbidden']);
      await call(first, 'POST', `/tasks/${held}/cancel`, { token });
      await new Promise((later) => setTimeout(later, 300));
      expect(other.told('federation:task:finished', held)).toEqual([]);
    }
  });

  it('a task ends at its deadline, whoever has it', async () => {
    const type = fresh('type');
    const ada = await asker();
    const doer = await worker(second, { type, act: (task, node) => node.start(task) });
    const deadline = new Date(Date.now() + 1_500).toISOString();
    const [held, waiting] = [
      await submit(ada, { type, deadline }),
      await submit(ada, { type: fresh('rare'), deadline }),
    ];
    for (const taskId of [held, waiting]) {
      expect(await finished(ada, taskId)).toMatchObject({ status: 'failed', error: { code: 'deadline' } });
    }
    await doer.socket.until(() => doer.told('federation:task:cancelled', held).length > 0);
    expect(doer.told('federation:task:cancelled', held)).toMatchObject([{ reason: 'deadline' }]);
    expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(deadline));
    expect(await ada.submit({ type, deadline })).toMatchObject({ ok: false, error: { code: 'invalid_input' } });
  });

  it('a node may ask for work: it gets what it can do at once, or waits until there is some', async () => {
    const [type, other] = [fresh('type'), fresh('other')];
    const ada = await asker();
    const doer = await worker(second, { work: { capacity: 1, mode: 'claim', types: [type, other] } });
    expect(await doer.claim()).toMatchObject({ ok: true, task: null });
    const ids = [await submit(ada, { type, payload: 'a' }), await submit(ada, { type: other, payload: 'b' })];
    await expect
      .poll(async () => (await doer.claim({ types: [other], wait_ms: 2_000 })).task)
      .toMatchObject({
        task_id: ids[1],
        payload: 'b',
      });
    const task = (await doer.claim({ wait_ms: 2_000 })).task as AssignedTask;
    expect(task).toMatchObject({ task_id: ids[0], lease: 1, attempt: 1 });
    expect(await read(ids[0]!, (await doer.start(task)).position)).toMatchObject({ status: 'running' }); // a claim is begun
    await doer.complete(task, 'done');
    expect(await finished(ada, ids[0]!)).toMatchObject({ status: 'completed', result: 'done' });

    const waits = doer.claim({ types: [type], wait_ms: 4_000 });
    await new Promise((done) => setTimeout(done, 300));
    const began = performance.now();
    const later = await submit(ada, { type, payload: 'c' });
    expect(await waits).toMatchObject({ task: { task_id: later, payload: 'c' } });
    expect(performance.now() - began).toBeLessThan(2_000);
    expect(doer.tasks).toEqual([]); // nothing is pushed to it
    await call(first, 'POST', `/tasks/${later}/cancel`, { token: ada.token });
  });

  it('of many that ask at both replicas, each task goes to one', async () => {
    const type = fresh('type');
    const ada = await asker();
    const claimers = await Promise.all(
      [first, second, first, second].map((hub) => worker(hub, { work: { capacity: 1, mode: 'claim', types: [type] } })),
    );
    const ids = await Promise.all(Array.from({ length: 40 }, () => submit(ada, { type })));
    const claimed = await Promise.all(
      claimers.map(async (node) => {
        const got: string[] = [];
        for (let task = await next(node); task; task = await next(node)) {
          got.push(task.task_id);
          await node.complete(task);
        }
        return got;
      }),
    );
    expect(claimed.flat().sort()).toEqual([...ids].sort());
  });
  const next = async (node: TaskNode) => (await node.claim({ wait_ms: 1_000 })).task as AssignedTask | null;

  it('a claim over HTTP that is asked again under its key gets the same task, and no second one', async () => {
    const type = fresh('type');
    const ada = await asker();
    const doer = await worker(second, { work: { capacity: 2, mode: 'claim', types: [type] } });
    const ids = [await submit(ada, { type }), await submit(ada, { type })];
    await expect.poll(async () => (await counts(second)).pending).toBeGreaterThanOrEqual(2);
    const claim = (key: string) =>
      call(second, 'POST', '/tasks/claim', { token: doer.token, body: {}, headers: { 'idempotency-key': key } });
    const [one, again] = [await claim('first'), await claim('first')];
    expect(one.body.task).toMatchObject({ type, lease: 1, attempt: 1 });
    expect(again.body.task).toMatchObject({ task_id: (one.body.task as AssignedTask).task_id, lease: 1, attempt: 1 });
    const other = (await claim('second')).body.task as AssignedTask;
    expect([(one.body.task as AssignedTask).task_id, other.task_id].sort()).toEqual([...ids].sort());
    await doer.complete(other);
    expect((await claim('second')).body.task).toBeNull(); // it is over
  });

  it('the SDK hands in, works and waits for the end', async () => {
    const type = fresh('type');
    const join = async (hub: TestHub, word: string) => {
      const node = new FederationNode({ url: hub.url, nodeId: fresh(word), key: await generateKey() });
      sdk.push(node);
      return node;
    };
    const [ada, bob] = [await join(first, 'ada'), await join(second, 'bob')];
    let tries = 0;
    bob.work(
      {
        [type]: (task) => {
          if (++tries < 3) throw new Error('not yet');
          return { words: String(task.payload).split(' ').length };
        },
      },
      { capacity: 2 },
    );
    await Promise.all([ada.connect(), bob.connect()]);
    const backoff = { kind: 'fixed', delay_ms: 50, max_ms: 50 } as const;
    const handle = await ada.submit({ type, payload: 'one two', backoff });
    expect(await handle.done()).toEqual({ words: 2 });
    expect(tries).toBe(3);
  });

  it('a key makes a task known: handed in again, it is the same task', async () => {
    const type = fresh('rare');
    const ada = await asker();
    const key = fresh('key');
    const made = await ada.submit({ type, key });
    expect(await ada.submit({ type, key })).toEqual(made);
    expect(await ada.submit({ type, key, priority: 9 })).toMatchObject({ error: { code: 'idempotency_mismatch' } });
    const headers = { 'idempotency-key': key };
    const post = () => call(second, 'POST', '/tasks', { token: ada.token, body: { type }, headers });
    const [one, two] = [await post(), await post()];
    expect(one.body.task_id).not.toBe(made.task_id); // another door, another command
    expect(two.body).toEqual(one.body);
  });

  it('a payload of 256 KiB passes, a larger one does not, nor does a larger result', async () => {
    const type = fresh('type');
    const ada = await asker();
    const doer = await worker(second, { type });
    const payload = 'x'.repeat(256 * 1024 - 2); // and its quotes
    const taskId = await submit(ada, { type, payload });
    expect(await ada.submit({ type, payload: `${payload}x` })).toMatchObject({ error: { code: 'payload_too_large' } });
    const inTwoBytes = 'é'.repeat(128 * 1024);
    expect(await ada.submit({ type, payload: inTwoBytes })).toMatchObject({ error: { code: 'payload_too_large' } });
    const task = await given(doer);
    expect(task.payload).toBe(payload);
    expect(await doer.complete(task, `${payload}x`)).toMatchObject({ error: { code: 'payload_too_large' } });
    expect(await doer.complete(task, payload)).toMatchObject({ ok: true });
    expect((await finished(ada, taskId))?.result).toBe(payload);
  });

  it('a node that comes back is told again what it has, under the same lease', async () => {
    const type = fresh('type');
    const ada = await asker();
    const doer = await worker(first, { type });
    const taskId = await submit(ada, { type, payload: 'again' });
    await doer.start(await given(doer));
    doer.close();
    const work = { capacity: 10, types: [type] };
    const back = await TaskNode.join(second, doer.nodeId, { key: doer.key, profile: { work }, act: does });
    nodes.push(back);
    expect(await finished(ada, taskId)).toMatchObject({ status: 'completed', result: { did: 'again' } });
    expect(back.tasks).toMatchObject([{ task_id: taskId, lease: 1, attempt: 1, payload: 'again' }]);
  });

  it('what a node had that leaves, is banned or is removed goes to another at once, and its word counts no more', async () => {
    const type = fresh('type');
    const ada = await asker();
    const [leaver, banned, removed] = [
      await worker(second, { type }),
      await worker(second, { type }),
      await worker(second, { type }),
    ];
    const holders = [leaver!, banned!, removed!];
    const ids = [];
    for (const { nodeId } of holders)
      ids.push(await submit(ada, { type, requirements: { capabilities: [] }, payload: nodeId }));
    await expect.poll(() => holders.reduce((sum, { tasks }) => sum + tasks.length, 0), { timeout: 10_000 }).toBe(3);
    const doer = await worker(first, { type, act: does });
    await leaver!.socket.ask('federation:leave', {});
    const token = first.adminToken;
    await call(first, 'POST', `/governance/bans/${banned!.nodeId}`, { token, body: { reason: 'test' } });
    await call(first, 'DELETE', `/nodes/${removed!.nodeId}`, { token });
    for (const taskId of ids) expect(await finished(ada, taskId, 8_000)).toMatchObject({ status: 'completed' });
    for (const task of doer.tasks) expect(task.lease).toBeGreaterThanOrEqual(2);
    const kept = leaver!.tasks[0];
    if (kept) expect(await leaver!.complete(kept)).toMatchObject({ ok: false, error: { code: 'lease_lost' } });
  });

  it('a sensitive task lies encrypted everywhere, and is plain only to the nodes that it concerns', async () => {
    const type = fresh('type');
    const ada = await asker();
    const doer = await worker(second, {
      type,
      act: (task, node) => node.complete(task, { answer: 'the-secret-answer' }),
    });
    const taskId = await submit(ada, { type, payload: { ask: 'the-secret-question' }, sensitive: true });
    const end = await finished(ada, taskId);
    expect(end).toMatchObject({ status: 'completed', result: { answer: 'the-secret-answer' } });
    expect(doer.tasks).toMatchObject([{ payload: { ask: 'the-secret-question' } }]);
    const shown = { payload: { ask: 'the-secret-question' }, result: { answer: 'the-secret-answer' } };
    expect(await read(taskId, end!.position, ada.token)).toMatchObject({ content: 'shown', ...shown });
    if (setting.includes('SQLite')) {
      const folder = `${first.folder}/data`;
      for (const name of await readdir(folder, { recursive: true })) {
        const bytes = await readFile(`${folder}/${name}`).catch(() => Buffer.alloc(0)); // a folder
        expect([name, bytes.includes('the-secret-')]).toEqual([name, false]);
      }
    }
    const token = first.adminToken;
    const erased = await call(first, 'DELETE', `/auth/data-keys/node:${ada.nodeId}`, { token });
    expect(erased.status).toBeLessThan(300);
    await expect.poll(() => read(taskId, 0, ada.token)).toMatchObject({ content: 'erased' });
  });

  it('a web address is told of the end, signed with the secret of whoever handed the task in, again until it listens', async () => {
    const type = fresh('type');
    const ada = await asker();
    await worker(second, { type, act: does });
    const calls: { body: string; headers: IncomingHttpHeaders }[] = [];
    const hook = createServer(async (request, response) => {
      const parts: Buffer[] = [];
      for await (const part of request) parts.push(part as Buffer);
      calls.push({ body: Buffer.concat(parts).toString(), headers: request.headers });
      response.writeHead(calls.length === 1 ? 500 : 204).end();
    });
    servers.push(hook);
    await once(hook.listen(0, '127.0.0.1'), 'listening');
    const url = `http://127.0.0.1:${(hook.address() as AddressInfo).port}/hook`;
    const taskId = await submit(ada, { type, payload: 7, callback: { kind: 'webhook', url } });
    await expect.poll(() => calls.length, { timeout: 15_000 }).toBe(2);
    const { body } = await call(first, 'GET', '/subscriptions/secret', { token: ada.token });
    const webhook = new Webhook(String(body.secret));
    for (const { body, headers } of calls) {
      const told = webhook.verify(body, headers as Record<string, string>) as Told;
      expect(told).toMatchObject({
        type: 'task.completed',
        data: { task_id: taskId, status: 'completed', result: { did: 7 } },
      });
    }
    expect(calls[0]!.headers['webhook-id']).toBe(calls[1]!.headers['webhook-id']);
    await expect.poll(() => read(taskId)).toMatchObject({ callback: { status: 'delivered' } });
    const called = await Promise.all([...new Set([first, second])].map((hub) => callsCounted(hub)));
    expect(called.reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(2);
    const inside = { kind: 'webhook', url: 'http://169.254.169.254/' };
    expect(await ada.submit({ type, callback: inside })).toMatchObject({ error: { code: 'egress_refused' } });
  });
});

/** Calls of callbacks that a replica says it made. */
async function callsCounted(hub: TestHub): Promise<number> {
  const text = await (await fetch(`${hub.url}/metrics`)).text();
  const lines = text.matchAll(/^federation_webhook_deliveries_total\{[^}]*kind="callback"[^}]*\} (\d+)$/gm);
  return [...lines].reduce((sum, [, count]) => sum + Number(count), 0);
}
