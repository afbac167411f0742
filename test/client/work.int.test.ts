/** Nodes that do work at a real socket: each assignment once, under its lease, and its end told until somebody answers. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test, vi } from 'vitest';
import {
  type AssignedTask,
  FederationNode,
  type FederationNodeOptions,
  generateKey,
  HubRefusal,
  TaskFailure,
} from '../../src/client/node.ts';
import type { ClientPacketName } from '../../src/protocol.ts';
import { type Peer, refusal, startPeer } from './peer.ts';

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const it of open.splice(0).reverse()) await it.close();
});

const time = '2026-01-01T00:00:00.000Z';
const taken = { position: 11, status: 'pending', recorded: true };

/** A hub that takes all that is said of tasks. */
async function aPeer(options: Parameters<typeof startPeer>[0] = {}): Promise<Peer> {
  const peer = await startPeer(options);
  peer.odd = answered;
  open.push(peer);
  return peer;
}

const answered: Peer['odd'] = (name) =>
  name === 'federation:task:submit'
    ? { task_id: 't1', position: 11 }
    : name.startsWith('federation:task:') || name === 'federation:models'
      ? taken
      : undefined;

/** As `answered`, but the first of these packets meets something else. */
function first(name: ClientPacketName, odd: ReturnType<Peer['odd']>): Peer['odd'] {
  let met = false;
  return (asked) => {
    if (asked !== name || met) return answered(asked);
    met = true;
    return odd;
  };
}

async function aNode(url: string, options: Partial<FederationNodeOptions> = {}) {
  const node = new FederationNode({ url, nodeId: 'alpha', key: await generateKey(), ...options });
  const errors: Error[] = [];
  node.on('error', (error) => errors.push(error));
  open.push(node);
  return { node, errors };
}

const taskOf = (more: Partial<AssignedTask> = {}): AssignedTask => ({
  task_id: 't1',
  type: 'words',
  priority: 5,
  lease: 1,
  attempt: 1,
  ack_by: time,
  ...more,
});
const assign = (peer: Peer, more: Partial<AssignedTask> = {}) =>
  peer.push('federation:task:assigned', { position: 12, time, task: taskOf(more) });
const said = (peer: Peer, name: string) =>
  peer.got.filter((got) => got.name === `federation:task:${name}`).map(({ packet }) => packet);
const saidOnce = (peer: Peer, name: string) =>
  vi.waitFor(() => {
    expect(said(peer, name)).toHaveLength(1);
    return said(peer, name)[0]!;
  }, 5_000);

