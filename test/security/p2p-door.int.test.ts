/** The door that a node opens for other nodes: strangers get nothing from it but a bounded wait, and it dials nobody whom it should not. */
import { randomBytes, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { io, type Socket } from 'socket.io-client';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { FederationNode, generateKey, type NodeKey } from '../../src/client/node.ts';
import { handshakeText } from '../../src/p2p/handshake.ts';
import type { Roster } from '../../src/protocol/p2p.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { deep, hostileTexts, wide } from './hostile-values.ts';
import { call, joinBySocket } from './visitor.ts';

let hub: TestHub;
let ada: FederationNode;
let door: string;
let roster: Roster;
/** A member whose key the test has. */
let bob: { nodeId: string; key: NodeKey };
const sockets: Socket[] = [];
const hostile: unknown[] = [
  ...hostileTexts.filter((text) => text.length < 5_000).map((text) => JSON.parse(text)),
  deep(40),
  wide(11_000),
];
/** Somebody who counts who dials. */
const bait = createServer();
let dialled = 0;

const rosterNow = async () => (await call(hub, 'GET', '/p2p/roster', { token: hub.adminToken })).body.roster as Roster;

beforeAll(async () => {
  hub = await startTestHub();
  bait.on('connection', () => dialled++).listen(0, '127.0.0.1');
  ada = new FederationNode({ url: hub.url, nodeId: 'ada', key: await generateKey(), p2p: { port: 0, silentMs: 300 } });
  await ada.connect();
  const { port } = bait.address() as AddressInfo;
  bob = await joinBySocket(hub, 'bob', { network: { p2p_url: `http://127.0.0.1:${port}` } });
  await vi.waitFor(async () => expect((await rosterNow()).members).toHaveLength(2), 10_000);
  roster = await rosterNow();
  door = roster.members.find(({ node_id }) => node_id === 'ada')!.p2p_url!;
  await sleep(1_500); // ada asks for it within a second
});
afterAll(async () => {
  for (const socket of sockets) socket.disconnect();
  ada.close();
  bait.close();
  await hub.stop();
});

async function knock(): Promise<Socket> {
  const socket = io(door, { path: '/p2p/', transports: ['websocket'], reconnection: false, forceNew: true });
  sockets.push(socket);
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('connect_error', reject);
  });
  return socket;
}

interface Answer {
  readonly ok: boolean;
  readonly error?: { readonly code: string };
  readonly nonce: string;
  readonly roster_id: string;
  readonly signature: string;
}
const ask = (socket: Socket, name: unknown, packet?: unknown) =>
  socket.timeout(5_000).emitWithAck(name as string, packet) as Promise<Answer>;
const helloOf = (more: object = {}) => ({
  version: 1,
  federation_id: roster.federation_id,
  node_id: 'bob',
  to: 'ada',
  nonce: randomBytes(32).toString('base64url'),
  roster_id: roster.roster_id,
  roster_position: roster.position,
  ...more,
});
const proofOf = async (
  hello: ReturnType<typeof helloOf>,
  said: Answer,
  key: NodeKey,
  as: 'dialer' | 'listener' = 'dialer',
) => {
  const shake = {
    federationId: hello.federation_id,
    dialer: hello.node_id,
    listener: hello.to,
    dialerNonce: hello.nonce,
    listenerNonce: said.nonce,
    dialerRoster: hello.roster_id,
    listenerRoster: said.roster_id,
  };
  return Buffer.from(await key.sign(Buffer.from(handshakeText(as, shake)))).toString('base64url');
};

