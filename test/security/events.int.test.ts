/** Whoever listens is judged at each delivery: what it may not see, or may see no more, does not reach it on any way. */
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { EventReader, type Told } from '../setup/event-stream.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { type Receiver, startReceiver } from '../setup/receiver.ts';
import type { RawSocket } from './raw-socket.ts';
import { call, defects, joinByHttp, joinBySocket, type Visitor } from './visitor.ts';

let hub: TestHub;
let receiver: Receiver;
let names = 0;

beforeAll(async () => {
  hub = await startTestHub({ env: { FEDERATION_EGRESS_ALLOW: '127.0.0.0/8' } });
  receiver = await startReceiver();
});
afterAll(async () => {
  await receiver?.close();
  await hub?.stop();
});
afterEach(() => {
  expect(hub.alive(), hub.stderr().slice(-2_000)).toBe(true);
  expect(defects(hub.stderr())).toEqual([]);
});

const admin = async (method: string, path: string, body?: object) => {
  const answer = await call(hub, method, path, { token: hub.adminToken, body });
  expect([path, answer.status]).toEqual([path, expect.toSatisfy((status: number) => status < 300)]);
  return answer.body as Record<string, unknown> as Record<string, unknown> & { position: number }; // what every write answers
};
const happen = async (metadata: object = {}) => {
  const entity_id = `thing-${++names}`;
  const { position } = await admin('POST', '/entities', { entity_id, kind: 'ai', node_id: null, metadata });
  return { id: entity_id, position };
};
const told = (socket: RawSocket) => socket.of('federation:event').map(({ event }) => event as Told);
const subjects = (events: readonly Told[]) => events.map(({ subject }) => subject);

/** Someone who listens on all ways at once, to everything after a position. */
async function listen(who: Visitor & { socket: RawSocket }, after: number) {
  const { socket, token } = who;
  const stream = await EventReader.open(hub, token, { after: String(after) });
  expect((await socket.ask('federation:subscribe', { patterns: ['>'], after })).ok).toBe(true);
  const subscribe = async (delivery: object) => {
    const body = { label: 'all', patterns: ['>'], delivery, after };
    return String((await call(hub, 'POST', '/subscriptions', { token, body })).body.subscription_id);
  };
  const cursor = await subscribe({ kind: 'cursor' });
  const webhook = await subscribe({ kind: 'webhook', url: `${receiver.url}?${who.nodeId}` });
  const read = async () =>
    (await call(hub, 'GET', `/subscriptions/${cursor}/events?limit=500`, { token })).body as unknown as {
      events: Told[];
    };
  return { ...who, stream, cursor, webhook, read, sent: () => receiver.taken(`?${who.nodeId}`) };
}