describe('a node that works', () => {
  test('says in its registration what it takes', async () => {
    const peer = await aPeer();
    const { node } = await aNode(peer.url, { capabilities: ['gpu'] });
    node.work({ words: () => 1, hash: () => 2 }, { capacity: 3 });
    await node.connect();
    const registered = peer.got.find(({ name }) => name === 'federation:register');
    expect(registered?.packet).toMatchObject({
      capabilities: ['gpu'],
      work: { capacity: 3, types: ['hash', 'words'] },
    });
  });

  test('hands in what the handler made of the payload, and no word before that when it is quick', async () => {
    const peer = await aPeer();
    const { node } = await aNode(peer.url);
    node.work({ words: ({ payload }) => String(payload).split(' ').length });
    await node.connect();
    assign(peer, { payload: 'one two three' });
    expect(await saidOnce(peer, 'complete')).toEqual({ task_id: 't1', lease: 1, result: 3 });
    await sleep(400);
    expect(said(peer, 'started')).toEqual([]);
  });

  test('says that it began when the work takes longer', async () => {
    const peer = await aPeer();
    const { node } = await aNode(peer.url);
    node.work({ words: () => sleep(600) });
    await node.connect();
    assign(peer);
    expect(await saidOnce(peer, 'started')).toEqual({ task_id: 't1', lease: 1 });
    expect(said(peer, 'complete')).toEqual([]);
    expect(await saidOnce(peer, 'complete')).toEqual({ task_id: 't1', lease: 1 });
  });

  test('does an assignment once that is pushed again, while it works and when it is done', async () => {
    const peer = await aPeer();
    const { node } = await aNode(peer.url);
    const ran: number[] = [];
    node.work({ words: ({ lease }) => sleep(100).then(() => ran.push(lease)) }, { capacity: 4 });
    await node.connect();
    assign(peer);
    assign(peer);
    await saidOnce(peer, 'complete');
    assign(peer);
    assign(peer, { lease: 2 }); // given out anew: that is another assignment
    await vi.waitFor(() => expect(said(peer, 'complete')).toHaveLength(2));
    await sleep(200);
    expect(ran).toEqual([1, 2]);
    expect(said(peer, 'fail')).toEqual([]);
  });

  test('declines what it has no handler or no room for', async () => {
    const peer = await aPeer();
    const { node } = await aNode(peer.url);
    node.work({ words: () => sleep(300) });
    await node.connect();
    assign(peer, { task_id: 'a', type: 'paint' });
    assign(peer, { task_id: 'b' });
    assign(peer, { task_id: 'c' });
    await vi.waitFor(() => expect(said(peer, 'fail')).toHaveLength(2));
    expect(said(peer, 'fail')).toMatchObject([
      { task_id: 'a', declined: true, error: { code: 'no_handler' } },
      { task_id: 'c', declined: true, error: { code: 'no_room' } },
    ]);
    expect(await saidOnce(peer, 'complete')).toMatchObject({ task_id: 'b' });
    assign(peer, { task_id: 'd' }); // there is room again
    await vi.waitFor(() => expect(said(peer, 'complete')).toHaveLength(2));
  });

  test('tells how a handler failed, in its own words when it throws a TaskFailure', async () => {
    const peer = await aPeer();
    const { node } = await aNode(peer.url);
    node.work(
      {
        broken: () => Promise.reject(new Error('the disk is gone')),
        wrong: () => {
          throw new TaskFailure('bad_words', 'these are no words', { retryable: false });
        },
      },
      { capacity: 2 },
    );
    await node.connect();
    assign(peer, { task_id: 'a', type: 'broken' });
    assign(peer, { task_id: 'b', type: 'wrong' });
    await vi.waitFor(() => expect(said(peer, 'fail')).toHaveLength(2));
    expect(said(peer, 'fail')).toEqual(
      expect.arrayContaining([
        { task_id: 'a', lease: 1, retryable: true, error: { code: 'handler_error', message: 'the disk is gone' } },
        { task_id: 'b', lease: 1, retryable: false, error: { code: 'bad_words', message: 'these are no words' } },
      ]),
    );
  });

  test('fails a task whose result cannot be sent, instead of losing its connection over it', async () => {
    const peer = await aPeer();
    const { node } = await aNode(peer.url);
    node.work({ large: () => 'x'.repeat(300_000), odd: () => 1n }, { capacity: 2 });
    await node.connect();
    assign(peer, { task_id: 'a', type: 'large' });
    assign(peer, { task_id: 'b', type: 'odd' });
    await vi.waitFor(() => expect(said(peer, 'fail')).toHaveLength(2));
    expect(said(peer, 'fail')).toMatchObject([
      { task_id: 'a', retryable: false, error: { code: 'result_too_large' } },
      { task_id: 'b', retryable: false, error: { code: 'result_invalid' } },
    ]);
  });

  test('hands the result in again over a reconnect, without doing the work again', async () => {
    const peer = await aPeer();
    peer.odd = first('federation:task:complete', 'silent');
    const { node } = await aNode(peer.url);
    let ran = 0;
    node.work({ words: () => ++ran });
    await node.connect();
    assign(peer);
    await saidOnce(peer, 'complete');
    peer.cut();
    await vi.waitFor(() => expect(said(peer, 'complete')).toHaveLength(2), 15_000);
    expect(said(peer, 'complete')[1]).toEqual({ task_id: 't1', lease: 1, result: 1 });
    expect(ran).toBe(1);
  }, 20_000);

  test('waits as long as a hub asks that has no allowance left for it', async () => {
    const peer = await aPeer();
    const came: number[] = [];
    peer.odd = (name) => {
      if (name !== 'federation:task:complete') return answered(name);
      came.push(performance.now());
      return came.length === 1 ? refusal('rate_limited', { retry_after_ms: 700 }) : answered(name);
    };
    const { node, errors } = await aNode(peer.url);
    node.work({ words: () => 1 });
    await node.connect();
    assign(peer);
    await vi.waitFor(() => expect(came).toHaveLength(2), 5_000);
    expect(came[1]! - came[0]!).toBeGreaterThanOrEqual(699); // timers may be a fraction of a millisecond early
    expect(errors).toEqual([]);
  });

  test('does not insist when the task was given to another meanwhile, and says so', async () => {
    const peer = await aPeer();
    peer.odd = first('federation:task:complete', refusal('lease_lost'));
    const { node, errors } = await aNode(peer.url);
    node.work({ words: () => 1 });
    await node.connect();
    assign(peer);
    await vi.waitFor(() => expect(errors).toHaveLength(1));
    expect(errors[0]?.cause).toMatchObject({ code: 'lease_lost' });
    await sleep(500);
    expect(said(peer, 'complete')).toHaveLength(1);
  });

  test.each([
    [
      'is cancelled',
      (peer: Peer) =>
        peer.push('federation:task:cancelled', { position: 13, time, task_id: 't1', lease: 1, reason: 'not needed' }),
    ],
    [
      'learns that its lease is lost',
      (peer: Peer) => {
        peer.odd = (name) => (name === 'federation:task:started' ? refusal('lease_lost') : answered(name));
      },
    ],
  ])('stops work that %s, and hands nothing in', async (_how, happen) => {
    const peer = await aPeer();
    const { node } = await aNode(peer.url);
    const stopped: unknown[] = [];
    node.work({
      words: async (_task, { signal }) => {
        await sleep(10_000, undefined, { signal }).catch(() => stopped.push((signal.reason as Error).name));
        return 'too late';
      },
    });
    await node.connect();
    assign(peer);
    happen(peer);
    await vi.waitFor(() => expect(stopped).toEqual(['AbortError']), 5_000);
    await sleep(200);
    expect([...said(peer, 'complete'), ...said(peer, 'fail')]).toEqual([]);
  });

  test('a cancellation of an older lease does not stop the newer one', async () => {
    const peer = await aPeer();
    const { node } = await aNode(peer.url);
    node.work({ words: () => sleep(300).then(() => 'done') });
    await node.connect();
    assign(peer, { lease: 3 });
    peer.push('federation:task:cancelled', { position: 13, time, task_id: 't1', lease: 2, reason: 'late' });
    expect(await saidOnce(peer, 'complete')).toMatchObject({ lease: 3, result: 'done' });
  });

  test('tells of its progress at most once a second, the newest last', async () => {
    const peer = await aPeer();
    const { node } = await aNode(peer.url);
    node.work({
      words: async (_task, { progress }) => {
        for (let percent = 1; percent <= 30; percent++) {
          progress(percent, `at ${percent}`);
          await sleep(10);
        }
        await sleep(1_200);
      },
    });
    await node.connect();
    assign(peer);
    await saidOnce(peer, 'complete');
    expect(said(peer, 'progress')).toEqual([
      { task_id: 't1', lease: 1, percent: 1, message: 'at 1' },
      { task_id: 't1', lease: 1, percent: 30, message: 'at 30' },
    ]);
  });

  test('lists in every heartbeat the tasks that it works on', async () => {
    const peer = await aPeer({ heartbeatMs: 100 });
    const { node } = await aNode(peer.url, { reading: () => ({ active_tasks: 7 }) });
    node.work({ words: () => sleep(500) });
    await node.connect();
    const beat = () => peer.got.findLast(({ name }) => name === 'federation:heartbeat')?.packet;
    await vi.waitFor(() => expect(beat()).toEqual({ node_id: 'alpha', active_tasks: 7, running_tasks: [] }));
    assign(peer);
    await vi.waitFor(() => expect(beat()).toMatchObject({ running_tasks: ['t1'] }));
    await saidOnce(peer, 'complete');
    await vi.waitFor(() => expect(beat()).toMatchObject({ running_tasks: [] }));
  });

  test('claims a task, and has it until it says how it ended', async () => {
    const peer = await aPeer({ heartbeatMs: 100 });
    let left = 1;
    peer.odd = (name) => (name === 'federation:task:claim' ? { task: left-- > 0 ? taskOf() : null } : answered(name));
    const { node } = await aNode(peer.url, { work: { capacity: 1, mode: 'claim' } });
    await node.connect();
    const claimed = await node.claim({ types: ['words'], waitMs: 500 });
    expect(peer.got.at(-1)?.packet).toEqual({ types: ['words'], wait_ms: 500 });
    await vi.waitFor(() => expect(peer.got.at(-1)?.packet).toMatchObject({ running_tasks: ['t1'] }));
    await claimed!.complete({ words: 3 });
    expect(said(peer, 'complete')).toEqual([{ task_id: 't1', lease: 1, result: { words: 3 } }]);
    expect(said(peer, 'started')).toEqual([]);
    expect(await node.claim({ waitMs: 0 })).toBeUndefined();
  });

  test('declares its models in every session', async () => {
    const peer = await aPeer();
    const { node } = await aNode(peer.url);
    const models = [{ model_id: 'llama3.3:70b', context_length: 8192 }];
    await node.models(models);
    await node.connect();
    const declared = () => peer.got.filter(({ name }) => name === 'federation:models').map(({ packet }) => packet);
    await vi.waitFor(() => expect(declared()).toEqual([{ models }]));
    peer.cut();
    await vi.waitFor(() => expect(declared()).toEqual([{ models }, { models }]), 15_000);
  }, 20_000);

  test('tells what is under way when it is closed', async () => {
    const peer = await aPeer();
    const { node } = await aNode(peer.url);
    const reasons: unknown[] = [];
    node.work({
      words: (_task, { signal }) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(reasons.push(signal.reason)))),
    });
    await node.connect();
    assign(peer);
    await sleep(100);
    node.close();
    expect(reasons).toMatchObject([{ name: 'AbortError', message: 'the node was closed' }]);
  });
});

