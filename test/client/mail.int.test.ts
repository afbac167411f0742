/** Messages of a node at a real socket: sent once and in order, answered, handled, refused, and acknowledged before it goes. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { processClock } from '../../src/client/clock.ts';
import {
  FederationNode,
  type FederationNodeOptions,
  generateKey,
  HubRefusal,
  type NodeClock,
  type ReceivedMessage,
} from '../../src/client/node.ts';
import type { ClientPacketName, HubPacket } from '../../src/protocol.ts';
import { type Peer, refusal, startPeer } from './peer.ts';

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const it of open.splice(0).reverse()) await it.close();
});

/** Machines that others use too stand still at times. */
const eventually = <T>(check: () => T) => vi.waitFor(check, 5_000);
const time = '2026-01-01T00:00:00.000Z';
const uuid = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

/** A hub that takes all that is said of messages. */
async function aPeer(): Promise<Peer> {
  const peer = await startPeer();
  peer.odd = answered;
  open.push(peer);
  return peer;
}

const answered: Peer['odd'] = (name) => {
  if (name === 'federation:message') return { message_id: uuid(1), position: 11 };
  if (name === 'federation:message:read') return { read: 1 };
  if (/^federation:(message:refuse|channel:)/.test(name)) return { position: 12 };
  return name === 'federation:task:submit' ? { task_id: 't1', position: 11 } : undefined;
};

/** As `answered`, but the first of these packets meets something else. */
function first(name: ClientPacketName, odd: ReturnType<Peer['odd']>): Peer['odd'] {
  let met = false;
  return (asked) => {
    if (asked !== name || met) return answered(asked);
    met = true;
    return odd;
  };
}

/** Waits that are long for a test take less. */
const quick: NodeClock = { ...processClock, after: (ms, fn) => processClock.after(ms >= 1_000 ? ms / 20 : ms, fn) };

async function aNode(url: string, options: Partial<FederationNodeOptions> = {}) {
  const node = new FederationNode({ url, nodeId: 'alpha', key: await generateKey(), ...options });
  const errors: Error[] = [];
  node.on('error', (error) => errors.push(error));
  open.push(node);
  return { node, errors };
}

/** A node that is connected. */
async function both(options: Partial<FederationNodeOptions> = {}) {
  const peer = await aPeer();
  const { node, errors } = await aNode(peer.url, options);
  await node.connect();
  return { peer, node, errors };
}

const said = (peer: Peer, name: ClientPacketName) =>
  peer.got.filter((got) => got.name === name).map(({ packet }) => packet);
const saidMessages = (peer: Peer) => said(peer, 'federation:message');
const acks = (peer: Peer) => said(peer, 'federation:message:ack').map(({ through }) => through);

function messageOf(position: number | undefined, more: Partial<HubPacket<'federation:message'>> = {}) {
  const at = position === undefined ? {} : { position };
  const message_id = uuid(position ?? 900);
  return { message_id, from: 'node:ada', to: { node: 'alpha' }, content: 'hello', sent_at: time, ...at, ...more };
}
const deliver = (peer: Peer, position: number | undefined, more: Partial<HubPacket<'federation:message'>> = {}) =>
  peer.push('federation:message', messageOf(position, more));

