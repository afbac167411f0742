/** `fedhub memory` and `fedhub sovereignty`, as they are typed, against a real hub. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { joinByHttp } from '../security/visitor.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

const program = process.env.FEDHUB_PROGRAM ?? path.resolve(import.meta.dirname, '../../dist/cli/fedhub.js');
let hub: TestHub;
const patiently = { timeout: 15_000 };

beforeAll(async () => {
  hub = await startTestHub();
  await joinByHttp(hub, 'ada');
});
afterAll(() => hub.stop());

/** What a command printed, and its exit code. `input`: what it reads. */
function fedhub(args: readonly string[], input = ''): Promise<{ code: number; out: string; err: string }> {
  const env = { PATH: process.env.PATH, FEDHUB_URL: hub.url, FEDHUB_TOKEN: hub.adminToken };
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [program, ...args], { env }, (_error, out, err) =>
      resolve({ code: child.exitCode ?? -1, out, err }),
    );
    child.stdin?.end(input);
  });
}
const said = async (args: readonly string[], input?: string) => {
  const { code, out, err } = await fedhub(args, input);
  expect([code, err]).toEqual([0, '']);
  return out;
};
const json = async (...args: string[]) =>
  (await said(['--json', ...args]))
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, unknown>);

it('stores, finds, shows and deletes what is known', async () => {
  const about = ['--category', 'recipes/bread', '--tag', 'rye', '--tag', 'slow', '--title', 'Rye bread'];
  const [stored] = await json('memory', 'store', 'knead the dough', '--id', 'bread', ...about, '--source', 'a book');
  expect(stored).toMatchObject({ memory_id: 'bread' });
  await said(['memory', 'store', '-', '--id', 'bread', ...about, '--parse'], '{"minutes":90}');
  await vi.waitFor(async () => {
    expect(await said(['memory', 'search', '--category', 'recipes', '--tag', 'rye'])).toMatch(
      /bread +recipes\/bread +operator:/,
    );
  }, patiently);
  await vi.waitFor(async () => {
    expect(await json('memory', 'search', 'rye', 'bread')).toMatchObject([{ memory_id: 'bread' }]);
  }, patiently);
  expect(await json('memory', 'search', 'nothing', 'like', 'it')).toEqual([]);
  expect(await said(['memory', 'get', 'bread'])).toContain('content   {"minutes":90}');
  expect(await json('memory', 'get', 'bread')).toMatchObject([{ content: { minutes: 90 }, tags: ['rye', 'slow'] }]);
  expect(await json('memory', 'history', 'bread')).toMatchObject([{}, { provenance: { source: 'a book' } }]);
  expect(await said(['memory', 'delete', 'bread'])).toBe('deleted\n');
  const gone = await fedhub(['memory', 'delete', 'bread']);
  expect([gone.code, gone.err]).toEqual([1, 'fedhub: there is no memory bread (not_found)\n']);
  expect((await fedhub(['memory', 'store', 'x'])).code).toBe(2);
});

it('says, tries and shows what is shared', async () => {
  await said(['memory', 'store', 'be kind', '--id', 'rules', '--category', 'house']);
  const file = path.join(hub.folder, 'policy.json');
  const shares = [{ id: 'all', categories: ['house'], with: { nodes: ['ada'] }, pass_on: true }];
  await writeFile(file, JSON.stringify({ shares, takes: [] }));
  await vi.waitFor(async () => {
    expect(await json('sovereignty', 'try', '@federation', file)).toMatchObject([
      { effects: [{ receiver: 'ada', goes: 0, newly_read: 1 }], complete: true },
    ]);
  }, patiently);
  expect(await said(['sovereignty', 'set', '@federation', file])).toMatch(/^version 1 /);
  expect(await said(['sovereignty', 'show', '@federation'])).toContain('shares  all: house with nodes ada; pass_on');
  expect(await json('sovereignty', 'holders', 'rules')).toEqual([]);
  expect((await fedhub(['sovereignty', 'set', 'ada', '-'], 'no policy')).code).toBe(2);
  expect((await fedhub(['sovereignty', 'set', 'ada', 'nowhere.json'])).code).toBe(2);
  const unknown = await fedhub(['sovereignty', 'show', 'nobody']);
  expect([unknown.code, unknown.err]).toEqual([1, expect.stringContaining('there is no node nobody')]);
});
