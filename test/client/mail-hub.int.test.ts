/** Nodes that write to each other through a real hub: what is sent arrives once and in order, whoever was away meanwhile. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import {
  FederationNode,
  generateKey,
  type HubPacket,
  type NodeKey,
  type ReceivedMessage,
} from '../../src/client/node.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

let hub: TestHub;
const open: FederationNode[] = [];
beforeAll(async () => {
  hub = await startTestHub();
});
afterEach(() => {
  for (const node of open.splice(0)) node.close();
});
afterAll(() => hub.stop());

const eventually = (check: () => unknown) => vi.waitFor(check, 15_000);
let named = 0;
const name = (what: string) => `${what}-${++named}`;

async function aNode(nodeId: string, key?: NodeKey): Promise<FederationNode> {
  const node = new FederationNode({ url: hub.url, nodeId, key: key ?? (await generateKey()) });
  open.push(node);
  return node;
}

/** The states of a message at its recipients, as its sender sees them. */
async function statesOf(node: FederationNode, messageId: string, position: number): Promise<Record<string, string>> {
  const response = await fetch(`${hub.url}/api/federation/messages/${messageId}?min_position=${position}`, {
    headers: { authorization: `Bearer ${node.token}` },
  });
  const { message } = (await response.json()) as { message: { recipients: { node_id: string; state: string }[] } };
  return Object.fromEntries(message.recipients.map(({ node_id, state }) => [node_id, state]));
}

test('a node that was away gets its mail in order when it is back, and its sender sees what became of it', async () => {
  const [sender, receiver] = [name('sender'), name('receiver')];
  const [ada, key] = [await aNode(sender), await generateKey()];
  await ada.connect();
  const away = await aNode(receiver, key);
  await away.connect();
  await away.leave();
  const sent = await Promise.all(Array.from({ length: 300 }, (_none, n) => ada.send(receiver, n)));
  const last = sent.at(-1)!;
  expect(await statesOf(ada, last.messageId, last.position!)).toEqual({ [receiver]: 'queued' });

  const back = await aNode(receiver, key);
  const got: ReceivedMessage[] = [];
  back.messages((message) => {
    got.push(message);
    if (got.length === 300) return message.read();
  });
  await back.connect();
  await eventually(() => expect(got).toHaveLength(300));
  expect(got.map(({ content }) => content)).toEqual(Array.from({ length: 300 }, (_none, n) => n));
  await eventually(async () => {
    expect(await statesOf(ada, last.messageId, 0)).toEqual({ [receiver]: 'read' });
    expect(await statesOf(ada, sent[0]!.messageId, 0)).toEqual({ [receiver]: 'delivered' });
  });

  await back.leave();
  const next = await aNode(receiver, key);
  let again = 0;
  next.messages(() => void again++);
  await next.connect();
  await sleep(500);
  expect(again).toBe(0);
});

test('what a process had begun when it ended comes to the next, what it had handled does not', async () => {
  const receiver = name('receiver');
  const [ada, key] = [await aNode(name('sender')), await generateKey()];
  await ada.connect();
  const first = await aNode(receiver, key);
  await first.connect();
  const begun: unknown[] = [];
  first.messages(({ content }) => {
    begun.push(content);
    return content === 'three' ? new Promise(() => {}) : undefined;
  });
  for (const word of ['one', 'two', 'three', 'four']) await ada.send(receiver, word);
  await eventually(() => expect(begun).toEqual(['one', 'two', 'three']));
  first.close();
  const next = await aNode(receiver, key);
  const got: unknown[] = [];
  next.messages(({ content }) => got.push(content));
  await next.connect();
  await eventually(() => expect(got).toEqual(['three', 'four']));
});

test('asks and is answered, by who was asked or by whoever hears the channel', async () => {
  const [asker, helper] = [name('asker'), name('helper')];
  const channel = name('questions');
  const [ada, bo] = [await aNode(asker), await aNode(helper)];
  bo.messages(({ content, reply }) => reply({ twice: Number(content) * 2 }));
  await Promise.all([ada.connect(), bo.connect()]);
  await Promise.all([ada.join(channel), bo.join(channel)]); // who speaks in it hears it
  expect((await ada.request(helper, 21)).content).toEqual({ twice: 42 });
  expect((await ada.request({ channel }, 4)).content).toEqual({ twice: 8 });
  expect((await ada.request(helper, 5, { persist: false })).content).toEqual({ twice: 10 });
  await bo.leaveChannel(channel);
  await bo.leaveChannel(channel);
});

test('a refusal reaches the sender, with the reason', async () => {
  const [asker, picky] = [name('asker'), name('picky')];
  const [ada, bo] = [await aNode(asker), await aNode(picky)];
  bo.messages((message) => void message.refuse('I take no orders'));
  const states: HubPacket<'federation:message:state'>[] = [];
  ada.on('message-state', (state) => states.push(state));
  await Promise.all([ada.connect(), bo.connect()]);
  const { messageId } = await ada.send(picky, 'do it');
  await eventually(() => expect(states).toHaveLength(1));
  expect(states[0]).toMatchObject({
    message_id: messageId,
    state: 'refused',
    nodes: [picky],
    reason: 'I take no orders',
  });
  await expect(ada.request(picky, 'do it now')).rejects.toMatchObject({ message: 'I take no orders' });
});

test('sent again under the same key it is the same message; under it, another is refused', async () => {
  const receiver = name('receiver');
  const [ada, bo] = [await aNode(name('sender')), await aNode(receiver)];
  const got: unknown[] = [];
  bo.messages(({ content }) => got.push(content));
  await Promise.all([ada.connect(), bo.connect()]);
  const first = await ada.send(receiver, 'once', { key: 'k1' });
  expect(await ada.send(receiver, 'once', { key: 'k1' })).toEqual(first);
  await expect(ada.send(receiver, 'twice', { key: 'k1' })).rejects.toMatchObject({ code: 'idempotency_mismatch' });
  await ada.send(receiver, 'last');
  await eventually(() => expect(got).toEqual(['once', 'last']));
});

test('the end of a task reaches a process that hands it in again under its key, though the end came before', async () => {
  const submitter = name('submitter');
  const type = name('words');
  const [key, bo] = [await generateKey(), await aNode(name('worker'))];
  bo.work({ [type]: () => 42 });
  const first = await aNode(submitter, key);
  await Promise.all([bo.connect(), first.connect()]);
  await first.submit({ type }, { key: 'k1' });
  await first.leave();
  const next = await aNode(submitter, key);
  await next.connect();
  await sleep(3_500); // the end came, and the looks that a session begins with are over
  expect(await (await next.submit({ type }, { key: 'k1' })).done()).toBe(42);
});