describe('of what a federation keeps to those who govern', () => {
  test('nothing reaches a member on any way, and an administrator gets all of it, without hashes and addresses', async () => {
    const member = await listen(await joinBySocket(hub, 'member'), 0);
    await admin('POST', '/governance/invites', { label: 'hush' });
    await admin('POST', '/access/block/nobody', { reason: 'hush' });
    const { id } = await happen();
    const ways: [string, () => readonly Told[] | Promise<readonly Told[]>][] = [
      ['stream', () => member.stream.events],
      ['socket', () => told(member.socket)],
      ['cursor', async () => (await member.read()).events],
      ['webhook', () => member.sent()],
    ];
    const guarded = /^(session|key|operator-token|invite|access|admin|audit|limits|join)\./;
    for (const [way, events] of ways) {
      await expect.poll(async () => subjects(await events()), { timeout: 10_000, message: way }).toContain(id);
      const types = (await events()).map(({ type }) => type);
      expect(
        types.filter((type) => guarded.test(type) || type === 'subscription.advanced'),
        way,
      ).toEqual([]);
      expect(types, way).toContain('node.registered');
      // Its own subscriptions are its own.
      expect(types, way).toContain('subscription.created');
    }
    const governor = await EventReader.open(hub, hub.adminToken, { after: '0' });
    await expect.poll(() => subjects(governor.events)).toContain(id);
    const types = new Set(governor.types);
    for (const type of ['session.opened', 'operator-token.created', 'invite.created', 'access.blocked']) {
      expect(types).toContain(type);
    }
    const text = governor.messages.map(({ data }) => data).join('\n');
    expect(text).not.toMatch(/"hash":|"address":/);
    const stranger = await joinByHttp(hub, 'stranger');
    const other = await EventReader.open(hub, stranger.token, { after: '0' });
    await expect.poll(() => subjects(other.events)).toContain(id);
    expect(other.types).not.toContain('subscription.created');
    for (const reader of [governor, other, member.stream]) reader.close();
    member.socket.close();
  });

  test('what a task holds reaches who handed it in and who governs, in streams, replays and rooms', async () => {
    const owner = await joinBySocket(hub, 'task-owner');
    const other = await joinBySocket(hub, 'task-other');
    for (const { socket } of [owner, other]) {
      expect((await socket.ask('federation:subscribe', { patterns: ['task.*'] })).ok).toBe(true);
    }
    const body = { type: 'none-does-this', payload: { canary: 'c4n4ry' } };
    const { task_id, position } = (await call(hub, 'POST', '/tasks', { token: owner.token, body })).body as {
      task_id?: unknown;
      position?: unknown;
    };
    const shown = (data: unknown) => JSON.stringify(data ?? {}).includes('c4n4ry');
    for (const [{ socket }, sees] of [
      [owner, true],
      [other, false],
    ] as const) {
      await socket.until(() => told(socket).length > 0);
      expect(told(socket)).toMatchObject([{ type: 'task.submitted', subject: task_id }]);
      expect(shown(told(socket)[0]?.data)).toBe(sees);
    }
    for (const [token, sees] of [
      [owner.token, true],
      [other.token, false],
      [hub.adminToken, true],
    ] as const) {
      const reader = await EventReader.open(hub, token, { after: String(Number(position) - 1), patterns: 'task.>' });
      await expect.poll(() => reader.types).toContain('task.submitted');
      expect(shown(reader.events[0]?.data)).toBe(sees);
      reader.close();
    }
    // What is hidden is not found out by asking for it either.
    const guess = await EventReader.open(hub, other.token, {
      after: '0',
      patterns: 'session.*',
      'filter.node_id': 'task-owner',
    });
    const { id } = await happen();
    const proof = await EventReader.open(hub, other.token, { after: '0', patterns: 'entity.*' });
    await expect.poll(() => subjects(proof.events)).toContain(id);
    expect(guess.events).toEqual([]);
    for (const reader of [guess, proof]) reader.close();
    owner.socket.close();
    other.socket.close();
  });

  test('what tasks of a removed node held does not reach who takes its name, on any way; what its own tasks hold does', async () => {
    const asker = await joinBySocket(hub, 'asker');
    const former = await joinBySocket(hub, 'namesake');
    const { position: before } = await happen();
    const submit = async (socket: RawSocket, payload: string) => {
      const submission = { type: 'for-namesakes', payload, requirements: { node: 'namesake' } };
      return String((await socket.ask('federation:task:submit', submission)).task_id);
    };
    const work = async (socket: RawSocket, message: string) => {
      const { task } = await socket.ask('federation:task:claim', { types: ['for-namesakes'] });
      const { task_id, lease } = task as { task_id: string; lease: number };
      expect((await socket.ask('federation:task:progress', { task_id, lease, message })).ok).toBe(true);
      return { task_id, lease };
    };
    const made = await submit(former.socket, 'of-former');
    expect((await work(former.socket, 'of-former')).task_id).toBe(made);
    await admin('POST', `/tasks/${made}/cancel`, { reason: 'of-former' });
    const open = await submit(former.socket, 'of-former');
    await submit(asker.socket, 'of-asker');
    expect((await work(former.socket, 'of-former')).task_id).toBe(open);
    await admin('DELETE', '/nodes/namesake');
    const hearer = await listen(await joinBySocket(hub, 'namesake'), before);
    await admin('POST', `/tasks/${open}/cancel`, { reason: 'of-former' });
    await work(hearer.socket, 'of-namesake');
    await submit(hearer.socket, 'of-namesake');
    const { id } = await happen();
    const ways: [string, () => readonly Told[] | Promise<readonly Told[]>][] = [
      ['stream', () => hearer.stream.events],
      ['socket', () => told(hearer.socket)],
      ['cursor', async () => (await hearer.read()).events],
      ['webhook', () => hearer.sent()],
    ];
    for (const [way, events] of ways) {
      await expect.poll(async () => subjects(await events()), { timeout: 10_000, message: way }).toContain(id);
      const heard = await events();
      expect(heard.map(({ type }) => type).filter((type) => type === 'task.cancelled')).toHaveLength(2);
      const text = JSON.stringify(heard);
      expect(text, way).not.toMatch(/of-former|of-asker/);
      expect(text.match(/of-namesake/g), way).toHaveLength(2);
    }
    hearer.stream.close();
    for (const { socket } of [asker, hearer]) socket.close();
  });
});

