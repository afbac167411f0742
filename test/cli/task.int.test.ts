/** `fedhub task` and `fedhub models`, as they are typed, against a real hub with a real node. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { FederationNode, generateKey, TaskFailure } from '../../src/client/node.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

const program = process.env.FEDHUB_PROGRAM ?? path.resolve(import.meta.dirname, '../../dist/cli/fedhub.js');
let hub: TestHub;
let node: FederationNode;

beforeAll(async () => {
  hub = await startTestHub();
  node = new FederationNode({ url: hub.url, nodeId: 'ada', key: await generateKey(), capabilities: ['gpu'] });
  node.work(
    {
      words: ({ payload }) => ({ words: String(payload).split(' ').length }),
      broken: () => {
        throw new TaskFailure('bad_words', 'these are no words', { retryable: false });
      },
    },
    { capacity: 2 },
  );
  await node.connect();
});
afterAll(async () => {
  node.close();
  await hub.stop();
});

/** What a command printed, and its exit code. */
function fedhub(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const env = { PATH: process.env.PATH, FEDHUB_URL: hub.url, FEDHUB_TOKEN: hub.adminToken };
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [program, ...args], { env }, (_error, out, err) =>
      resolve({ code: child.exitCode ?? -1, out, err }),
    );
  });
}
const json = async (...args: string[]) => {
  const { code, out, err } = await fedhub('--json', ...args);
  expect([code, err]).toEqual([0, '']);
  return out
    .trim()
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, unknown>);
};

it('hands in a task and waits for its result', async () => {
  const { code, out } = await fedhub(
    'task',
    'submit',
    'words',
    '--payload',
    '"a b c"',
    '--capability',
    'gpu',
    '--wait',
  );
  expect([code, JSON.parse(out)]).toEqual([0, { words: 3 }]);
});

it('reads a payload from a file', async () => {
  await writeFile(path.join(hub.folder, 'payload.json'), '"one two"');
  const [task] = await json('task', 'submit', 'words', '--payload', `@${hub.folder}/payload.json`, '--wait');
  expect(task).toMatchObject({ status: 'completed', result: { words: 2 } });
});

it('ends with 1 and the reason when the task fails', async () => {
  const { code, err } = await fedhub('task', 'submit', 'broken', '--wait');
  expect(code).toBe(1);
  expect(err).toContain('these are no words (bad_words)');
});

it('shows a task with the node it went to and why, lists, cancels, and has tasks tried again', async () => {
  const [made] = await json('task', 'submit', 'nobody', '--priority', '9', '--node', 'zoe', '--label', 'room=a=b');
  const id = String(made?.task_id);
  const [listed] = await json('task', 'list', '--type', 'nobody');
  expect(listed).toMatchObject({
    task_id: id,
    status: 'pending',
    priority: 9,
    requirements: { node: 'zoe', labels: { room: 'a=b' } },
  });
  expect((await fedhub('task', 'get', id)).out).toMatch(/waits for .*node zoe is not online; label room=a=b/);
  expect(await json('task', 'cancel', id, '--reason', 'enough')).toEqual([
    { task_id: id, status: 'cancelled', position: expect.any(Number) },
  ]);
  const [failed] = await json('task', 'list', '--status', 'failed');
  expect((await fedhub('task', 'retry', id)).err).toContain('(conflict)');
  expect(await json('task', 'retry', String(failed?.task_id))).toMatchObject([{ status: 'pending' }]);
  const [done] = await json('task', 'submit', 'words', '--payload', '"a"', '--wait');
  const { code, out } = await fedhub('task', 'get', String(done?.task_id));
  expect(code).toBe(0);
  expect(out).toMatch(/status {4}completed/);
  expect(out).toMatch(/ada .*push .*completed/);
  expect(out).toMatch(/of 1 nodes? that could do it/);
});

it('tells wrong use apart from a refusal', async () => {
  expect((await fedhub('task', 'submit', 'words', '--payload', 'no json')).code).toBe(2);
  expect((await fedhub('task', 'submit', 'words', '--label', 'room')).code).toBe(2);
  expect((await fedhub('task', 'submit', 'words', '--priority', 'high')).code).toBe(2);
  expect((await fedhub('task', 'submit', 'words', '--priority', '11')).code).toBe(1);
  expect((await fedhub('task', 'get', 'nosuch')).code).toBe(1);
});

it('shows the models, and the best node for one', async () => {
  await node.models([{ model_id: 'org/m:7b', type: 'chat', context_length: 4096, loaded: true }]);
  await vi.waitFor(async () => expect(await json('models')).toMatchObject([{ model_id: 'org/m:7b' }]), 10_000);
  const { out } = await fedhub('models', '--type', 'chat');
  expect(out).toMatch(/org\/m:7b +ada +chat/);
  expect(await json('models', '--best', 'org/m:7b')).toMatchObject([{ best: { node_id: 'ada' }, others: [] }]);
  const { code, err } = await fedhub('models', '--best', 'org/m:7b', '--min-context', '9000');
  expect([code, err]).toEqual([1, expect.stringContaining('no_target')]);
});

it('a command whose reader has seen enough ends without a complaint', async () => {
  const env = { PATH: process.env.PATH, FEDHUB_URL: hub.url, FEDHUB_TOKEN: hub.adminToken };
  const child = spawn(process.execPath, [program, 'events', 'tail', '--pattern', '>', '--after', '0'], { env });
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint += text;
  });
  await once(child.stdout, 'data');
  child.stdout.destroy();
  const ended = once(child, 'exit');
  await fedhub('task', 'submit', 'words', '--payload', '"one more"'); // something to print
  expect(await ended).toEqual([0, null]);
  expect(complaint).toBe('');
});
