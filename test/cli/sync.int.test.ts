/** `fedhub sync` and `fedhub peer` at a real hub. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { call, knowing, openHanded } from '../journeys/knowledge.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { program } from '../setup/hub-process.ts';

const run = promisify(execFile);
const within = { timeout: 15_000 };
let hub: TestHub;
let other: TestHub;

beforeAll(async () => {
  const env = { FEDERATION_EGRESS_ALLOW: '127.0.0.0/8' };
  [hub, other] = await Promise.all([startTestHub({ env }), startTestHub()]);
}, 60_000);
afterAll(() => Promise.all([hub?.stop(), other?.stop()]));

async function fedhub(...words: string[]): Promise<{ code: number; out: string; err: string }> {
  const all = [program, '--url', hub.url, '--token', hub.adminToken, ...words];
  return run(process.execPath, all).then(
    ({ stdout, stderr }) => ({ code: 0, out: stdout, err: stderr }),
    (error: { code: number; stdout: string; stderr: string }) => ({
      code: error.code,
      out: error.stdout,
      err: error.stderr,
    }),
  );
}

it('asks a node to sync, lists syncs and shows one', async () => {
  const { node, knowledge } = await knowing(hub, 'ada', openHanded);
  const { memoryId } = await knowledge.put({ category: 'notes', content: 'kept here' });
  expect(await fedhub('sync', 'run', 'ada', '--direction', 'push')).toMatchObject({ code: 0 });
  await vi.waitFor(async () => expect((await knowledge.get(memoryId))?.synced).toBe(true), within);
  const listed = await vi.waitFor(async () => {
    const { out } = await fedhub('--json', 'sync', 'list', '--node', 'ada');
    const sync = JSON.parse(out.split('\n')[0] ?? '');
    expect(sync).toMatchObject({ node_id: 'ada', direction: 'push', status: 'completed', pushed: 1 });
    return sync;
  }, within);
  expect((await fedhub('sync', 'show', listed.sync_id)).out).toMatch(
    /ada push full: completed\n\d+ rounds, 0 pulled, 1 pushed/,
  );
  expect(await fedhub('sync', 'cancel', listed.sync_id)).toMatchObject({
    code: 1,
    err: expect.stringContaining('sync_over'),
  });
  expect(await fedhub('sync', 'run', 'nobody')).toMatchObject({ code: 1 });
  expect(await fedhub('sync', 'run', 'ada', '--direction', 'sideways')).toMatchObject({ code: 2 });
  node.close();
});

it('adds another hub, lists it and removes it', async () => {
  const added = await fedhub(
    'peer',
    'add',
    other.url,
    '--node',
    'near',
    '--name',
    'far',
    '--every',
    '1',
    '--category',
    'open',
  );
  expect(added, added.err).toMatchObject({ code: 0, out: expect.stringContaining('far: this hub is a member there') });
  const { body } = await call(other.url, other.adminToken, 'GET', '/nodes/near');
  expect(body.node.labels).toEqual({ federation: hub.federationId });
  await vi.waitFor(async () => {
    const { out } = await fedhub('--json', 'peer', 'list');
    expect(JSON.parse(out)).toMatchObject({
      peer_id: 'far',
      node_id: 'near',
      every_seconds: 1,
      scope: { mode: 'targeted', categories: ['open'] },
      last_outcome: 'completed',
    });
  }, within);
  const said = await call(other.url, other.adminToken, 'GET', '/knowledge/sovereignty/near');
  expect(said.body.sovereignty).toMatchObject({ shares: [], takes: [{ categories: ['open/*'], foreign: true }] });
  expect((await fedhub('peer', 'list')).out).toContain('completed');
  expect(await fedhub('peer', 'remove', 'far')).toMatchObject({ code: 0 });
  expect((await fedhub('--json', 'peer', 'list')).out).toBe('');
  expect(await fedhub('peer', 'remove', 'far')).toMatchObject({ code: 1 });
});
