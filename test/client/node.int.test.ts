/** The node SDK at a real socket: joins, stays, comes back, misses nothing, and knows when to stop. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { processClock } from '../../src/client/clock.ts';
import {
  FederationNode,
  type FederationNodeOptions,
  generateKey,
  type HubPacket,
  HubRefusal,
  HubUnreachable,
  type NodeClock,
} from '../../src/client/node.ts';
import { type Peer, refusal, startPeer } from './peer.ts';

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const it of open.splice(0).reverse()) await it.close();
});

/** A clock on which waits are short; it notes how long they were meant to be. */
function quick(factor: number): NodeClock & { waits: number[] } {
  const waits: number[] = [];
  const after = (ms: number, fn: () => void) => {
    waits.push(ms);
    return processClock.after(ms / factor, fn);
  };
  return { ...processClock, waits, after };
}

async function aPeer(options: Parameters<typeof startPeer>[0] = {}): Promise<Peer> {
  const peer = await startPeer(options);
  open.push(peer);
  return peer;
}

async function aNode(url: string, options: Partial<FederationNodeOptions> = {}): Promise<FederationNode> {
  const node = new FederationNode({ url, nodeId: 'alpha', key: await generateKey(), clock: quick(10), ...options });
  open.push(node);
  return node;
}

const namesOf = (peer: Peer) => peer.got.map(({ name }) => name.slice('federation:'.length));
const joined = (position: number): HubPacket<'federation:node-joined'> => ({
  position,
  time: '2026-01-01T00:00:00.000Z',
  node_id: `n${position}`,
  cause: 'registered',
});

describe('a node', () => {
  test('joins with a key it has proved and the profile it was given', async () => {
    const peer = await aPeer();
    const profile = {
      owner: 'ada',
      capabilities: ['chat'],
      models: ['m1'],
      network: { port: 4001 },
      hardware: { cpu_cores: 4 },
    };
    const node = await aNode(peer.url, { displayName: 'Alpha', ...profile });
    const connected = once(node, 'connected');
    expect(await node.connect()).toBe(node);
    const [{ node: asSeen, position }] = (await connected) as [{ node: object; position: number }];
    expect(asSeen).toMatchObject({ node_id: 'alpha', display_name: 'Alpha', ...profile });
    expect([position, node.position]).toEqual([10, 10]);
    expect(node.token?.split('.')).toHaveLength(3);
    expect(namesOf(peer)).toEqual(['challenge', 'register']);
  });

  test('heartbeats as often as the hub says, give or take a tenth, with its reading', async () => {
    const peer = await aPeer({ heartbeatMs: 200 });
    const clock = quick(20);
    const reading = { active_tasks: 2, resources: { cpu_percent: 12.5 } };
    const node = await aNode(peer.url, { clock, reading: () => reading });
    await node.connect();
    await vi.waitFor(() => expect(beats(peer).length).toBeGreaterThan(20));
    for (const { packet } of beats(peer)) expect(packet).toEqual({ node_id: 'alpha', ...reading });
    const waits = clock.waits.filter((ms) => ms < 1000);
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(180);
    expect(Math.max(...waits)).toBeLessThanOrEqual(220);
    expect(new Set(waits).size).toBeGreaterThan(10);
  });

  test('goes on heartbeating when its reading fails', async () => {
    const peer = await aPeer({ heartbeatMs: 200 });
    const reading = () => {
      throw new Error('the sensor broke');
    };
    const node = await aNode(peer.url, { reading });
    const errors: Error[] = [];
    node.on('error', (error) => errors.push(error));
    await node.connect();
    await vi.waitFor(() => expect(beats(peer).length).toBeGreaterThan(2));
    expect(errors[0]).toMatchObject({ cause: new Error('the sensor broke') });
  });

  test('renews its token well ahead of its end, and again', async () => {
    const peer = await aPeer();
    const clock = quick(10_000);
    const node = await aNode(peer.url, { clock });
    await node.connect();
    await vi.waitFor(() => expect(namesOf(peer).filter((name) => name === 'renew').length).toBeGreaterThanOrEqual(2));
    const renewals = clock.waits.filter((ms) => ms > 100_000);
    for (const ms of renewals) {
      expect(ms).toBeLessThanOrEqual(600_000);
      expect(ms).toBeGreaterThanOrEqual(540_000);
    }
  });

  test('tells what the hub pushes, and overlooks what does not fit or is not known', async () => {
    const peer = await aPeer();
    const node = await aNode(peer.url);
    const heard: unknown[] = [];
    for (const name of ['node-joined', 'node-left', 'health-alert', 'degraded'] as const)
      node.on(name, (packet: object) => heard.push(packet));
    await node.connect();
    const about = { time: '2026-01-01T00:00:00.000Z', node_id: 'beta' };
    const left = { ...about, position: 12, cause: 'lost' } as const;
    const alert = {
      ...about,
      position: 13,
      status: 'opened',
      measure: 'cpu',
      level: 'warning',
      percent: 91,
      threshold: 80,
    } as const;
    peer.push('federation:node-joined', joined(11));
    peer.pushRaw('federation:node-joined', { position: 'soon' });
    peer.pushRaw('federation:from-the-future', {});
    peer.push('federation:node-left', left);
    peer.push('federation:health-alert', alert);
    peer.push('federation:degraded', { reason: 'views_unavailable' });
    await vi.waitFor(() => expect(heard).toEqual([joined(11), left, alert, { reason: 'views_unavailable' }]));
    expect(node.position).toBe(13);
    expect(peer.connections()).toBe(1);
  });

  test('says goodbye when it leaves, and does not come back', async () => {
    const peer = await aPeer();
    const node = await aNode(peer.url);
    await node.connect();
    await node.leave();
    expect(namesOf(peer).at(-1)).toBe('leave');
    await vi.waitFor(() => expect(peer.connections()).toBe(0));
    await expect(node.connect()).rejects.toThrow('closed');
    await expect(node.leave()).rejects.toBeInstanceOf(HubUnreachable);
    node.close();
  });

  test('lets its process end when it is closed, and keeps it while it is not', async () => {
    const peer = await aPeer();
    const program = `
      import { FederationNode, generateKey } from './src/client/node.ts';
      const node = await new FederationNode({ url: '${peer.url}', nodeId: 'alpha', key: await generateKey() }).connect();
      setTimeout(() => { console.log('still here'); node.close(); }, 300);`;
    const child = promisify(execFile)(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program], {
      timeout: 20_000,
    });
    expect((await child).stdout).toBe('still here\n');
  });
});