describe('a node that stops working', () => {
  test('finishes what it has, takes nothing new, and says when it is through', async () => {
    const peer = await aPeer();
    const { node } = await aNode(peer.url);
    let finish = () => {};
    node.work({ words: () => new Promise<string>((resolve) => (finish = () => resolve('done'))) }, { capacity: 2 });
    await node.connect();
    assign(peer);
    await saidOnce(peer, 'started');
    let through = false;
    const drained = node.drain().then(() => {
      through = true;
    });
    assign(peer, { task_id: 't2' });
    expect(await saidOnce(peer, 'fail')).toMatchObject({
      task_id: 't2',
      declined: true,
      error: { code: 'node_stopping' },
    });
    expect(through).toBe(false);
    finish();
    await drained;
    expect(said(peer, 'complete')).toMatchObject([{ task_id: 't1', result: 'done' }]);
    await node.drain();
  });

  test('gives back what is not over in time', async () => {
    const peer = await aPeer();
    const { node } = await aNode(peer.url);
    const reasons: unknown[] = [];
    node.work({
      words: (_task, { signal }) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            reasons.push(signal.reason);
            reject(signal.reason);
          });
        }),
    });
    await node.connect();
    assign(peer);
    await saidOnce(peer, 'started');
    await node.drain({ timeoutMs: 50 });
    expect(said(peer, 'fail')).toMatchObject([{ task_id: 't1', lease: 1, error: { code: 'node_stopping' } }]);
    expect(reasons).toMatchObject([{ name: 'AbortError' }]);
    await node.drain();
    expect(said(peer, 'fail')).toHaveLength(1);
  });
});