describe('a node that sends', () => {
  test('says whom it is for and all that belongs to it, under a key', async () => {
    const { peer, node } = await both();
    const sent = await node.send('ada', { text: 'hello', left: undefined });
    expect(sent).toEqual({ messageId: uuid(1), position: 11 });
    peer.odd = () => ({ message_id: uuid(2), delivered: 3, without: ['bo'] });
    const options = { persist: false, ttlSeconds: 60, correlationId: 'c', replyTo: { channel: 'news' }, key: 'k' };
    expect(await node.send({ everyone: true }, null, options)).toEqual({
      messageId: uuid(2),
      delivered: 3,
      without: ['bo'],
    });
    expect(saidMessages(peer)).toEqual([
      { to: { node: 'ada' }, content: { text: 'hello' }, key: expect.stringMatching(/^[0-9a-f-]{36}$/) },
      {
        to: { everyone: true },
        content: null,
        persist: false,
        ttl_seconds: 60,
        correlation_id: 'c',
        reply_to: { channel: 'news' },
        key: 'k',
      },
    ]);
  });

  test('sends it again under the same key in the next session when nobody answered', async () => {
    const { peer, node } = await both();
    peer.odd = first('federation:message', 'silent');
    const sending = node.send('ada', 1);
    await eventually(() => expect(saidMessages(peer)).toHaveLength(1));
    peer.cut();
    expect((await sending).messageId).toBe(uuid(1));
    const [one, two, ...more] = saidMessages(peer);
    expect([two, more]).toEqual([one, []]);
  });

  test('sends to one address one after another, to others meanwhile, and no more than 64 at once', async () => {
    const { peer, node } = await both();
    const under = new Map<string, number>();
    let [all, mostOfOne, most] = [0, 0, 0];
    let open = () => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    peer.odd = (name) => {
      if (name !== 'federation:message') return undefined;
      const to = JSON.stringify(saidMessages(peer).at(-1)?.to);
      under.set(to, (under.get(to) ?? 0) + 1);
      mostOfOne = Math.max(mostOfOne, under.get(to)!);
      most = Math.max(most, ++all);
      if (all === 64) setTimeout(open, 100); // more would come meanwhile
      return gate.then(() => {
        under.set(to, under.get(to)! - 1);
        all--;
        return { message_id: uuid(1), position: 11 };
      }) as object; // the peer awaits what it is given
    };
    const sends = Array.from({ length: 300 }, (_none, n) => node.send(`n${Math.floor(n / 3)}`, n));
    await Promise.all(sends);
    expect([mostOfOne, most]).toEqual([1, 64]);
    for (let to = 0; to < 100; to++) {
      const theirs = saidMessages(peer).filter((packet) => JSON.stringify(packet.to) === `{"node":"n${to}"}`);
      expect(theirs.map(({ content }) => content)).toEqual([3 * to, 3 * to + 1, 3 * to + 2]);
    }
  });

  test('waits as long as a busy hub asks, in its place, and passes on a no that waiting does not change', async () => {
    const { peer, node } = await both();
    peer.odd = first('federation:message', refusal('overloaded', { retry_after_ms: 400 }));
    const began = performance.now();
    await Promise.all([node.send('ada', 1), node.send('ada', 2)]);
    expect(performance.now() - began).toBeGreaterThanOrEqual(400);
    expect(saidMessages(peer).map(({ content }) => content)).toEqual([1, 1, 2]);
    peer.odd = first('federation:message', refusal('queue_full'));
    await expect(node.send('ada', 3)).rejects.toMatchObject({ name: 'HubRefusal', code: 'queue_full' });
    await node.send('ada', 4);
    expect(saidMessages(peer).map(({ content }) => content)).toEqual([1, 1, 2, 3, 4]);
  });

  test('gives up in time, also on what has not begun', async () => {
    const { peer, node } = await both();
    peer.odd = (name) => (name === 'federation:message' ? refusal('not_ready') : undefined);
    const first = expect(node.send('ada', 1, { timeoutMs: 1_500 })).rejects.toMatchObject({ code: 'not_ready' });
    await expect(node.send('ada', 2, { timeoutMs: 100 })).rejects.toMatchObject({ name: 'HubUnreachable' });
    await first;
    expect(saidMessages(peer).some(({ content }) => content === 2)).toBe(false);
  });

  test('refuses what is too large or no JSON before the hub hears of it', async () => {
    const { peer, node } = await both();
    const largest = 'x'.repeat(256 * 1024 - 2); // and its quotes
    await node.send('ada', largest);
    await expect(node.send('ada', `${largest}x`)).rejects.toMatchObject({ code: 'payload_too_large' });
    await expect(node.send('ada', undefined)).rejects.toBeInstanceOf(TypeError);
    expect(saidMessages(peer)).toHaveLength(1);
  });

  test('hears what became of a message, once however often it comes', async () => {
    const { peer, node } = await both();
    const heard: unknown[] = [];
    node.on('message-state', (state) => heard.push(state));
    const state = { position: 20, time, message_id: uuid(1), state: 'expired' as const, nodes: ['ada'], others: 0 };
    peer.push('federation:message:state', state);
    peer.push('federation:message:state', state);
    await eventually(() => expect(acks(peer)).toEqual([20]));
    expect(heard).toEqual([state]);
  });

  test('joins and leaves channels; one that it did not hear is left already', async () => {
    const { peer, node } = await both();
    peer.odd = first('federation:channel:join', refusal('overloaded'));
    await node.join('news');
    peer.odd = () => refusal('not_found');
    await node.leaveChannel('news');
    expect(said(peer, 'federation:channel:join')).toEqual([{ channel: 'news' }, { channel: 'news' }]);
    await expect(node.join('news')).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('a node that asks', () => {
  /** What the node asked, once it has. */
  const question = (peer: Peer) =>
    eventually(() => {
      expect(saidMessages(peer)).toHaveLength(1);
      return saidMessages(peer)[0]!;
    });
  const correlationOf = ({ correlation_id }: Record<string, unknown>) => ({ correlation_id: String(correlation_id) });

  test('gets the first answer, though it has no handler for messages, and lets later ones go', async () => {
    const { peer, node } = await both();
    const answering = node.request({ channel: 'all' }, 'who?', { timeoutMs: 30_000 });
    const asked = await question(peer);
    expect(asked).toMatchObject({ ttl_seconds: 30, reply_to: { node: 'alpha' }, persist: true });
    deliver(peer, 20, { ...correlationOf(asked), content: 'I' });
    deliver(peer, 21, { ...correlationOf(asked), content: 'I too' });
    expect((await answering).content).toBe('I');
    await eventually(() => expect(acks(peer).at(-1)).toBe(21));
  });

  test('is told at once when the one that it asked will not have the question', async () => {
    const { peer, node } = await both();
    const answering = node.request('ada', 'why?');
    const rejected = expect(answering).rejects.toMatchObject({ code: 'refused', message: 'not my business' });
    await question(peer);
    await sleep(20); // until the hub's answer is in
    const about = { position: 20, time, message_id: uuid(1), nodes: ['ada'], others: 0 };
    peer.push('federation:message:state', { ...about, state: 'refused', reason: 'not my business' });
    await rejected;
  });

  test('gives up in time, when the hub refuses the question, and when it is closed', async () => {
    const { peer, node } = await both();
    await expect(node.request('ada', 1, { timeoutMs: 60 })).rejects.toMatchObject({ name: 'HubUnreachable' });
    deliver(peer, 20, correlationOf(saidMessages(peer)[0]!)); // late
    await eventually(() => expect(acks(peer)).toEqual([20]));
    peer.odd = first('federation:message', refusal('queue_full'));
    await expect(node.request('ada', 2)).rejects.toMatchObject({ code: 'queue_full' });
    const never = expect(node.request('ada', 3)).rejects.toMatchObject({ name: 'HubUnreachable' });
    await eventually(() => expect(saidMessages(peer)).toHaveLength(3));
    node.close();
    await never;
  });

  test('can ask itself: its question is no answer', async () => {
    const { peer, node } = await both();
    const handled: unknown[] = [];
    node.messages((message) => {
      handled.push(message.content);
      return message.reply('yourself');
    });
    const answering = node.request('alpha', 'who am I?');
    const { to, content, correlation_id, reply_to } = await question(peer);
    const asked = { from: 'node:alpha', to, content, correlation_id, reply_to } as object;
    deliver(peer, 20, asked);
    await eventually(() => expect(saidMessages(peer)).toHaveLength(2));
    const reply = saidMessages(peer)[1]!;
    expect(reply).toMatchObject({ to: { node: 'alpha' }, content: 'yourself', correlation_id, persist: true });
    expect(reply).not.toHaveProperty('reply_to');
    deliver(peer, 21, { from: 'node:alpha', content: reply.content, ...correlationOf(reply) });
    expect((await answering).content).toBe('yourself');
    expect(handled).toEqual(['who am I?']);
  });
});

describe('a node that gets messages', () => {
  test('handles those of one sender in order, those of others meanwhile, and acknowledges no further than that', async () => {
    const { peer, node } = await both();
    const [log, finish] = [[] as unknown[], [] as (() => void)[]];
    node.messages(
      (message) => {
        log.push(message.position);
        return message.position === 20 && new Promise<void>((resolve) => finish.push(resolve));
      },
      { concurrency: 2 },
    );
    deliver(peer, 20);
    deliver(peer, 21);
    deliver(peer, 22, { from: 'node:bo' });
    await eventually(() => expect(log).toEqual([20, 22]));
    await sleep(60);
    expect(acks(peer)).toEqual([]);
    finish[0]!();
    await eventually(() => expect(acks(peer)).toEqual([22]));
    expect(log).toEqual([20, 22, 21]);
  });

  test('does not handle again what comes again in the next session, and acknowledges it there', async () => {
    const { peer, node } = await both();
    const log: unknown[] = [];
    node.messages(({ position }) => log.push(position));
    peer.odd = first('federation:message:ack', 'silent');
    deliver(peer, 20);
    await eventually(() => expect(acks(peer)).toEqual([20]));
    const back = new Promise<unknown>((resolve) => node.once('connected', resolve));
    peer.cut();
    await back;
    expect(acks(peer)).toEqual([20]);
    deliver(peer, 20);
    deliver(peer, 21);
    await eventually(() => expect(acks(peer)).toEqual([20, 21]));
    expect(log).toEqual([20, 21]);
  });

  test('tries one again whose handler throws, refuses it at last, and says so', async () => {
    const { peer, node, errors } = await both({ clock: quick });
    const log: unknown[] = [];
    node.messages(({ from, position }) => {
      log.push(position);
      if (position === 20 && from === 'node:ada') throw new Error('the disk is full');
    });
    deliver(peer, 20);
    deliver(peer, 21);
    deliver(peer, 22, { from: 'node:bo' });
    await eventually(() => expect(acks(peer)).toEqual([22]));
    expect(log).toEqual([20, 22, 20, 20, 20, 21]);
    expect(said(peer, 'federation:message:refuse')).toEqual([{ message_id: uuid(20), reason: 'the disk is full' }]);
    expect(errors.map(({ message }) => message)).toEqual([
      `message ${uuid(20)} of node:ada could not be handled, and is refused: Error: the disk is full`,
    ]);
  });

  test('refuses one when its handler says so, though the handler does not wait for it, and not before the hub knows', async () => {
    const { peer, node, errors } = await both();
    peer.odd = first('federation:message:refuse', refusal('overloaded', { retry_after_ms: 100 }));
    node.messages((message) => void message.refuse('I know no ada'));
    deliver(peer, 20);
    await eventually(() => expect(acks(peer)).toEqual([20]));
    const names = peer.got.map(({ name }) => name).slice(2);
    expect(names).toEqual(['federation:message:refuse', 'federation:message:refuse', 'federation:message:ack']);
    peer.odd = first('federation:message:refuse', refusal('message_over'));
    deliver(peer, 21);
    await eventually(() => expect(acks(peer)).toEqual([20, 21]));
    expect(errors.map(({ message }) => message)).toEqual([
      `message ${uuid(21)} of node:ada could not be refused: HubRefusal: the peer says message_over`,
    ]);
  });

  test('lets senders see what was read, many at a time', async () => {
    const { peer, node } = await both();
    node.messages((message) => message.read());
    for (let n = 0; n < 300; n++) deliver(peer, 20 + n, { from: `node:n${n}` });
    await eventually(() => expect(said(peer, 'federation:message:read').length).toBeGreaterThan(0));
    node.messages((message) => void message.read(), { concurrency: 1_000 });
    await eventually(() => expect(acks(peer).at(-1)).toBe(319));
    await eventually(() => {
      const ids = said(peer, 'federation:message:read').flatMap(({ message_ids }) => message_ids as string[]);
      expect(ids).toHaveLength(300);
    });
    expect(said(peer, 'federation:message:read').length).toBeLessThan(30);
  });

  test('answers where the sender wants it, with what the question belongs to; not to an operator', async () => {
    const { peer, node } = await both();
    const got: ReceivedMessage[] = [];
    node.on('message', (message) => got.push(message));
    deliver(peer, 20, { correlation_id: 'c', reply_to: { channel: 'answers' } });
    deliver(peer, undefined, { from: 'node:bo' });
    deliver(peer, 22, { from: 'operator:fho_abc' });
    await eventually(() => expect(got).toHaveLength(3));
    for (const message of got.slice(0, 2)) await message.reply('yes');
    expect(saidMessages(peer)).toMatchObject([
      { to: { channel: 'answers' }, content: 'yes', correlation_id: 'c', persist: true },
      { to: { node: 'bo' }, content: 'yes', correlation_id: uuid(900), persist: false },
    ]);
    await expect(got[2]!.reply('yes')).rejects.toMatchObject({ code: 'not_found' });
  });

  test('leaves messages with the hub until somebody listens, but hears the ends of its tasks', async () => {
    const { peer, node } = await both();
    const task = await node.submit({ type: 'words' });
    deliver(peer, 20);
    peer.push('federation:task:finished', { position: 21, time, task_id: 't1', status: 'completed', result: 42 });
    expect(await task.done()).toBe(42);
    await sleep(60);
    expect(acks(peer)).toEqual([]);
    const got: unknown[] = [];
    node.once('message', ({ position }) => got.push(position));
    await eventually(() => expect(acks(peer)).toEqual([21]));
    deliver(peer, 22); // nobody listens any more
    await sleep(60);
    const stop = node.messages(({ position }) => got.push(position));
    await eventually(() => expect(acks(peer)).toEqual([21, 22]));
    stop();
    deliver(peer, 23);
    await sleep(60);
    expect([got, acks(peer)]).toEqual([
      [20, 22],
      [21, 22],
    ]);
  });

  test('asks for the ends of its tasks while mail waits that nobody takes', async () => {
    const { peer, node } = await both({ clock: quick });
    let task: object = { status: 'running' };
    peer.http = (path) => (path.includes('/tasks/t1') ? { task } : undefined);
    const done = (await node.submit({ type: 'words' })).done();
    deliver(peer, 20, { content: 'x'.repeat(200_000) }); // with a few such, a hub sends no more for now
    await sleep(300); // the looks that a session begins with are over
    task = { status: 'completed', result: 42 };
    expect(await done).toBe(42);
  });

  test('hands over what is not kept once, before what waits, and acknowledges nothing of it', async () => {
    const { peer, node } = await both();
    deliver(peer, undefined, { content: 'unheard' });
    await sleep(30);
    const got: unknown[] = [];
    node.messages(({ content }) => {
      got.push(content);
      if (content === 'twice') throw new Error('at the first time');
    });
    const twice = { content: 'twice', message_id: uuid(901) };
    deliver(peer, undefined, twice);
    deliver(peer, undefined, twice);
    await eventually(() => expect(got).toEqual(['twice']));
    await sleep(60);
    expect([got, acks(peer), said(peer, 'federation:message:refuse')]).toEqual([['twice'], [], []]);
  });

  test('before it goes, finishes what it handles, takes nothing new, and says what it has', async () => {
    const { peer, node } = await both();
    const [got, finish] = [[] as unknown[], [] as (() => void)[]];
    node.messages(({ position }) => {
      got.push(position);
      return new Promise<void>((resolve) => finish.push(resolve));
    });
    deliver(peer, 20);
    deliver(peer, 21);
    await eventually(() => expect(got).toEqual([20]));
    const drained = node.drain();
    finish[0]!();
    await drained;
    expect([got, acks(peer)]).toEqual([[20], [20]]);
  });

  test('says what it has handled as it is closed', async () => {
    const { peer, node } = await both();
    const handled = new Promise<void>((resolve) => node.messages(() => resolve()));
    deliver(peer, 20);
    await handled;
    await new Promise(setImmediate);
    node.close();
    await eventually(() => expect(acks(peer)).toEqual([20]));
  });

  test('ends when it is closed while it waits to try a message again', async () => {
    const { peer, node } = await both();
    const tried = new Promise<void>((resolve) =>
      node.messages(() => {
        resolve();
        throw new HubRefusal('conflict', 'not now');
      }),
    );
    deliver(peer, 20);
    await tried;
    node.close();
    await sleep(1_200);
    expect([acks(peer), said(peer, 'federation:message:refuse')]).toEqual([[], []]);
  });
});

test('a ping is answered at once, by whatever node', async () => {
  const { peer, node } = await both();
  node.messages(() => sleep(10_000, undefined, { ref: false }));
  deliver(peer, 20);
  expect(await peer.ask('federation:ping', {})).toEqual({ ok: true });
});