describe('a node whose connection is lost', () => {
  test('comes back, and is told what it missed: once, in order, though new things came first', async () => {
    const peer = await aPeer();
    const node = await aNode(peer.url);
    const positions: number[] = [];
    node.on('node-joined', ({ position }) => positions.push(position));
    await node.connect();
    peer.push('federation:node-joined', joined(11));
    await vi.waitFor(() => expect(positions).toEqual([11]));
    peer.position = 20;
    peer.onResume = (from) => {
      expect(from).toBe(11);
      peer.push('federation:node-joined', joined(22));
      for (const position of [11, 14, 18, 21, 22]) peer.push('federation:node-joined', joined(position));
    };
    const back = once(node, 'connected');
    peer.cut();
    await back;
    peer.push('federation:node-joined', joined(23));
    await vi.waitFor(() => expect(positions).toEqual([11, 14, 18, 21, 22, 23]));
    expect(namesOf(peer)).toEqual(['challenge', 'register', 'challenge', 'register', 'resume']);
  });

  test('starts at the position of an earlier process, when given one', async () => {
    const peer = await aPeer();
    const from: number[] = [];
    peer.onResume = (position) => from.push(position);
    const node = await aNode(peer.url, { position: 4 });
    await node.connect();
    expect([from, node.position]).toEqual([[4], 10]);
  });

  test('says so when it finds the log of the hub restored, and goes on from its end', async () => {
    const peer = await aPeer({ heartbeatMs: 100 });
    const node = await aNode(peer.url, { position: 4000 });
    const error = once(node, 'error').catch((it: unknown) => [it]);
    await node.connect();
    expect(await error).toMatchObject([{ message: expect.stringContaining('restored') }]);
    expect(node.position).toBe(10);
    expect(namesOf(peer)).not.toContain('resume');
  });

  test('gives a hub up that leaves two heartbeats unanswered, and comes back', async () => {
    const peer = await aPeer({ heartbeatMs: 100 });
    const node = await aNode(peer.url, { clock: quick(2) });
    const troubles: Error[] = [];
    node.on('error', (error) => troubles.push(error));
    await node.connect();
    peer.odd = (name) => (name === 'federation:heartbeat' ? 'silent' : undefined);
    await new Promise((lost) => node.once('disconnected', lost));
    peer.odd = () => undefined;
    await once(node, 'connected');
    expect(beats(peer).length).toBeGreaterThanOrEqual(2);
    expect(troubles.length).toBe(1);
  });

  test.each(['overloaded', 'not_ready', 'log_unavailable'] as const)(
    'keeps a session in which the hub is %s for now',
    async (code) => {
      const peer = await aPeer({ heartbeatMs: 100 });
      peer.odd = (name) => (name === 'federation:heartbeat' ? refusal(code) : undefined);
      const node = await aNode(peer.url);
      await node.connect();
      await vi.waitFor(() => expect(beats(peer).length).toBeGreaterThan(5));
      expect(namesOf(peer).filter((name) => name === 'register')).toHaveLength(1);
    },
  );

  test('proves its key again when the hub knows its session no more', async () => {
    const peer = await aPeer({ heartbeatMs: 100 });
    peer.odd = (name) => (name === 'federation:heartbeat' ? refusal('unauthenticated') : undefined);
    const node = await aNode(peer.url);
    await node.connect();
    await once(node, 'connected');
    expect(namesOf(peer).filter((name) => name === 'register')).toHaveLength(2);
  });

  test('waits longer each time, never as a herd, never beyond half a minute, for ever', async () => {
    const peer = await aPeer();
    const clock = { ...quick(100_000), random: () => 0.999999 };
    peer.odd = () => refusal('not_ready');
    const node = await aNode(peer.url, { clock });
    const waits: (number | undefined)[] = [];
    node.on('disconnected', ({ retryInMs }) => waits.push(retryInMs));
    void node.connect().catch(() => {});
    await vi.waitFor(() => expect(waits.length).toBeGreaterThanOrEqual(12), { timeout: 5000 });
    expect(waits.slice(0, 12)).toEqual([500, 1000, 2000, 4000, 8000, 16000, ...Array(6).fill(30_000)]);
    clock.random = () => 0;
    await vi.waitFor(() => expect(waits.at(-1)).toBe(0));
  });

  test('goes at once when the hub drains, and comes back when the hub said', async () => {
    const peer = await aPeer();
    const node = await aNode(peer.url, { clock: { ...quick(10), random: () => 0.5 } });
    await node.connect();
    const lost = once(node, 'disconnected');
    const back = once(node, 'connected');
    peer.push('federation:degraded', { reason: 'draining', retry_after_ms: 2000 });
    expect(await lost).toEqual([{ reason: 'draining', retryInMs: 3000 }]);
    await vi.waitFor(() => expect(peer.connections()).toBe(0));
    await back;
  });

  test('waits as long as a refusal asks it to', async () => {
    const peer = await aPeer();
    let refusals = 0;
    peer.odd = () => (refusals++ === 0 ? refusal('overloaded', { retry_after_ms: 1500 }) : undefined);
    const node = await aNode(peer.url, { clock: { ...quick(10), random: () => 0 } });
    const lost = once(node, 'disconnected');
    await node.connect();
    expect(await lost).toEqual([{ reason: 'the peer says overloaded', retryInMs: 1500 }]);
  });
});

