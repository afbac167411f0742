/** What time brings, and what a crash left half done: requests that lapse, approvals, claims and counts that somebody else finishes. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openLog } from '../../src/backends.ts';
import { FederationNode, type FederationNodeOptions, generateKey, type HubPacket } from '../../src/client/node.ts';
import { Executor } from '../../src/commands/execute.ts';
import { approve, join, joinStream } from '../../src/commands/join.ts';
import { keyThumbprint } from '../../src/ed25519.ts';
import type { DomainEvent } from '../../src/events/catalog.ts';
import type { EventLog } from '../../src/events/log.ts';
import { createKernel } from '../../src/kernel.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

const nodes: FederationNode[] = [];
const newNode = async (hub: TestHub, nodeId: string, options: Partial<FederationNodeOptions> = {}) => {
  const node = new FederationNode({ url: hub.url, nodeId, key: options.key ?? (await generateKey()), ...options });
  node.on('error', () => {});
  nodes.push(node);
  return node;
};
const waitingNode = async (hub: TestHub, nodeId: string, options: Partial<FederationNodeOptions> = {}) => {
  const node = await newNode(hub, nodeId, options);
  const waits = new Promise<{ expiresAt: string | undefined }>((resolve) => node.once('waiting', resolve));
  const connected = node.connect();
  connected.catch(() => {});
  return { node, connected, waiting: await waits };
};
const call = async (hub: TestHub, token: string, method: string, path: string, body?: object) => {
  const answer = await fetch(`${hub.url}/api/federation${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, ...(body && { 'content-type': 'application/json' }) },
    ...(body && { body: JSON.stringify(body) }),
  });
  return (await answer.json()) as Record<string, unknown> & { code?: string };
};

afterAll(() => {
  for (const node of nodes) node.close();
});

describe('a request that nobody answers', () => {
  let hub: TestHub;
  beforeAll(async () => {
    hub = await startTestHub({ env: { FEDERATION_MODE: 'approval', FEDERATION_JOIN_HOURS: '0.001' } });
  });
  afterAll(() => hub.stop());

  it('lapses, and the node that waits is told', async () => {
    const key = await generateKey();
    const { node, connected, waiting } = await waitingNode(hub, 'late', { key });
    const told = new Promise<HubPacket<'federation:rejected'>>((resolve) => node.once('rejected', resolve));
    expect(Date.parse(waiting.expiresAt!)).toBeGreaterThan(Date.now());
    expect(await told).toMatchObject({ code: 'approval_required' });
    await expect(connected).rejects.toMatchObject({ code: 'approval_required' });
    expect(await call(hub, hub.adminToken, 'POST', '/governance/requests/late/approve')).toMatchObject({
      code: 'conflict',
    });
    const again = await waitingNode(hub, 'late', { key });
    await call(hub, hub.adminToken, 'POST', '/governance/requests/late/approve');
    await expect(again.connected).resolves.toBeDefined();
  });
});

describe('what a replica did not finish', () => {
  let first: TestHub;
  let second: TestHub;
  let log: EventLog;
  let executor: Executor;
  const about = { actor: 'operator:crashing' };
  const note = (stream: string, ...events: DomainEvent[]) => executor.note(stream, events, about);

  beforeAll(async () => {
    first = await startTestHub({ database: 'postgres', env: { FEDERATION_MODE: 'approval' } });
    second = await startTestHub({ env: { DATABASE_URL: first.databaseUrl! } });
    const kernel = createKernel({ logLevel: 'silent' });
    log = await openLog(first.databaseUrl!, kernel);
    executor = await Executor.start(log, kernel);
  });
  afterAll(async () => {
    await executor.close();
    await log.close();
    await second.stop();
    await first.stop();
  });

  const admin = (method: string, path: string, body?: object) => call(second, first.adminToken, method, path, body);

  it('an approval that was written and no more lets the node in, and counts it when it is an administrator', async () => {
    const { connected } = await waitingNode(first, 'orphan');
    const command = { nodeId: 'orphan', role: 'admin' as const };
    await executor.execute(joinStream('orphan'), join, approve, command, about);
    await connected;
    await expect.poll(() => admin('GET', '/nodes/orphan')).toMatchObject({ node: { role: 'admin', status: 'online' } });
    const fact = (await log.readStream('admins', 0, 100)).map(({ data }) => JSON.parse(data) as object);
    expect(fact).toContainEqual({ admin: 'node:orphan' });
  });

  it('a claim that nobody settled is used by a node that is in, and free again for one that is not', async () => {
    const made = await admin('POST', '/governance/invites', { uses: 2 });
    const invite_id = String(made.invite_id);
    const key = await generateKey();
    await admin('POST', '/governance/mode', { mode: 'open' });
    await (await newNode(first, 'settled', { key })).connect();
    const expires_at = new Date(Date.now() - 1).toISOString();
    const claimed = (node_id: string, thumbprint: string): DomainEvent => ({
      type: 'invite.claimed',
      data: { invite_id, node_id, thumbprint, expires_at },
    });
    const never = (await generateKey()).publicKey;
    await note(
      `invite-${invite_id}`,
      claimed('settled', keyThumbprint(key.publicKey)),
      claimed('never', keyThumbprint(never)),
    );
    const shown = async () => {
      const { invites } = (await admin('GET', '/governance/invites')) as { invites?: { invite_id: string }[] };
      return invites?.find((row) => row.invite_id === invite_id);
    };
    await expect
      .poll(shown, { timeout: 10_000 })
      .toMatchObject({ uses_left: 1, used_by: [{ node_id: 'settled', status: 'used' }] });
  });

  it('a node that waits at two replicas has one session when it is let in: the newer', async () => {
    await admin('POST', '/governance/mode', { mode: 'approval' });
    for (let round = 0; round < 10; round++) {
      const nodeId = `twice-${round}`;
      const key = await generateKey();
      const [one, other] = round % 2 ? [first, second] : [second, first];
      const older = await waitingNode(one, nodeId, { key });
      const revoked = new Promise((resolve) => older.node.once('revoked', resolve));
      const newer = await waitingNode(other, nodeId, { key });
      await admin('POST', `/governance/requests/${nodeId}/approve`);
      await newer.connected;
      expect(await revoked).toMatchObject({ reason: 'superseded' });
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(newer.node.token).toBeDefined();
      newer.node.close();
    }
  });

  it('a count of administrators that a crash left wrong is put right after a minute', async () => {
    await admin('POST', '/governance/mode', { mode: 'open' });
    await (await newNode(first, 'uncounted')).connect();
    await note('node-uncounted', {
      type: 'node.role-changed',
      data: { node_id: 'uncounted', role: 'admin', previous: 'member' },
    });
    await note('admins', { type: 'admin.appointed', data: { admin: 'node:ghost' } });
    const counted = async () =>
      (await log.readStream('admins', 0, 100)).map(
        ({ type, data }) => `${type} ${(JSON.parse(data) as { admin: string }).admin}`,
      );
    await expect
      .poll(counted, { timeout: 90_000, interval: 1_000 })
      .toEqual(expect.arrayContaining(['admin.appointed node:uncounted', 'admin.dismissed node:ghost']));
  }, 100_000);

  it('the last administrator cannot go, whoever asks where at once', async () => {
    const boss = { ada: await newNode(first, 'ada'), bob: await newNode(second, 'bob') };
    await Promise.all([boss.ada.connect(), boss.bob.connect()]);
    for (const nodeId of ['uncounted', 'orphan'])
      await admin('POST', `/governance/roles/${nodeId}`, { role: 'member' });
    await admin('POST', '/governance/roles/ada', { role: 'admin' });
    const prefix = first.adminToken.split('_')[1];
    const token = () => boss.ada.token!;
    await expect.poll(() => call(first, token(), 'GET', '/auth/tokens')).not.toHaveProperty('code');
    expect(await call(first, token(), 'DELETE', `/auth/tokens/${prefix}`)).not.toHaveProperty('code');
    const last = { code: 'last_admin' };
    expect(await call(first, token(), 'POST', '/governance/roles/ada', { role: 'member' })).toMatchObject(last);
    expect(await call(first, token(), 'POST', '/governance/bans/ada', { reason: 'x' })).toMatchObject(last);
    expect(await call(second, token(), 'DELETE', '/nodes/ada')).toMatchObject(last);
    for (let round = 0; round < 20; round++) {
      for (const nodeId of ['ada', 'bob']) {
        const by = boss[(await isAdmin(first, boss.ada.token!)) ? 'ada' : 'bob'].token!;
        await call(first, by, 'POST', `/governance/roles/${nodeId}`, { role: 'admin' });
      }
      await expect.poll(() => isAdmin(second, boss.ada.token!)).toBe(true);
      await expect.poll(() => isAdmin(first, boss.bob.token!)).toBe(true);
      const answers = await Promise.all([
        call(first, boss.bob.token!, 'POST', '/governance/roles/ada', { role: 'member' }),
        call(second, boss.ada.token!, 'POST', '/governance/roles/bob', { role: 'member' }),
      ]);
      const demoted = answers.filter(({ code }) => code === undefined);
      expect(demoted, JSON.stringify(answers)).toHaveLength(1);
      await expect
        .poll(async () => [await isAdmin(first, boss.ada.token!), await isAdmin(first, boss.bob.token!)].sort())
        .toEqual([false, true]);
    }
  });

  const isAdmin = async (hub: TestHub, token: string) =>
    (await call(hub, token, 'GET', '/governance/bans?limit=1')).code === undefined;
});
