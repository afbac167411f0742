/** Nodes whose hub is gone: they go on talking, directly or over a third, and what they said is in the hub's history when it is back. */
import { once } from 'node:events';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { type NodeClock, processClock } from '../../src/client/clock.ts';
import {
  type FallbackChange,
  FederationNode,
  type FederationNodeOptions,
  generateKey,
  type P2pOptions,
  type ReceivedMessage,
  type RefusedEntry,
} from '../../src/client/node.ts';
import { call } from '../security/visitor.ts';
import { freePort } from '../setup/free-port.ts';
import { type HubProcess, startHubProcess } from '../setup/hub-process.ts';
import { noLimits } from '../setup/no-limits.ts';

let folder: string;
let hub: HubProcess & { readonly adminToken: string };
let token: string;
let env: Record<string, string>;
const open: FederationNode[] = [];
const silentMs = 300;
/** Long waits, as those between two tries to reach the hub, are a tenth as long. */
const hurried: NodeClock = {
  ...processClock,
  after: (ms, fn) => processClock.after(ms > 2_000 ? ms / 10 : ms, fn),
};
let named = 0;
const fresh = (word: string) => `${word}-${++named}`;

const startHub = async (more: Record<string, string> = {}) => {
  const started = await startHubProcess(folder, { ...env, ...more });
  token ??= started.adminToken!; // of the first start
  hub = { ...started, adminToken: token };
};
const killHub = async () => {
  hub.child.kill('SIGKILL');
  await hub.exited;
};

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'fedhub-p2p-'));
  env = { PORT: String(await freePort()), ...noLimits };
  await startHub();
});
vi.setConfig({ testTimeout: 90_000 });
afterEach(() => {
  for (const node of open.splice(0)) node.close();
});
afterAll(async () => {
  hub.child.kill('SIGTERM');
  await hub.exited;
  await rm(folder, { recursive: true, force: true });
});

interface Someone {
  readonly node: FederationNode;
  readonly name: string;
  readonly got: ReceivedMessage[];
  readonly changes: FallbackChange[];
  readonly refused: RefusedEntry[];
  readonly troubles: Error[];
  fallback(active?: boolean): Promise<unknown>;
}

/** A node that notes what comes, and answers what asks for it. */
async function join(word: string, p2p: P2pOptions = {}, more: Partial<FederationNodeOptions> = {}): Promise<Someone> {
  const name = more.nodeId ?? fresh(word);
  const node = new FederationNode({
    url: hub.url,
    nodeId: name,
    ...(more.keyFile === undefined && { key: more.key ?? (await generateKey()) }),
    clock: hurried,
    p2p: { port: 0, allow: ['127.0.0.1'], silentMs, ...p2p },
    ...more,
  });
  open.push(node);
  const got: ReceivedMessage[] = [];
  const changes: FallbackChange[] = [];
  const refused: RefusedEntry[] = [];
  const troubles: Error[] = [];
  node.on('fallback', (change) => changes.push(change));
  node.on('entry-refused', (entry) => refused.push(entry));
  node.on('error', (error) => troubles.push(error));
  node.messages(async (message) => {
    got.push(message);
    if ((message.content as { ask?: number })?.ask)
      await message.reply({ answer: (message.content as { ask: number }).ask });
    if (message.content === 'unwanted') await message.refuse('no, thank you');
  });
  await node.connect();
  const fallback = (active = true) => vi.waitFor(() => expect(changes.at(-1)?.active).toBe(active), 40_000);
  return { node, name, got, changes, refused, troubles, fallback };
}

const eventually = (check: () => unknown) => vi.waitFor(check, { timeout: 15_000, interval: 50 });

/** Until the newest roster names just these with an endpoint each, and all of them have it. */
async function rostered(...nodes: Someone[]): Promise<void> {
  await eventually(async () => {
    const { body } = await call(hub, 'GET', '/p2p/roster', { token });
    const members = (body.roster as { members: { node_id: string; p2p_url?: string }[] }).members;
    for (const { name } of nodes) expect(members.map(({ node_id }) => node_id)).toContain(name);
  });
  await sleep(1_500); // they ask for it within a second
}

const contents = ({ got }: Someone) => got.map(({ content }) => content);

/** What the hub's history has of messages from one node, oldest first. */
async function history(of: Someone): Promise<Record<string, unknown>[]> {
  const { body } = await call(hub, 'GET', '/messages?limit=500', { token: of.node.token! });
  return (body.messages as Record<string, unknown>[]).reverse();
}