describe('what a node subscribed to', () => {
  test('is asked for again when the hub has no time for it as the node comes back', async () => {
    const peer = await aPeer();
    const node = await aNode(peer.url);
    const errors: Error[] = [];
    node.on('error', (error) => errors.push(error));
    const asked = () =>
      peer.got.filter(({ name }) => name === 'federation:subscribe').map(({ packet }) => packet.after);
    const odds: (ReturnType<typeof refusal> | 'silent')[] = [];
    peer.odd = (name) =>
      name === 'federation:subscribe' ? (odds.shift() ?? { subscription: 's', position: 10 }) : undefined;
    await node.connect();
    const heard: number[] = [];
    odds.push(refusal('rate_limited', { retry_after_ms: 100 }));
    await node.subscribe(['node.*'], (event) => heard.push(event.position));
    peer.push('federation:event', { subscription: 's', event: eventAt(11) });
    await vi.waitFor(() => expect(heard).toEqual([11]));
    odds.push(refusal('log_unavailable'), refusal('overloaded'));
    peer.cut();
    await vi.waitFor(() => expect(asked()).toEqual([undefined, undefined, 11, 11, 11]), { timeout: 5_000 });
    peer.push('federation:event', { subscription: 's', event: eventAt(12) });
    await vi.waitFor(() => expect(heard).toEqual([11, 12]));
    expect(errors).toEqual([]);
    odds.push(refusal('invalid_input'));
    peer.cut();
    await vi.waitFor(() => expect(errors).toMatchObject([{ code: 'invalid_input' }]));
  });
});

