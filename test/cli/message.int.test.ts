/** `fedhub message` and `fedhub channel`, as they are typed, against a real hub with real nodes. */
import { execFile } from 'node:child_process';
import path from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { FederationNode, generateKey, type ReceivedMessage } from '../../src/client/node.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

const program = process.env.FEDHUB_PROGRAM ?? path.resolve(import.meta.dirname, '../../dist/cli/fedhub.js');
let hub: TestHub;
let ada: FederationNode;
const got: ReceivedMessage[] = [];

beforeAll(async () => {
  hub = await startTestHub();
  ada = new FederationNode({ url: hub.url, nodeId: 'ada', key: await generateKey() });
  ada.messages((message) => {
    got.push(message);
    return message.content === 'go away' ? message.refuse('I am busy') : undefined;
  });
  await ada.connect();
});
afterAll(async () => {
  ada.close();
  await hub.stop();
});

/** What a command printed, and its exit code. */
function fedhub(args: readonly string[], input = ''): Promise<{ code: number; out: string; err: string }> {
  const env = { PATH: process.env.PATH, FEDHUB_URL: hub.url, FEDHUB_TOKEN: hub.adminToken };
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [program, ...args], { env }, (_error, out, err) =>
      resolve({ code: child.exitCode ?? -1, out, err }),
    );
    child.stdin?.end(input);
  });
}
const json = async (...args: string[]) => {
  const { code, out, err } = await fedhub(['--json', ...args]);
  expect([code, err]).toEqual([0, '']);
  return out
    .trim()
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, unknown>);
};
/** A command takes a process, and what it looks at a moment. */
const eventually = (check: () => unknown) => vi.waitFor(check, 15_000);
const arrived = (content: unknown) =>
  eventually(() => expect(got.map((message) => message.content)).toContainEqual(content));

it('sends a text to a node, and shows what became of it', async () => {
  const [sent] = await json('message', 'send', 'ada', 'hello there', '--ttl', '2d', '--correlation-id', 'c1');
  await arrived('hello there');
  expect(got.find(({ message_id }) => message_id === sent?.message_id)).toMatchObject({ correlation_id: 'c1' });
  await eventually(async () => {
    const { code, out } = await fedhub(['message', 'get', String(sent?.message_id)]);
    expect(code).toBe(0);
    expect(out).toMatch(/^to {8}ada$/m);
    expect(out).toMatch(/^belongs {3}c1$/m);
    expect(out).toMatch(/^states {4}1 delivered$/m);
    expect(out).toMatch(/^content {3}hello there$/m);
    expect(out).toMatch(/^ada +delivered/m);
  });
});

it('reads from its input, sends JSON, and to everyone', async () => {
  expect((await fedhub(['message', 'send', 'ada', '-'], 'a text\nof two lines')).code).toBe(0);
  await arrived('a text\nof two lines');
  await json('message', 'send', '--everyone', '{"all": true}', '--parse');
  await arrived({ all: true });
  const { code, out } = await fedhub(['message', 'send', 'ada', 'now or never', '--no-persist']);
  expect([code, out]).toEqual([0, expect.stringMatching(/^[0-9a-f-]{36}: 1 got it\n$/)]);
  await arrived('now or never');
});

it('shows who refused one, and why', async () => {
  const [sent] = await json('message', 'send', 'ada', 'go away');
  await eventually(async () => {
    const [message] = await json('message', 'get', String(sent?.message_id));
    expect(message?.recipients).toMatchObject([{ node_id: 'ada', state: 'refused', reason: 'I am busy' }]);
  });
});

it('lists the newest first, by peer, and finds by words', async () => {
  await json('message', 'send', 'ada', 'the quick brown fox');
  await eventually(async () => {
    const [first] = await json('message', 'list', '--peer', 'ada', '--limit', '1');
    expect(first?.content).toBe('the quick brown fox');
    const found = await json('message', 'list', '--search', 'brown quick');
    expect(found.map(({ content }) => content)).toEqual(['the quick brown fox']);
  });
  const { out } = await fedhub(['message', 'list']);
  expect(out.split('\n')[0]).toMatch(/^MESSAGE +FROM +TO +SENT +CONTENT$/);
  expect(out).toMatch(/^[0-9a-f-]{36} +operator:\S+ +everyone +\S+ +\{"all":true\}$/m);
});

it('says who hears a channel, and changes it', async () => {
  expect(await fedhub(['channel', 'add', 'news', 'ada'])).toMatchObject({ code: 0, out: 'ada hears news\n' });
  await eventually(async () => expect(await json('channel', 'list')).toEqual([{ channel: 'news', members: 1 }]));
  expect(await json('channel', 'show', 'news')).toMatchObject([{ node_id: 'ada', joined_at: expect.any(String) }]);
  await json('message', 'send', 'news', 'extra!', '--channel');
  await arrived('extra!');
  expect((await fedhub(['channel', 'remove', 'news', 'ada'])).out).toBe('ada does not hear news any more\n');
  await eventually(async () => expect(await json('channel', 'list')).toEqual([]));
  expect(await fedhub(['channel', 'remove', 'news', 'ada'])).toMatchObject({ code: 1 });
});

it.each([
  [['send']],
  [['send', 'ada']],
  [['send', 'ada', 'x', '--everyone']],
  [['send', 'ada', 'x', '--channel', '--entity']],
  [['send', 'ada', 'x', '--ttl', 'soon']],
  [['send', 'ada', '{', '--parse']],
])('ends with 2 when it is used wrongly: message %j', async (args) => {
  const { code, out, err } = await fedhub(['message', ...args]);
  expect([code, out, err]).toEqual([2, '', expect.stringContaining('error: ')]);
});

it('ends with 1 when there is nobody of that name', async () => {
  const { code, err } = await fedhub(['message', 'send', 'nobody', 'hello']);
  expect([code, err]).toEqual([1, expect.stringMatching(/^fedhub: .*\(\w+\)\n$/)]);
});