describe('who loses its rights', () => {
  test('hears no more within a second, idle or not: banned', async () => {
    const { position } = await happen();
    const banned = await listen(await joinBySocket(hub, 'banned'), position);
    await expect.poll(() => banned.sent().length, { timeout: 10_000 }).toBeGreaterThan(0);
    await admin('POST', '/governance/bans/banned', { reason: 'enough' });
    const before = performance.now();
    const { id } = await happen();
    await expect.poll(() => banned.stream.ended, { interval: 10 }).toBe(true);
    expect(performance.now() - before).toBeLessThan(1_000);
    await banned.socket.until(() => banned.socket.ended);
    const { subscription } = await paused(banned.webhook);
    expect(subscription.reason).toContain('banned');
    expect((await banned.read()).events).toBeUndefined();
    for (const events of [banned.stream.events, told(banned.socket), banned.sent()]) {
      expect(subjects(events)).not.toContain(id);
      expect(events.map(({ type }) => type)).not.toContain('ban.imposed');
    }
  });

  test('hears no more: blocked; and on its socket, once it may again, what it missed', async () => {
    const { position } = await happen();
    const blocked = await listen(await joinBySocket(hub, 'blocked'), position);
    await expect.poll(() => blocked.sent().length, { timeout: 10_000 }).toBeGreaterThan(0);
    await admin('POST', '/access/block/blocked', { reason: 'for a while' });
    const { id } = await happen();
    await expect.poll(() => blocked.stream.ended).toBe(true);
    const { subscription } = await paused(blocked.webhook);
    expect(subscription.reason).toContain('access_blocked');
    for (const events of [blocked.stream.events, told(blocked.socket), blocked.sent()]) {
      expect(subjects(events)).not.toContain(id);
    }
    await admin('POST', '/access/unblock/blocked');
    const { id: later } = await happen();
    await blocked.socket.until(() => subjects(told(blocked.socket)).includes(later));
    const heard = subjects(told(blocked.socket)).filter((subject) => subject === id || subject === later);
    expect(heard).toEqual([id, later]);
    blocked.socket.close();
  });

  test('hears no more: a token of an operator that was revoked, a session that was revoked', async () => {
    const token = (await admin('POST', '/auth/tokens', { label: 'ear', scopes: ['audit'] })) as unknown as {
      token: string;
      prefix: string;
    };
    const operator = await EventReader.open(hub, token.token, { patterns: 'session.*' });
    const node = await joinByHttp(hub, 'revoked');
    const member = await EventReader.open(hub, node.token);
    await admin('DELETE', `/auth/tokens/${token.prefix}`);
    await expect.poll(() => operator.ended).toBe(true);
    expect(member.ended).toBe(false);
    await admin('POST', '/auth/revoke/revoked', { what: 'sessions', reason: 'test' });
    await expect.poll(() => member.ended).toBe(true);
  });

  test('sees less: an administrator that is one no more', async () => {
    const { socket, token } = await joinBySocket(hub, 'demoted');
    await admin('POST', '/governance/roles/demoted', { role: 'admin' });
    const stream = await EventReader.open(hub, token, { patterns: 'access.*' });
    expect((await socket.ask('federation:subscribe', { patterns: ['access.*'] })).ok).toBe(true);
    await admin('POST', '/access/allow/first');
    await expect.poll(() => subjects(stream.events)).toEqual(['first']);
    await socket.until(() => told(socket).length > 0);
    await admin('POST', '/governance/roles/demoted', { role: 'member' });
    await admin('POST', '/access/allow/second');
    const { id } = await happen();
    const proof = await EventReader.open(hub, token, { after: '0', patterns: 'entity.*' });
    await expect.poll(() => subjects(proof.events)).toContain(id);
    expect(subjects(stream.events)).toEqual(['first']);
    expect(subjects(told(socket))).toEqual(['first']);
    for (const reader of [stream, proof]) reader.close();
    socket.close();
  });
});

test('who takes the name of a node that was removed does not get the secret that signed for it', async () => {
  const secretOf = async (who: Visitor) =>
    (await call(hub, 'GET', '/subscriptions/secret', { token: who.token })).body.secret;
  const former = await joinByHttp(hub, 'heir');
  const secret = await secretOf(former);
  expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
  expect(await secretOf(former)).toBe(secret);
  await admin('DELETE', '/nodes/heir');
  expect(await secretOf(await joinByHttp(hub, 'heir'))).not.toBe(secret);
});

test('one who waits for events again and again does not keep others from waiting', async () => {
  const waiter = async (nodeId: string) => {
    const { token } = await joinByHttp(hub, nodeId);
    const body = { label: 'x', patterns: ['governance.*'], delivery: { kind: 'cursor' } };
    const { subscription_id: id } = (await call(hub, 'POST', '/subscriptions', { token, body })).body;
    return (ms: number) => call(hub, 'GET', `/subscriptions/${id}/events?wait_ms=${ms}`, { token });
  };
  const [greedy, modest] = [await waiter('greedy'), await waiter('modest')];
  const waiting = Array.from({ length: 80 }, () => greedy(3_000));
  const refused = await Promise.race(waiting.map(async (one) => ((await one).status === 200 ? never : one)));
  expect(refused).toMatchObject({ status: 409, body: { code: 'limit_reached' } });
  expect(await modest(300)).toMatchObject({ status: 200, body: { events: [] } });
  const statuses = (await Promise.all(waiting)).map(({ status }) => status);
  expect(statuses.filter((status) => status === 200)).toHaveLength(64);
});