describe('a node that is not wanted', () => {
  test.each(['banned', 'removed', 'superseded'])('stops for good when it is %s', async (reason) => {
    const peer = await aPeer();
    const node = await aNode(peer.url);
    const told: unknown[] = [];
    node.on('revoked', (packet) => told.push(packet));
    node.on('disconnected', (end) => told.push(end));
    await node.connect();
    peer.push('federation:revoked', { reason });
    await vi.waitFor(() => expect(told).toEqual([{ reason }, { reason, retryInMs: undefined }]));
    await vi.waitFor(() => expect(peer.connections()).toBe(0));
    expect(node.token).toBeUndefined();
    await new Promise((later) => setTimeout(later, 150)); // longer than the first wait before a return
    expect(namesOf(peer)).toEqual(['challenge', 'register']);
  });

  test.each(['key_taken', 'node_id_taken', 'forbidden', 'invite_required', 'protocol_unsupported'] as const)(
    'is told %s by connect, once',
    async (code) => {
      const peer = await aPeer();
      peer.odd = (name) => (name === 'federation:register' ? refusal(code) : undefined);
      const node = await aNode(peer.url);
      const error: unknown = await node.connect().catch((it: unknown) => it);
      expect(error).toBeInstanceOf(HubRefusal);
      expect(error).toMatchObject({ code, message: `the peer says ${code}` });
      expect(namesOf(peer)).toEqual(['challenge', 'register']);
    },
  );

  test('learns on coming back that it was removed, as an error, and stops', async () => {
    const peer = await aPeer();
    const node = await aNode(peer.url);
    await node.connect();
    peer.odd = () => refusal('node_removed');
    const error = once(node, 'error').catch((it: unknown) => [it]);
    peer.cut();
    expect(await error).toMatchObject([{ code: 'node_removed' }]);
    await expect(node.connect()).rejects.toThrow('closed');
  });
});

describe('a hub that is not there', () => {
  test('is waited for', async () => {
    const gone = await startPeer();
    const port = Number(new URL(gone.url).port);
    await gone.close();
    const node = await aNode(gone.url);
    const connecting = node.connect();
    await once(node, 'disconnected');
    await aPeer({ port });
    expect(await connecting).toBe(node);
  });

  test('is waited for no longer than asked', async () => {
    const gone = await startPeer();
    await gone.close();
    const node = await aNode(gone.url);
    await expect(node.connect({ timeoutMs: 2000 })).rejects.toThrow('no session within 2000 ms');
    await expect(node.connect()).rejects.toThrow('closed');
  });

  test('is waited for no more when the node is closed', async () => {
    const gone = await startPeer();
    await gone.close();
    const node = await aNode(gone.url);
    const connecting = node.connect();
    node.close();
    await expect(connecting).rejects.toBeInstanceOf(HubUnreachable);
  });
});

function beats(peer: Peer) {
  return peer.got.filter(({ name }) => name === 'federation:heartbeat');
}

function eventAt(position: number): HubPacket<'federation:event'>['event'] {
  return {
    specversion: '1.0',
    id: `e${position}`,
    source: '/federations/fed-1',
    type: 'node.left',
    time: '2026-01-01T00:00:00.000Z',
    datacontenttype: 'application/json',
    sequence: String(position).padStart(16, '0'),
    position,
    data: {},
  };
}
