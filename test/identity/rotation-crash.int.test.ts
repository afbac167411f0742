/** A hub that died in the middle of changing a node's key: another replica does the rest. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openLog } from '../../src/backends.ts';
import { generateKey } from '../../src/client/key-file.ts';
import { Executor } from '../../src/commands/execute.ts';
import { confirm, key as keyAggregate, keyStream, reserve } from '../../src/commands/key.ts';
import { node, nodeStream, rotateKey } from '../../src/commands/node.ts';
import { keyThumbprint } from '../../src/ed25519.ts';
import { createKernel } from '../../src/kernel.ts';
import { call, joinByHttp } from '../security/visitor.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

let hub: TestHub;
beforeAll(async () => {
  hub = await startTestHub({ database: 'postgres' });
});
afterAll(() => hub?.stop());

/** Does the first steps of a rotation, as a hub two minutes ago would have, and no more. */
async function beginRotation(nodeId: string, previous: string, publicKey: string, steps: 'rotated' | 'confirmed') {
  const kernel = createKernel({ logLevel: 'silent' }, { now: () => Date.now() - 120_000 });
  const log = await openLog(hub.databaseUrl!, kernel);
  const executor = await Executor.start(log, kernel);
  const use = { thumbprint: keyThumbprint(publicKey), nodeId };
  const about = { actor: `node:${nodeId}` };
  await executor.execute(keyStream(use.thumbprint), keyAggregate, reserve, use, about);
  await executor.execute(nodeStream(nodeId), node, rotateKey, { nodeId, publicKey, previous }, about);
  if (steps === 'confirmed') await executor.execute(keyStream(use.thumbprint), keyAggregate, confirm, use, about);
  await executor.close();
  await log.close();
}

const whoAmI = async (token: string) => (await call(hub, 'GET', '/nodes?limit=1', { token })).body.code ?? 'somebody';
const joining = (nodeId: string, key: Awaited<ReturnType<typeof generateKey>>) =>
  joinByHttp(hub, nodeId, {}, key).then(() => 'in', String);

test('retires the old key and ends the sessions that it opened', async () => {
  const { nodeId, key, token } = await joinByHttp(hub, 'ada');
  const next = await generateKey();
  await beginRotation(nodeId, key.publicKey, next.publicKey, 'confirmed');
  await expect.poll(() => joining(nodeId, key), { timeout: 15_000, interval: 250 }).toContain('key_revoked');
  await expect.poll(() => whoAmI(token)).toBe('session_superseded');
  expect(await joining('other', key)).toContain('key_revoked');
  expect(await joining(nodeId, next)).toBe('in');
});

test('lets the node in with its new key, which is nobody else’s', async () => {
  const { nodeId, key } = await joinByHttp(hub, 'bob');
  const next = await generateKey();
  await beginRotation(nodeId, key.publicKey, next.publicKey, 'rotated');
  expect(await joining(nodeId, next)).toBe('in');
  expect(await joining('other', next)).toContain('key_taken');
  expect(await joining(nodeId, key)).toMatch(/node_id_taken|key_revoked/);
});