test('before a key is proved nothing is answered but the handshake, whatever comes', async () => {
  const socket = await knock();
  const deliver = { author: 'bob', chain: randomUUID(), envelopes: [] };
  expect((await ask(socket, 'p2p:deliver', deliver)).error?.code).toBe('unauthenticated');
  expect((await ask(socket, 'p2p:roster', { part: 0 })).error?.code).toBe('unauthenticated');
  expect((await ask(socket, 'no such packet', {})).error?.code).toBe('not_found');
  for (const name of ['p2p:hello', 'p2p:prove', 'p2p:carry'])
    for (const value of hostile) expect(await ask(socket, name, value)).toMatchObject({ ok: false });
  // What is too deep for a client to send, and what is no packet at all, as bytes on the wire.
  for (const text of hostileTexts) socket.io.engine.write(`21["p2p:hello",${text}]`);
  for (const raw of ['2[]', '21[0]', '21[{}]', '2["p2p:hello"]', '51-["p2p:hello",{"_placeholder":true,"num":0}]', 'x'])
    (await knock()).io.engine.write(raw);
  socket.disconnect();
  expect((await ask(await knock(), 'p2p:roster', { part: 0 })).error?.code).toBe('unauthenticated');
});

test('only a member of the roster gets in, with its own key, once, and for this connection', async () => {
  for (const [more, code] of [
    [{ node_id: 'mallory' }, 'not_in_roster'],
    [{ node_id: 'ada' }, 'not_in_roster'],
    [{ to: 'bob' }, 'not_found'],
    [{ federation_id: 'another' }, 'not_found'],
  ] as const) {
    const socket = await knock();
    expect((await ask(socket, 'p2p:hello', helloOf(more))).error?.code).toBe(code);
    socket.disconnect();
  }
  const wrong = await knock();
  const hello = helloOf();
  const said = await ask(wrong, 'p2p:hello', hello);
  expect(
    (await ask(wrong, 'p2p:prove', { signature: await proofOf(hello, said, await generateKey()) })).error?.code,
  ).toBe('signature_invalid');
  await vi.waitFor(() => expect(wrong.connected).toBe(false));

  const right = await knock();
  const again = await ask(right, 'p2p:hello', hello);
  expect(again.nonce).not.toBe(said.nonce);
  const signature = await proofOf(hello, again, bob.key);
  expect(await ask(right, 'p2p:prove', { signature })).toEqual({ ok: true });
  expect(await ask(right, 'p2p:deliver', { author: 'bob', chain: randomUUID(), envelopes: [] })).toEqual({
    ok: true,
    have: 0,
  });
  expect((await ask(right, 'p2p:hello', helloOf())).error?.code).toBe('unauthenticated'); // the handshake is over

  const replay = await knock();
  await ask(replay, 'p2p:hello', hello);
  expect((await ask(replay, 'p2p:prove', { signature })).error?.code).toBe('signature_invalid');
  for (const value of hostile) expect(await ask(right, 'p2p:deliver', value)).toMatchObject({ ok: false });
  right.disconnect();
});

test('who does not wait for an answer, sends too much or proves nothing in time is cut off', async () => {
  const silent = await knock();
  silent.emit('p2p:hello', helloOf());
  await vi.waitFor(() => expect(silent.connected).toBe(false));
  const large = await knock();
  large.emit('p2p:hello', 'x'.repeat(600 * 1024), () => {});
  await vi.waitFor(() => expect(large.connected).toBe(false));
  const slow = await knock();
  await vi.waitFor(() => expect(slow.connected).toBe(false), 10_000);
});

test('strangers are so many at most', async () => {
  const come = await Promise.allSettled(Array.from({ length: 80 }, () => knock()));
  expect(come).toHaveLength(80);
  await sleep(500);
  const inside = sockets.filter(({ connected }) => connected).length;
  expect(inside).toBeLessThanOrEqual(64);
  expect(inside).toBeGreaterThan(0);
  for (const socket of sockets) socket.disconnect();
});

test('a node dials no address that is not public, whatever others say of themselves, unless it was told to', async () => {
  const begun = new Promise((resolve) => ada.once('fallback', resolve));
  const stopped = hub.stop();
  await begun;
  await ada.send('bob', 'hello');
  await sleep(3_000);
  expect(dialled).toBe(0);
  await stopped;
});
