/** A node that an administrator has not decided on yet: it stays, comes back, and hears the answer. */
import { afterEach, describe, expect, it } from 'vitest';
import { FederationNode, type FederationNodeOptions, generateKey } from '../../src/client/node.ts';
import type { HubPacket } from '../../src/protocol.ts';
import { type Peer, refusal, startPeer } from './peer.ts';

let peer: Peer;
let node: FederationNode;
afterEach(async () => {
  node.close();
  await peer.close();
});

/** A node at a peer that lets it wait; each time that it begins to is noted. */
async function waiting(options: Partial<FederationNodeOptions> = {}) {
  peer = await startPeer();
  const extra = { waiting: true, requested_at: 'then', expires_at: 'later', position: 5 };
  peer.odd = (name) => (name === 'federation:register' ? refusal('approval_required', extra) : undefined);
  const clock = {
    monotonicMs: () => performance.now(),
    random: () => 0,
    after: (ms: number, fn: () => void) => {
      const timer = setTimeout(fn, ms > 1_000 ? ms : 20);
      return () => clearTimeout(timer);
    },
  };
  node = new FederationNode({ url: peer.url, nodeId: 'alpha', key: await generateKey(), clock, ...options });
  const waits: object[] = [];
  node.on('waiting', (wait) => waits.push(wait));
  const connected = node.connect();
  connected.catch(() => {});
  await expect.poll(() => waits.length).toBe(1);
  return { waits, connected };
}

const admitted = (): HubPacket<'federation:admitted'> => {
  const token = `e30.${Buffer.from(JSON.stringify({ iat: 0, exp: 900 })).toString('base64url')}.x`;
  return {
    token,
    expires_at: 'later',
    node: { node_id: 'alpha', public_key: 'A'.repeat(43), role: 'observer' },
    session_id: 'socket.1',
    position: 20,
    heartbeat_ms: 15_000,
    protocol_version: 1,
  };
};

describe('a node that waits', () => {
  it('says until when, and is connected as soon as it is admitted', async () => {
    const { waits, connected } = await waiting();
    expect(waits).toEqual([{ requestedAt: 'then', expiresAt: 'later' }]);
    const told = new Promise((resolve) => node.once('connected', resolve));
    peer.push('federation:admitted', admitted());
    await connected;
    expect(await told).toMatchObject({ sessionId: 'socket.1', position: 20, node: { role: 'observer' } });
    expect(node.token).toBe(admitted().token);
    expect(node.position).toBe(20);
  });

  it('resumes from where an earlier process of it had come to', async () => {
    await waiting({ position: 7 }).then(({ connected }) => {
      peer.push('federation:admitted', admitted());
      return connected;
    });
    expect(peer.got.find(({ name }) => name === 'federation:resume')?.packet).toEqual({ position: 7 });
  });

  it('asks again after a loss, with its invite, and goes on waiting', async () => {
    const invite = `fhi_abcdefgh_${'A'.repeat(43)}`;
    const { waits, connected } = await waiting({ invite });
    peer.cut();
    await expect.poll(() => waits.length, { timeout: 5_000 }).toBe(2);
    const asked = peer.got.filter(({ name }) => name === 'federation:register');
    expect(asked.map(({ packet }) => packet.invite)).toEqual([invite, invite]);
    peer.odd = () => undefined;
    peer.cut();
    await connected;
  });

  it('is closed with the answer when it is rejected', async () => {
    const { connected } = await waiting();
    const told = new Promise((resolve) => node.once('rejected', resolve));
    peer.push('federation:rejected', { code: 'join_rejected', reason: 'unknown owner' });
    await expect(connected).rejects.toMatchObject({ code: 'join_rejected', message: 'unknown owner' });
    expect(await told).toEqual({ code: 'join_rejected', reason: 'unknown owner' });
    await expect.poll(() => peer.connections()).toBe(0);
  });

  it('can be closed', async () => {
    const { connected } = await waiting();
    node.close();
    await expect(connected).rejects.toThrow('closed');
    await expect.poll(() => peer.connections()).toBe(0);
  });
});

describe('a node that an administrator has to decide on, at a hub that keeps no requests', () => {
  it('is told no, once and for all', async () => {
    peer = await startPeer();
    peer.odd = (name) => (name === 'federation:register' ? refusal('approval_required') : undefined);
    node = new FederationNode({ url: peer.url, nodeId: 'alpha', key: await generateKey() });
    await expect(node.connect()).rejects.toMatchObject({ code: 'approval_required' });
  });
});