test('nodes go on without the hub: they write, ask and answer, and all of it is in the history when the hub is back', async () => {
  const [ada, bob, cyd] = [await join('ada'), await join('bob'), await join('cyd')];
  await rostered(ada, bob, cyd);
  await killHub();
  await Promise.all([ada, bob, cyd].map((one) => one.fallback()));
  const sent = await Promise.all([1, 2, 3].map((n) => ada.node.send(bob.name, n)));
  const answer = await ada.node.request(cyd.name, { ask: 7 }, { timeoutMs: 200_000 });
  expect(answer).toMatchObject({ from: `node:${cyd.name}`, content: { answer: 7 } });
  await bob.node.send({ everyone: true }, 'to all');
  await eventually(() => expect(contents(bob)).toEqual([1, 2, 3]));
  await eventually(() => expect([contents(ada), contents(cyd)]).toEqual([['to all'], [{ ask: 7 }, 'to all']]));
  expect(bob.got.map(({ message_id }) => message_id)).toEqual(sent.map(({ messageId }) => messageId));

  await startHub();
  await Promise.all([ada, bob, cyd].map((one) => one.fallback(false)));
  await eventually(async () => {
    const said = (await history(ada)).map(({ content }) => content);
    expect(said.filter((content) => typeof content === 'number')).toEqual([1, 2, 3]);
    expect(said).toHaveLength(6);
  });
  const after = await ada.node.send(bob.name, 'back');
  await eventually(() => expect(contents(bob)).toEqual([1, 2, 3, 'back']));
  expect(contents(cyd)).toEqual([{ ask: 7 }, 'to all']);
  const { body } = await call(hub, 'GET', `/messages/${sent[0]!.messageId}?min_position=${after.position}`, {
    token: ada.node.token!,
  });
  expect(body.message).toMatchObject({ content: 1, said_at: expect.any(String), states: { delivered: 1 } });
  expect([...ada.troubles, ...bob.troubles, ...cyd.troubles]).toEqual([]);
});

test('what one cannot bring to another goes over a third node, at once or when that meets it, in order and once', async () => {
  const apart = new Set<string>();
  const reach = (who: string) => (other: string) => !apart.has(`${who}|${other}`) && !apart.has(`${other}|${who}`);
  const [a, b, c] = [fresh('ada'), fresh('bob'), fresh('cyd')];
  const ada = await join('', { with: reach(a) }, { nodeId: a });
  const bob = await join('', { with: reach(b) }, { nodeId: b });
  const cyd = await join('', { with: reach(c) }, { nodeId: c });
  apart.add(`${a}|${c}`);
  await rostered(ada, bob, cyd);
  await killHub();
  await Promise.all([ada, bob, cyd].map((one) => one.fallback()));
  for (const n of [1, 2, 3]) await ada.node.send(c, n);
  await eventually(() => expect(contents(cyd)).toEqual([1, 2, 3]));
  expect(await ada.node.request(c, { ask: 5 }, { timeoutMs: 200_000 })).toMatchObject({ content: { answer: 5 } });

  apart.add(`${b}|${c}`); // nobody reaches cyd: bob keeps it
  for (const n of [4, 5]) await ada.node.send(c, n);
  await sleep(2_500);
  ada.node.close(); // who wrote it is gone
  apart.delete(`${b}|${c}`);
  await eventually(() => expect(contents(cyd)).toEqual([1, 2, 3, { ask: 5 }, 4, 5]));
  expect(contents(bob)).toEqual([]);

  await startHub();
  await Promise.all([bob, cyd].map((one) => one.fallback(false)));
  // Their author is lost; whoever got them handed them in.
  await eventually(async () =>
    expect(
      (await history(cyd)).map(({ from, content }) => [from, content]).filter(([from]) => from === `node:${a}`),
    ).toEqual([1, 2, 3, { ask: 5 }, 4, 5].map((content) => [`node:${a}`, content])),
  );
  expect(contents(cyd)).toHaveLength(6);
});

test('a node that is restarted in the outage goes on where it was: nothing is handled twice, and what it wrote is home in the end', async () => {
  const kept = await mkdtemp(path.join(tmpdir(), 'fedhub-p2p-node-'));
  const key = await generateKey();
  const nodeId = fresh('dan');
  const ada = await join('ada');
  const dan = await join('', { folder: kept }, { nodeId, key });
  await rostered(ada, dan);
  await killHub();
  await Promise.all([ada, dan].map((one) => one.fallback()));
  await ada.node.send(nodeId, 'before');
  await dan.node.send(ada.name, 'from before');
  await eventually(() => expect([contents(dan), contents(ada)]).toEqual([['before'], ['from before']]));
  dan.node.close();
  const refused = once(ada.node, 'message-state');
  const { messageId } = await ada.node.send(nodeId, 'unwanted');
  await ada.node.send(nodeId, 'while it was away');
  const again = await join('', { folder: kept }, { nodeId, key }); // `connect` does not wait for the hub
  await eventually(() => expect(contents(again)).toEqual(['unwanted', 'while it was away']));
  expect((await refused)[0]).toMatchObject({ message_id: messageId, state: 'refused', reason: 'no, thank you' });
  await again.node.send(ada.name, 'from after');
  await eventually(() => expect(contents(ada)).toEqual(['from before', 'from after']));

  await startHub();
  await Promise.all([ada, again].map((one) => one.fallback(false)));
  const last = await again.node.send(ada.name, 'with the hub');
  await eventually(() => expect(contents(ada)).toEqual(['from before', 'from after', 'with the hub']));
  expect((await history(again)).map(({ content }) => content).sort()).toEqual(
    ['before', 'from after', 'from before', 'unwanted', 'while it was away', 'with the hub'].sort(),
  );
  const { body } = await call(hub, 'GET', `/messages/${messageId}?min_position=${last.position}`, {
    token: ada.node.token!,
  });
  expect(body.message).toMatchObject({
    states: { refused: 1 },
    recipients: [{ code: 'declined', reason: 'no, thank you' }],
  });
  expect(contents(again)).toHaveLength(2);
  await rm(kept, { recursive: true, force: true });
});

