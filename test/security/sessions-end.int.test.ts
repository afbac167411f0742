/** A session ends with what it rests on: the membership, the key, the good standing of the node; and it does not come back. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { generateKey } from '../../src/client/key-file.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { RawSocket } from './raw-socket.ts';
import { call, httpDoor, joinByHttp, joinBySocket, post, prove, socketDoor, type Visitor } from './visitor.ts';

let hub: TestHub;
beforeAll(async () => {
  hub = await startTestHub();
});
afterAll(() => hub?.stop());

const admin = (method: string, path: string, body?: object) => call(hub, method, path, { token: hub.adminToken, body });
const reads = async (token: string) => (await call(hub, 'GET', '/nodes', { token })).status;
const refused = async (token: string) => [401, 403].includes(await reads(token));

/** Another session of a node that is in, over HTTP. */
async function another({ nodeId, key }: Visitor): Promise<string> {
  const door = httpDoor(hub);
  const opened = await door.register(await prove(hub, door, { nodeId, key, purpose: 'session' }));
  return String(opened.token);
}

describe('a token', () => {
  test('of a removed node is worth nothing to it, not even when another was approved under its name', async () => {
    const former = await joinByHttp(hub, 'name');
    await admin('DELETE', '/nodes/name');
    await admin('POST', '/governance/mode', { mode: 'approval' });
    const door = httpDoor(hub);
    const key = await generateKey();
    await door.register(await prove(hub, door, { nodeId: 'name', key }));
    expect((await admin('POST', '/governance/requests/name/approve', { role: 'admin' })).status).toBe(200);
    await admin('POST', '/governance/mode', { mode: 'open' });
    await expect.poll(() => refused(former.token)).toBe(true);
    expect([401, 403]).toContain((await post(hub, '/auth/renew', {}, former.token)).status);
    const latter = await joinByHttp(hub, 'name', {}, key);
    expect(await reads(latter.token)).toBe(200);
    expect(await refused(former.token)).toBe(true);
  });

  test('of before a ban does not count again when the ban is lifted, whichever of the node', async () => {
    const banned = await joinByHttp(hub, 'returner');
    const tokens = [banned.token, await another(banned)];
    await admin('POST', '/governance/bans/returner', { reason: 'for a while' });
    for (const token of tokens) expect(await reads(token)).toBe(403);
    await admin('DELETE', '/governance/bans/returner');
    for (const token of tokens) await expect.poll(() => reads(token)).toBe(403);
    expect(await reads(await another(banned))).toBe(200);
  });
});

describe('a socket', () => {
  test.each(['removed', 'revoked'] as const)(
    'opened in the moment in which its node is %s does not stay',
    async (how) => {
      const end = (nodeId: string) =>
        how === 'removed'
          ? admin('DELETE', `/nodes/${nodeId}`)
          : admin('POST', `/auth/revoke/${nodeId}`, { what: 'sessions', reason: 'race' });
      for (let round = 0; round < 25; round++) {
        const nodeId = `${how}-${round}`;
        const { key } = await joinByHttp(hub, nodeId);
        const socket = await RawSocket.open(hub.url);
        const door = socketDoor(socket);
        const registration = await prove(hub, door, { nodeId, key, purpose: 'session' });
        const opening = door.register(registration);
        await new Promise((done) => setTimeout(done, round % 6));
        await end(nodeId);
        const { ok } = await opening;
        if (how === 'removed' || ok) {
          // It was cut, or what it asks is refused: unless its session was opened after the revocation.
          const answer = await socket.ask('federation:renew', {});
          const after = how === 'revoked' && answer.ok && !(await wasRevokedAfter(nodeId));
          if (!after) expect(answer.ok, `round ${round}`).toBe(false);
        }
        socket.close();
      }
    },
  );

  test('is cut when its key is banned under another name', async () => {
    const key = await generateKey();
    await joinByHttp(hub, 'first-name', {}, key);
    await admin('DELETE', '/nodes/first-name');
    await expect
      .poll(() =>
        joinBySocket(hub, 'second-name', {}, key).then(
          () => true,
          () => false,
        ),
      )
      .toBe(true);
    const { socket } = await joinBySocket(hub, 'second-name', {}, key);
    await admin('POST', '/governance/bans/second-name', { reason: 'out' });
    await expect.poll(() => socket.ended).toBe(true);
    await expect(joinByHttp(hub, 'third-name', {}, key)).rejects.toThrow('banned');
  });
});

/** Whether the audit log tells of a revocation after the newest session of the node. */
async function wasRevokedAfter(nodeId: string): Promise<boolean> {
  const { head } = (await admin('GET', '/views')).body;
  const { body } = await admin('GET', `/audit?target=${nodeId}&action=session.*&limit=5&min_position=${head}`);
  const [newest] = body.entries as { action: string }[];
  return newest?.action === 'session.revoked';
}
