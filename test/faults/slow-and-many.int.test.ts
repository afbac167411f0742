/** Those who come slowly, never read, or come in thousands: they are let go at a stated bound, and others do not feel it. */
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { limits } from '../../src/services/websocket-pool/limits.ts';
import { RawSocket, text } from '../security/raw-socket.ts';
import { call, defects, joinBySocket, post } from '../security/visitor.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

let hub: TestHub;
/** Under way while the other tests run; judged at the end, so that nobody waits half a minute for them alone. */
let slow: ReturnType<typeof startSlowly>;

beforeAll(async () => {
  hub = await startTestHub();
  slow = startSlowly();
});
afterAll(() => hub?.stop());
afterEach(() => {
  expect(hub.alive(), hub.stderr().slice(-2_000)).toBe(true);
  expect(defects(hub.stderr())).toEqual([]);
});

/** Memory of the hub's process that is in use now, megabytes. */
function memoryMb(): number {
  const status = `/proc/${hub.pid}/status`;
  const kilobytes = existsSync(status)
    ? /VmRSS:\s+(\d+) kB/.exec(readFileSync(status, 'utf8'))?.[1]
    : execFileSync('ps', ['-o', 'rss=', '-p', String(hub.pid)], { encoding: 'utf8' }).trim();
  return Number(kilobytes) / 1024;
}

/** A bare connection that says what it is given, and when the hub hung up on it. */
function bare(first: string): { socket: Socket; heard: () => string; ended: Promise<number> } {
  const began = performance.now();
  let heard = '';
  const socket = connect(hub.port, '127.0.0.1', () => socket.write(first));
  socket.on('data', (bytes) => {
    heard += bytes.toString();
  });
  socket.on('error', () => {});
  const ended = new Promise<number>((resolve) => socket.on('close', () => resolve(performance.now() - began)));
  return { socket, heard: () => heard, ended };
}

/** Who sends and never reads. */
async function deaf(socket: RawSocket): Promise<RawSocket> {
  socket.tcp.pause();
  return socket;
}

/** Sends the same bytes until the hub hangs up, or for ten seconds. Answers whether it hung up. */
async function flood({ tcp }: RawSocket, bytes: Buffer): Promise<boolean> {
  let hungUp = false;
  tcp.on('close', () => {
    hungUp = true;
  });
  const end = performance.now() + 10_000;
  while (!hungUp && performance.now() < end) {
    const taken = tcp.write(bytes);
    await (taken ? sleep(0) : Promise.race([new Promise((on) => tcp.once('drain', on)), sleep(50)]));
  }
  return hungUp;
}

/** Many frames in one piece. */
function frames(opcode: number, payload: string, count: number): Buffer {
  const size = payload.length; // ASCII below 126 bytes
  const frame = Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | size, 0, 0, 0, 0]), Buffer.from(payload)]);
  return Buffer.concat(Array(count).fill(frame));
}

describe('a client that never reads', () => {
  test.each([
    ['a stranger who asks on and on', text, '42["federation:nonsense",{}]', false],
    ['a member who asks on and on', text, '429["federation:heartbeat",{"node_id":"x"}]', true],
    ['one who pings on and on', 9, 'p'.repeat(120), false],
  ] as const)('is let go at the bound, and others do not feel it: %s', async (_who, opcode, payload, joined) => {
    const socket = joined ? (await joinBySocket(hub, 'deaf')).socket : await RawSocket.open(hub.url);
    const { socket: other, nodeId } = await joinBySocket(hub, `other-${randomUUID()}`);
    const before = memoryMb();
    const flooding = flood(await deaf(socket), frames(opcode, payload, 500));
    let over = false;
    void flooding.then(() => {
      over = true;
    });
    while (!over) {
      expect(await other.ask('federation:heartbeat', { node_id: nodeId })).toMatchObject({ ok: true }); // within the 5 s that it waits
      await sleep(20);
    }
    expect(await flooding).toBe(true);
    expect(memoryMb() - before).toBeLessThan(250);
    other.close();
  });

  test('and asks again for all that ever happened is sent no more than it reads', async () => {
    const busy = await joinBySocket(hub, 'busy');
    const long = 'x'.repeat(120);
    for (let at = 0; at < 60; at++) {
      const sovereignty = Object.fromEntries(Array.from({ length: 60 }, (_, key) => [`${at}-${key}`, long.repeat(25)]));
      (await joinBySocket(hub, `large-${at}`, { sovereignty })).socket.close();
    }
    const { socket } = await joinBySocket(hub, 'resumer');
    const before = memoryMb();
    await deaf(socket);
    for (let at = 0; at < 80; at++) {
      socket.send(`42${at}["federation:resume",{"position":0}]`);
      await sleep(25);
    }
    expect(memoryMb() - before).toBeLessThan(150);
    expect((await busy.socket.ask('federation:heartbeat', { node_id: 'busy' })).ok).toBe(true);
    socket.tcp.resume();
    expect(await socket.until(() => socket.ended || socket.of('federation:node-joined').length >= 60)).toBe(true);
    busy.socket.close();
    socket.close();
  });
});