test.each([
  ['as much as was lost of it', 3],
  ['less than was lost of it', 1],
  ['more than was lost of it', 5],
])('what a node wrote in a folder that was restored from an older copy comes home too: %s', async (_, count) => {
  const kept = await mkdtemp(path.join(tmpdir(), 'fedhub-p2p-node-'));
  const copy = `${kept}-copy`;
  const [nodeId, key] = [fresh('dan'), await generateKey()];
  const ada = await join('ada');
  let dan = await join('', { folder: kept }, { nodeId, key });
  const write = async (words: string[]) => {
    for (const word of words) await dan.node.send(ada.name, word);
  };
  await rostered(ada, dan);
  await killHub();
  await dan.fallback();
  await write(['one', 'two']);
  dan.node.close();
  await sleep(500); // it closes its file
  await cp(kept, copy, { recursive: true });
  dan = await join('', { folder: kept }, { nodeId, key });
  await dan.fallback();
  await write(['three', 'four', 'five']);
  await startHub();
  await dan.fallback(false);
  await eventually(async () => expect(await history(dan)).toHaveLength(5));
  dan.node.close();
  await killHub();

  dan = await join('', { folder: copy }, { nodeId, key });
  await dan.fallback();
  const more = Array.from({ length: count }, (_unused, n) => `restored ${n}`);
  await write(more);
  await startHub();
  await dan.fallback(false);
  const all = ['one', 'two', 'three', 'four', 'five', ...more];
  await eventually(async () => expect((await history(dan)).map(({ content }) => content)).toEqual(all));
  await eventually(() => expect(contents(ada).sort()).toEqual(all.toSorted())); // some came before the hub was back
  expect(dan.refused).toEqual([]);
  expect(dan.troubles.map(({ message }) => message)).toEqual([expect.stringContaining('copied, or restored')]);
  for (const one of [kept, copy]) await rm(one, { recursive: true, force: true });
});

test('a node that was banned before the roster was signed is talked to by nobody', async () => {
  const kept = await mkdtemp(path.join(tmpdir(), 'fedhub-p2p-node-'));
  const key = await generateKey();
  const nodeId = fresh('eve');
  const eve = await join('', { folder: kept }, { nodeId, key });
  const [ada, bob] = [await join('ada'), await join('bob')];
  await rostered(eve, ada, bob);
  eve.node.close();
  expect(await call(hub, 'POST', `/governance/bans/${nodeId}`, { token, body: { reason: 'rude' } })).toMatchObject({
    status: 200,
  });
  await eventually(async () => {
    const { body } = await call(hub, 'GET', '/p2p/roster', { token });
    expect(JSON.stringify(body.roster)).not.toContain(`"${nodeId}"`);
  });
  await sleep(1_500);
  await killHub();
  const back = await join('', { folder: kept }, { nodeId, key }); // it has a roster that still names it
  await Promise.all([ada, bob].map((one) => one.fallback()));
  await back.node.send(ada.name, 'let me in');
  await back.node.send({ everyone: true }, 'let me in');
  await ada.node.send(bob.name, 'we go on');
  await eventually(() => expect(contents(bob)).toEqual(['we go on']));
  await sleep(2_000);
  expect([contents(ada), contents(back)]).toEqual([[], []]);
  await expect(ada.node.send(nodeId, 'hello?', { timeoutMs: 100 })).rejects.toThrow('no session');
  await startHub();
  await rm(kept, { recursive: true, force: true });
});

test('a roster whose time is over ends it, and what was said waits for the hub', async () => {
  hub.child.kill('SIGTERM');
  await hub.exited;
  await startHub({ FEDERATION_ROSTER_HOURS: '0.003' });
  const [ada, bob] = [await join('ada'), await join('bob')];
  await rostered(ada, bob);
  await killHub();
  await Promise.all([ada, bob].map((one) => one.fallback()));
  await ada.node.send(bob.name, 'in time');
  await eventually(() => expect(contents(bob)).toEqual(['in time']));
  await Promise.all([ada, bob].map((one) => one.fallback(false)));
  expect(ada.changes.map(({ reason }) => reason)).toEqual(['hub_silent', 'roster_expired']);
  await expect(ada.node.send(bob.name, 'too late', { timeoutMs: 200 })).rejects.toThrow('no session');
  await startHub();
  await eventually(async () => expect(await history(ada)).toMatchObject([{ content: 'in time' }]));
  expect(contents(bob)).toEqual(['in time']);
});