test('one whose many receivers are slow does not keep the events of others waiting', async () => {
  const { token } = await joinByHttp(hub, 'sluggish');
  const subscribe = async (by: string, url: string) => {
    const body = { label: 'x', patterns: ['entity.registered'], delivery: { kind: 'webhook', url } };
    expect((await call(hub, 'POST', '/subscriptions', { token: by, body })).status).toBe(200);
  };
  let asked = 0;
  const slow = createServer((request) => {
    asked++;
    request.resume(); // and no answer
  });
  await new Promise<void>((listening) => slow.listen(0, '127.0.0.1', listening));
  try {
    const { port } = slow.address() as AddressInfo;
    for (let n = 0; n < 45; n++) await subscribe(token, `http://127.0.0.1:${port}/`);
    await happen();
    await expect.poll(() => asked, { timeout: 10_000 }).toBeGreaterThanOrEqual(16);
    await subscribe((await joinByHttp(hub, 'prompt')).token, `${receiver.url}?prompt`);
    const { id } = await happen();
    await expect.poll(() => subjects(receiver.taken('?prompt')), { timeout: 5_000 }).toContain(id);
    expect(asked).toBeLessThan(20);
  } finally {
    await admin('DELETE', '/nodes/sluggish');
    slow.closeAllConnections();
    slow.close();
  }
});

test('a reader that takes nothing is cut at a bound, and others hear on', async () => {
  const { hostname, port } = new URL(hub.url);
  const deaf = connect({ host: hostname, port: Number(port) });
  let cut = false;
  deaf.on('close', () => {
    cut = true;
  });
  deaf.on('error', () => {});
  await new Promise((open) => deaf.once('connect', open));
  deaf.write(`GET /api/federation/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${hub.adminToken}\r\n\r\n`);
  await new Promise((first) => deaf.once('data', first));
  deaf.pause();
  const reader = await EventReader.open(hub, hub.adminToken, { patterns: 'entity.*' });
  const text = 'x'.repeat(100_000);
  let made = '';
  for (let n = 0; n < 120; n++) made = (await happen({ text })).id;
  await expect.poll(() => subjects(reader.events)).toContain(made);
  deaf.resume(); // what the machine between holds comes, then the end
  await expect.poll(() => cut, { timeout: 5_000 }).toBe(true);
  expect(reader.ended).toBe(false);
  reader.close();
});

test('five hundred streams are open at a replica at most, all of them hear, and who goes makes room', async () => {
  const tokens: string[] = [];
  for (let n = 0; n < 32; n++) {
    tokens.push(String((await admin('POST', '/auth/tokens', { label: `ear ${n}`, scopes: ['read'] })).token));
  }
  const readers: EventReader[] = [];
  for (const token of tokens) {
    const some = Array.from({ length: 16 }, () => EventReader.open(hub, token, { patterns: 'entity.*' }));
    readers.push(...(await Promise.all(some)));
  }
  const open = readers.filter(({ response }) => response.status === 200);
  expect(open).toHaveLength(500);
  expect(readers.filter(({ response }) => response.status === 503)).toHaveLength(12);
  const { response: refused } = await EventReader.open(hub, hub.adminToken);
  expect([refused.status, refused.headers.get('content-type')]).toEqual([503, 'application/problem+json']);
  const { id } = await happen();
  await expect.poll(() => open.every(({ events }) => events.at(-1)?.subject === id)).toBe(true);
  open[0]?.close();
  await expect
    .poll(async () => {
      const reader = await EventReader.open(hub, hub.adminToken);
      reader.close();
      return reader.response.status;
    })
    .toBe(200);
  for (const reader of open) reader.close();
  await expect
    .poll(async () => {
      const all = await Promise.all(Array.from({ length: 16 }, () => EventReader.open(hub, hub.adminToken)));
      for (const reader of all) reader.close();
      return all.every(({ response }) => response.status === 200);
    })
    .toBe(true);
});

test('a hub that goes ends its streams, and says when to come back', async () => {
  const going = await startTestHub();
  const reader = await EventReader.open(going, going.adminToken);
  expect(await going.stop()).toBe(0);
  expect(reader.ended).toBe(true);
});

const never = new Promise<never>(() => {});

async function paused(id: string) {
  type Shown = { subscription: { status: string; reason: string } };
  await expect
    .poll(async () => ((await admin('GET', `/subscriptions/${id}`)) as unknown as Shown).subscription.status, {
      timeout: 15_000,
    })
    .toBe('paused');
  return (await admin('GET', `/subscriptions/${id}`)) as unknown as Shown;
}
