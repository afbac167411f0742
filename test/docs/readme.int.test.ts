/** The JavaScript of README.md does what it says: its snippets, one after another as one program, against a real hub, with a second node to talk to. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { FederationNode, generateKey } from '../../src/client/node.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

const root = path.join(import.meta.dirname, '../..');
const program = process.env.FEDHUB_PROGRAM ?? path.join(root, 'dist/cli/fedhub.js');
const snippets = [...readFileSync(path.join(root, 'README.md'), 'utf8').matchAll(/^```js\n(.*?)^```$/gms)].map(
  ([, code]) => code!, // the pattern has it
);

const call = `
const answer = await fetch(process.env.HUB + '/api/federation/route/node-a/greeting/', {
  method: 'POST',
  body: 'Ada',
  headers: { authorization: 'Bearer ' + process.env.TOKEN },
});
console.log(await answer.text());`;

let hub: TestHub;
let ada: FederationNode;
let folder: string;

beforeAll(async () => {
  hub = await startTestHub();
  ada = new FederationNode({ url: hub.url, nodeId: 'ada', key: await generateKey() });
  ada.messages(async (message) => {
    if (message.content === 'ping') await message.reply('pong');
    else await message.read();
  });
  await ada.connect();
  folder = await mkdtemp(path.join(tmpdir(), 'fedhub-readme-'));
  await mkdir(path.join(folder, 'node_modules'));
  await symlink(path.resolve(path.dirname(program), '../..'), path.join(folder, 'node_modules/federation-hub'));
});
afterAll(async () => {
  ada?.close();
  await hub?.stop();
  await rm(folder, { recursive: true, force: true });
});

it('runs, and prints what it promises', async () => {
  expect(snippets).toHaveLength(6);
  const code = [...snippets, 'console.log(content);', call, 'await node.leave();'].join('\n');
  const file = path.join(folder, 'node.mjs');
  await writeFile(file, code.replaceAll('http://127.0.0.1:3002', hub.url));
  const env = { PATH: process.env.PATH, HUB: hub.url, TOKEN: hub.adminToken };
  const { stdout } = await promisify(execFile)(process.execPath, [file], { cwd: folder, env, timeout: 30_000 });
  const lines = stdout.split('\n');
  for (const line of ['3', 'pong', '10 of 10', 'hello, Ada', 'flour, water, salt']) expect(lines).toContain(line);
});