describe('strangers in thousands', () => {
  test('are turned away at the bound, and members and their tokens are not', async () => {
    const { socket: member, nodeId, token } = await joinBySocket(hub, 'before-the-crowd');
    const crowd: RawSocket[] = [];
    while (crowd.length < limits.strangers + 300) {
      crowd.push(...(await Promise.all(Array.from({ length: 100 }, () => RawSocket.upgrade(hub.url)))));
    }
    const inside = crowd.filter(({ head }) => head.includes('101'));
    expect(inside.length).toBeLessThanOrEqual(limits.strangers);
    expect(inside.length).toBeGreaterThan(limits.strangers * 0.9);
    expect((await member.ask('federation:heartbeat', { node_id: nodeId })).ok).toBe(true);
    expect((await call(hub, 'GET', '/nodes?limit=1', { token })).status).toBe(200);
    for (const socket of crowd) socket.close();
    await sleep(500);
    (await joinBySocket(hub, 'after-the-crowd')).socket.close();
    member.close();
  });

  test('who come and go, or go while they register, do not use the places up', async () => {
    for (let round = 0; round < 10; round++) {
      const sockets = await Promise.all(Array.from({ length: 50 }, () => RawSocket.open(hub.url)));
      for (const socket of sockets) socket.close();
    }
    await sleep(500);
    const { body } = await call(hub, 'GET', '/status');
    expect(body.connections).toBeLessThan(20);
  });

  test('who ask for nonces cost the hub no memory', async () => {
    const ask = (at: number) => post(hub, '/auth/challenge', { node_id: `n-${at}`, purpose: 'register' });
    for (let at = 0; at < 1_000; at += 50) await Promise.all(Array.from({ length: 50 }, (_, next) => ask(at + next)));
    const before = memoryMb();
    for (let at = 0; at < 4_000; at += 50) await Promise.all(Array.from({ length: 50 }, (_, next) => ask(at + next)));
    expect(memoryMb() - before).toBeLessThan(60);
  });
});

const head = 'POST /api/federation/auth/challenge HTTP/1.1\r\nHost: hub\r\n';

function startSlowly() {
  const headers = [bare(head), bare('GE'), bare('')];
  const json = 'Content-Type: application/json\r\nContent-Length: 1000\r\n';
  const upgrade = 'Connection: Upgrade\r\nUpgrade: h2c\r\n';
  const bodies = [bare(`${head}${json}\r\n{`), bare(`${head}${upgrade}${json}\r\n{`)];
  const idle = bare(`${head.replace('POST', 'GET')}${upgrade}\r\n`);
  const trickle = setInterval(() => {
    headers[0]!.socket.write('X-A: b\r\n');
    for (const { socket } of bodies) socket.write(' ');
  }, 500);
  const upgraded = RawSocket.upgrade(hub.url);
  const connected = RawSocket.open(hub.url);
  return { headers, bodies, idle, upgraded, connected, stop: () => clearInterval(trickle) };
}

describe('places that are all taken', () => {
  test.each([
    ['/auth/tokens', { label: 'one of many', scopes: ['read'] }],
    ['/governance/invites', { label: 'one of many' }],
  ])('of %s: nothing is made any more, and what was made before is answered so by its key', async (path, body) => {
    const make = (key: string) =>
      call(hub, 'POST', path, { token: hub.adminToken, body, headers: { 'idempotency-key': key } });
    let made = '';
    for (let full = false, tries = 0; !full && tries < 30; tries++) {
      const keys = Array.from({ length: 50 }, (_, at) => `many-${tries}-${at}`);
      for (const [at, { status, body: answer }] of (await Promise.all(keys.map(make))).entries()) {
        if (status === 201) made = keys[at]!;
        else full = answer.code === 'limit_reached';
      }
    }
    expect((await make('one-more')).body.code).toBe('limit_reached');
    expect((await make(made)).body.code).toBe('already_done');
  });
});

describe('slow requests', () => {
  test('do not keep others waiting', async () => {
    const many = Array.from({ length: 300 }, () => bare(head));
    const began = performance.now();
    for (let at = 0; at < 20; at++) expect((await call(hub, 'GET', '/health')).status).toBe(200);
    expect(performance.now() - began).toBeLessThan(5_000);
    for (const { socket } of many) socket.destroy();
  });

  test('whose headers trickle in were given up after some ten seconds', async () => {
    const times = await Promise.all(slow.headers.map(({ ended }) => ended));
    for (const ms of times) expect(ms).toBeLessThan(20_000);
    expect(slow.headers[0]!.heard()).toContain('application/problem+json');
  });

  test('that asked for another protocol, and nothing after that, were let go', async () => {
    expect(await slow.idle.ended).toBeLessThan(20_000);
    expect(slow.idle.heard()).toContain('HTTP/1.1 405');
  });

  test('whose body trickles in were given up after some thirty', { timeout: 60_000 }, async () => {
    for (const { ended } of slow.bodies) expect(await ended).toBeLessThan(45_000);
    slow.stop();
  });

  test('strangers who upgraded and proved nothing were cut', { timeout: 60_000 }, async () => {
    const [silent, stranger] = await Promise.all([slow.upgraded, slow.connected]);
    expect(await silent.until(() => silent.ended, 1_000)).toBe(true);
    expect(await stranger.until(() => stranger.ended, 36_000)).toBe(true);
  });
});