describe('a node that hands in work', () => {
  const finish = (peer: Peer, more: object = { status: 'completed', result: 42 }) =>
    peer.pushRaw('federation:task:finished', { position: 13, time, task_id: 't1', ...more });

  test('hears of the end on its socket', async () => {
    const peer = await aPeer();
    const { node } = await aNode(peer.url);
    await node.connect();
    const handle = await node.submit({ type: 'words', payload: 'a b', priority: 9 });
    expect(handle.taskId).toBe('t1');
    expect(said(peer, 'submit')).toMatchObject([
      { type: 'words', payload: 'a b', priority: 9, callback: { kind: 'socket' }, key: expect.any(String) },
    ]);
    const done = handle.done();
    finish(peer);
    expect(await done).toBe(42);
    expect(await handle.done()).toBe(42); // again, from memory
  });

  test('hears of it too when the end comes before the answer to the hand-in', async () => {
    const peer = await aPeer();
    peer.odd = (name) => {
      if (name === 'federation:task:submit') finish(peer);
      return answered(name);
    };
    const { node } = await aNode(peer.url);
    await node.connect();
    expect(await (await node.submit({ type: 'words' })).done()).toBe(42);
  });

  test('hears of each end that comes before the answer to its hand-in, however many there are', async () => {
    const peer = await aPeer();
    let handed = 0;
    peer.odd = (name) => {
      if (name !== 'federation:task:submit') return answered(name);
      const task_id = `t${++handed}`;
      peer.pushRaw('federation:task:finished', { position: 13, time, task_id, status: 'completed', result: task_id });
      return sleep(2).then(() => ({ task_id, position: 11 })) as object;
    };
    const { node } = await aNode(peer.url);
    await node.connect();
    const done = async () => (await node.submit({ type: 'words' })).done();
    const results = await Promise.all(Array.from({ length: 1_200 }, done));
    expect(new Set(results).size).toBe(1_200);
  });

  test('learns of an end that came while it was away also when somebody waits for it only later', async () => {
    const peer = await aPeer();
    const { node } = await aNode(peer.url);
    await node.connect();
    const handle = await node.submit({ type: 'words' });
    const back = new Promise<void>((resolve) => node.once('connected', () => resolve()));
    peer.cut();
    await back;
    await sleep(3_500); // by then the looks that every new session begins with are over
    peer.http = (path) =>
      path.startsWith('/api/federation/tasks/t1') ? { task: { status: 'completed', result: 42 } } : undefined;
    expect(await handle.done()).toBe(42);
  });

  test('learns of an end that came between two answers to its hand-in', async () => {
    const peer = await aPeer();
    peer.odd = first('federation:task:submit', 'silent');
    const { node } = await aNode(peer.url);
    await node.connect();
    const handing = node.submit({ type: 'words' });
    await saidOnce(peer, 'submit');
    peer.cut(); // the hub has it, and nobody heard so
    const handle = await handing;
    peer.http = (path) =>
      path.startsWith('/api/federation/tasks/t1') ? { task: { status: 'completed', result: 42 } } : undefined;
    expect(await handle.done()).toBe(42);
  });

  test('hands in a payload, and a result, of 256 KiB', async () => {
    const peer = await aPeer();
    const { node } = await aNode(peer.url);
    const largest = 'x'.repeat(256 * 1024 - 2); // and its quotes
    node.work({ words: ({ payload }) => payload });
    await node.connect();
    await node.submit({ type: 'words', payload: largest, requirements: { capabilities: ['x'.repeat(64)] } });
    expect(said(peer, 'submit')).toMatchObject([{ payload: largest }]);
    assign(peer, { payload: largest });
    expect((await saidOnce(peer, 'complete')).result).toBe(largest);
    await expect(node.submit({ type: 'words', payload: `${largest}x` })).rejects.toMatchObject({
      code: 'payload_too_large',
    });
  });

  test.each([
    [
      { status: 'failed', error: { code: 'bad_words', message: 'no words' } },
      { code: 'bad_words', message: 'no words' },
    ],
    [{ status: 'cancelled' }, { code: 'cancelled' }],
  ])('rejects with what went wrong: %o', async (end, error) => {
    const peer = await aPeer();
    const { node } = await aNode(peer.url);
    await node.connect();
    const done = (await node.submit({ type: 'words' })).done();
    finish(peer, end);
    await expect(done).rejects.toMatchObject({ name: 'TaskFailure', ...error });
  });

  test('hands in the same task again, under the same key, until it is answered', async () => {
    const peer = await aPeer();
    peer.odd = first('federation:task:submit', refusal('overloaded'));
    const { node } = await aNode(peer.url);
    await node.connect();
    await node.submit({ type: 'words' });
    const [one, two, ...more] = said(peer, 'submit');
    expect(more).toEqual([]);
    expect(two).toEqual(one);
    expect(one?.key).toMatch(/^[0-9a-f-]{36}$/);
  });

  test('passes a refusal on, and refuses what is too large for a packet itself', async () => {
    const peer = await aPeer();
    peer.odd = first('federation:task:submit', refusal('queue_full'));
    const { node } = await aNode(peer.url);
    await node.connect();
    await expect(node.submit({ type: 'words' })).rejects.toMatchObject({ code: 'queue_full' });
    const large = node.submit({ type: 'words', payload: 'x'.repeat(300_000) });
    await expect(large).rejects.toBeInstanceOf(HubRefusal);
    expect(said(peer, 'submit')).toHaveLength(1);
  });

  test('gives up on ends it can hear no more when it is closed', async () => {
    const peer = await aPeer();
    const { node } = await aNode(peer.url);
    await node.connect();
    const done = (await node.submit({ type: 'words' })).done();
    const rejected = expect(done).rejects.toMatchObject({ name: 'HubUnreachable' });
    node.close();
    await rejected;
  });

  test('keeps no more than 128 packets under way, and loses none of those that wait', async () => {
    const peer = await aPeer();
    let [under, most] = [0, 0];
    peer.odd = (name) => {
      if (name !== 'federation:task:submit') return answered(name);
      most = Math.max(most, ++under);
      // Answered a moment later: the peer awaits what it is given.
      return sleep(5).then(() => {
        under--;
        return answered(name);
      }) as object;
    };
    const { node } = await aNode(peer.url);
    await node.connect();
    await Promise.all(Array.from({ length: 600 }, () => node.submit({ type: 'words' })));
    expect(said(peer, 'submit')).toHaveLength(600);
    expect(most).toBeLessThanOrEqual(128);
  });
});
