/**
 * Half an hour without the hub, sixty times as fast: it is killed, five nodes exchange a thousand messages, one is cut off from the others for a part of
 * it, another is killed and started again, then the hub returns. Every message is handled once and is once in the hub's history, in
 * the order of its sender.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, expect, test, vi } from 'vitest';
import { type NodeClock, processClock } from '../../src/client/clock.ts';
import { FederationNode, generateKey, type NodeKey } from '../../src/client/node.ts';
import { call, defects } from '../security/visitor.ts';
import { freePort } from '../setup/free-port.ts';
import { startHubProcess } from '../setup/hub-process.ts';
import { noLimits } from '../setup/no-limits.ts';

const names = ['ada', 'bob', 'cyd', 'dan', 'eve'] as const;
const messages = 1_000;
const outageMs = 30_000;
/** Waits of minutes are seconds. */
const fast: NodeClock = { ...processClock, after: (ms, fn) => processClock.after(ms > 2_000 ? ms / 60 : ms, fn) };

const folder = await mkdtemp(path.join(tmpdir(), 'fedhub-p2p-fault-'));
const nodes = new Map<string, FederationNode>();
afterAll(async () => {
  for (const node of nodes.values()) node.close();
  await rm(folder, { recursive: true, force: true });
});

test('a thousand messages among five nodes while the hub is dead: each is handled once and comes home once', async () => {
  const env = { PORT: String(await freePort()), ...noLimits };
  let hub = await startHubProcess(folder, env);
  const token = hub.adminToken!;
  const keys = new Map<string, NodeKey>();
  /** By recipient: what its handlers were given, over all its processes. */
  const handled = new Map<string, { from: string; content: string }[]>(names.map((name) => [name, []]));
  let apart: string | undefined;
  const troubles: string[] = [];
  const start = async (name: string) => {
    const key = keys.get(name) ?? (await generateKey());
    keys.set(name, key);
    const node = new FederationNode({
      url: hub.url,
      nodeId: name,
      key,
      clock: fast,
      p2p: {
        port: 0,
        allow: ['127.0.0.1'],
        silentMs: 500,
        folder: path.join(folder, name),
        with: (other) => apart !== name && apart !== other,
      },
    });
    nodes.set(name, node);
    node.on('error', (error) => troubles.push(`${name}: ${error.message}`));
    node.on('entry-refused', (entry) => troubles.push(`${name}: ${JSON.stringify(entry)}`));
    node.messages(({ from, content }) => {
      handled.get(name)!.push({ from: from.slice('node:'.length), content: String(content) });
    });
    await node.connect();
    return node;
  };
  await Promise.all(names.map(start));
  await vi.waitFor(async () => {
    const { body } = await call({ ...hub, adminToken: token }, 'GET', '/p2p/roster', { token });
    const { members } = body.roster as { members: { p2p_url?: string }[] };
    expect(members.filter(({ p2p_url }) => p2p_url)).toHaveLength(names.length);
  }, 20_000);
  await sleep(2_000);

  hub.child.kill('SIGKILL');
  await hub.exited;
  await Promise.all([...nodes.values()].map((node) => new Promise((begun) => node.once('fallback', begun))));
  const began = performance.now();
  const everySent: { from: string; to: string; content: string; messageId: string }[] = [];
  for (let at = 0; at < messages; at++) {
    if (at === 200) apart = 'cyd';
    if (at === 400) {
      nodes.get('dan')!.close();
      await sleep(500);
      void start('dan'); // resolves when it goes on without the hub
      await new Promise((begun) => nodes.get('dan')!.once('fallback', begun));
    }
    if (at === 700) apart = undefined;
    const from = names[at % names.length]!;
    const to = names[(at + 1 + (Math.floor(at / names.length) % (names.length - 1))) % names.length]!;
    const content = `${from} to ${to} ${at}`;
    const { messageId } = await nodes.get(from)!.send(to, content);
    everySent.push({ from, to, content, messageId });
    await sleep(Math.max(0, (outageMs / messages) * at - (performance.now() - began)));
  }
  await vi.waitFor(() => expect([...handled.values()].reduce((sum, got) => sum + got.length, 0)).toBe(messages), {
    timeout: 60_000,
    interval: 250,
  });

  hub = await startHubProcess(folder, env);
  await Promise.all(
    [...nodes.values()].map(
      (node) => new Promise<void>((back) => node.on('fallback', ({ active }) => !active && back())),
    ),
  );
  const history = async (name: string) => {
    const own: { from: string; content: string; message_id: string }[] = [];
    let cursor: string | null = null;
    do {
      const query: string = `/messages?limit=500${cursor === null ? '' : `&cursor=${cursor}`}`;
      const { body } = await call({ ...hub, adminToken: token }, 'GET', query, { token: nodes.get(name)!.token! });
      own.push(...(body.messages as typeof own));
      cursor = body.next_cursor as string | null;
    } while (cursor !== null);
    return own.reverse().filter(({ from }) => from === `node:${name}`);
  };
  for (const name of names) {
    const mine = everySent.filter(({ from }) => from === name);
    await vi.waitFor(async () => expect(await history(name)).toHaveLength(mine.length), {
      timeout: 90_000,
      interval: 1_000,
    });
    const home = await history(name);
    for (const peer of names) {
      const between = mine.filter(({ to }) => to === peer);
      const inHistory = home.filter(({ content }) => content.startsWith(`${name} to ${peer} `));
      expect(inHistory.map(({ message_id, content }) => [message_id, content])).toEqual(
        between.map(({ messageId, content }) => [messageId, content]),
      );
      const got = handled.get(peer)!.filter(({ from }) => from === name);
      expect(got.map(({ content }) => content)).toEqual(between.map(({ content }) => content));
    }
  }
  await sleep(3_000); // nothing comes by the hub that came directly
  expect([...handled.values()].reduce((sum, got) => sum + got.length, 0)).toBe(messages);
  const refused = await call({ ...hub, adminToken: token }, 'GET', '/audit?action=p2p.refused', { token });
  expect([refused.body.entries, troubles]).toEqual([[], []]);
  expect(defects(hub.stderr())).toEqual([]);
  hub.child.kill('SIGTERM');
  await hub.exited;
});
