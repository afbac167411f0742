/** What was said and is kept: found again by those whom it concerns, erased when its recipient wants, fetched over HTTP, and counted. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { call, defects, joinByHttp } from '../security/visitor.ts';
import { type GotMessage, MailNode } from '../services/mail-node.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

const settings = ['one hub on SQLite', 'two replicas on PostgreSQL'] as const;
type Page = { messages: GotMessage[]; next_cursor: string | null };
type Mail = { mail: { packet: string; position: number; data: GotMessage & { state?: string } }[] };

describe.each(settings)('messages that are kept by %s', (setting) => {
  let first: TestHub;
  let second: TestHub;
  let token: string;
  const nodes: MailNode[] = [];
  let count = 0;

  beforeAll(async () => {
    const replicas = setting.startsWith('two');
    first = await startTestHub({ database: replicas ? 'postgres' : 'sqlite' });
    second = replicas ? await startTestHub({ env: { DATABASE_URL: first.databaseUrl! } }) : first;
    token = first.adminToken;
  });
  afterEach(() => {
    for (const node of nodes.splice(0)) node.close();
  });
  afterAll(async () => {
    for (const hub of new Set([first, second])) expect(defects(hub.stderr())).toEqual([]);
    if (second !== first) await second.stop();
    await first.stop();
  });

  const fresh = (word: string) => `${word}-${count++}`;
  const join = async (hub: TestHub, options: Parameters<typeof MailNode.join>[2] = {}) => {
    const node = await MailNode.join(hub, fresh('node'), options);
    nodes.push(node);
    return node;
  };
  /** All pages of a list, of two each. */
  const list = async (by: Pick<MailNode, 'token'>, query: string): Promise<unknown[]> => {
    const all: unknown[] = [];
    for (let cursor = '', pages = 0; pages < 50; pages++) {
      const { status, body } = await call(second, 'GET', `/messages?limit=2&${query}${cursor}`, { token: by.token });
      expect([status, body]).toEqual([200, expect.anything()]);
      const page = body as unknown as Page;
      expect(page.messages.length).toBeLessThanOrEqual(2);
      all.push(...page.messages.map(({ content }) => content));
      if (page.next_cursor === null) return all;
      cursor = `&cursor=${page.next_cursor}`;
    }
    throw new Error('the list has no end');
  };

  it('are found again by peer and channel, the newest first, by those alone whom they concern', async () => {
    const [ada, bob, cy] = [await join(first), await join(second), await join(first)];
    const channel = fresh('channel');
    for (const node of [ada, bob]) await node.socket.ask('federation:channel:join', { channel });
    for (const content of ['a1', 'a2', 'a3']) await ada.send({ node: bob.nodeId }, content);
    await bob.send({ node: ada.nodeId }, 'b1');
    await cy.send({ node: bob.nodeId }, 'c1');
    await bob.send({ channel }, 'in the channel');
    const { position } = await ada.send({ node: bob.nodeId }, 'a4');
    const at = `min_position=${position}`;
    expect(await list(ada, `${at}&peer=${bob.nodeId}`)).toEqual(['a4', 'b1', 'a3', 'a2', 'a1']);
    expect(await list(bob, `${at}&peer=${ada.nodeId}`)).toEqual(['a4', 'b1', 'a3', 'a2', 'a1']);
    expect(await list(bob, `${at}&peer=${cy.nodeId}`)).toEqual(['c1']);
    expect(await list(ada, `${at}&channel=${channel}`)).toEqual(['in the channel']);
    expect(await list(cy, `${at}&channel=${channel}`)).toEqual([]);
    expect(await list(cy, at)).toEqual(['c1']);
    expect(await list(bob, at)).toEqual(['a4', 'in the channel', 'c1', 'b1', 'a3', 'a2', 'a1']);
    expect(await list({ token }, at)).toEqual([]); // an operator has no mail
    const sent = await call(first, 'POST', '/send', {
      token,
      body: { to: { node: bob.nodeId }, content: 'by decree' },
    });
    expect(await list({ token }, `min_position=${sent.body.position}`)).toEqual(['by decree']);
    const bad = await ada.call('GET', '/messages?cursor=nonsense');
    expect(bad.body).toMatchObject({ code: 'cursor_invalid' });
  });

  it('are found by their words', async () => {
    const [ada, bob, cy] = [await join(first), await join(second), await join(first)];
    const word = `word${count++}`;
    for (const content of [`${word} of bread`, { text: `${word} of Käse`, n: 1 }, `nothing`])
      await ada.send({ node: bob.nodeId }, content);
    await cy.send({ everyone: true }, `${word} of cy for all`);
    await bob.send({ everyone: true }, `${word} of bob for all`);
    const { position } = await cy.send({ node: bob.nodeId }, `${word} of cy`);
    const at = `min_position=${position}`;
    expect(await list(bob, `${at}&q=${word}`)).toHaveLength(5);
    expect(await list(bob, `${at}&q=${word}&peer=${cy.nodeId}`)).toEqual([`${word} of cy`]);
    expect(await list(cy, `${at}&q=${word}&peer=${bob.nodeId}`)).toEqual([`${word} of cy`]); // and not what was for all
    expect(await list(ada, `${at}&q=${word}`)).toHaveLength(4);
    expect(await list(ada, `${at}&q=${word}&peer=${bob.nodeId}`)).toHaveLength(2);
    expect(await list(ada, `${at}&q=${word}%20kase`)).toEqual([{ text: `${word} of Käse`, n: 1 }]);
    expect(await list(cy, `${at}&q=${word}%20-cy`)).toEqual([`${word} of bob for all`]);
    expect((await ada.call('GET', `/messages?q=${'x'.repeat(513)}`)).body).toMatchObject({ code: 'invalid_input' });
  });

  it('of any size come 4 MiB at a time, in the list, by their words and as mail', async () => {
    const ada = await join(first);
    const bob = await joinByHttp(second, fresh('node'));
    const word = `word${count++}`;
    const sent: number[] = [];
    for (let at = 0; at < 18; at++)
      sent.push((await ada.send({ node: bob.nodeId }, `${word} ${'x'.repeat(255_000)}`)).position);
    const at = `min_position=${sent.at(-1)}`;
    const get = async (query: string) => (await call(second, 'GET', `/messages${query}`, bob)).body;
    for (const query of [`?limit=500&${at}`, `?limit=500&${at}&q=${word}`]) {
      const page = (await get(query)) as unknown as Page;
      const rest = (await get(`${query}&cursor=${page.next_cursor}`)) as unknown as Page;
      expect([page.messages.length, rest.messages.length, rest.next_cursor]).toEqual([16, 2, null]);
      const positions = [...page.messages, ...rest.messages].map(({ position }) => position);
      expect(positions).toEqual([...sent].reverse());
    }
    const pending = async (query: string) =>
      ((await get(`/pending?limit=100${query}`)) as unknown as Mail).mail.map(({ position }) => position);
    await expect.poll(() => pending(`&after=${sent[15]}`)).toEqual(sent.slice(16));
    expect(await pending('')).toEqual(sent.slice(0, 16));
  }, 30_000);

  it('lie nowhere in the clear, and can be read by nobody once their recipient destroyed the key', async () => {
    const ada = await join(first);
    const bob = await joinByHttp(second, fresh('node'));
    const canary = `canary${Math.random().toString(36).slice(2)}`;
    const { message_id, position } = await ada.send({ node: bob.nodeId }, { say: canary });
    expect(await list(bob, `min_position=${position}&q=${canary}`)).toEqual([{ say: canary }]);
    const holding = async () => {
      const folder = path.join(first.folder, 'data');
      const names = setting.includes('SQLite') ? await readdir(folder, { recursive: true }) : [];
      const found = names.map(async (name) => {
        const bytes = await readFile(path.join(folder, name)).catch(() => Buffer.alloc(0)); // a folder
        return bytes.includes(canary) ? [name] : [];
      });
      return (await Promise.all(found)).flat();
    };
    for (const name of await holding()) expect(name).toMatch(/^search\.db/);
    const erased = await call(first, 'DELETE', '/messages', bob);
    expect(erased.body).toMatchObject({ keys: 1 });
    for (const hub of [first, second])
      await expect
        .poll(async () => (await ada.call('GET', `/messages/${message_id}`, undefined, hub)).body.message)
        .toMatchObject({ content: null, erased: true });
    const after = await call(second, 'GET', `/messages?q=${canary}&min_position=${erased.body.position}`, bob);
    expect(after.body.messages).toEqual([]);
    await expect.poll(holding, { timeout: 15_000 }).toEqual([]);
    const back = await MailNode.join(second, bob.nodeId, { key: bob.key });
    nodes.push(back);
    expect((await back.got(1))[0]).toMatchObject({ message_id, content: null, erased: true });
    const later = await ada.send({ node: bob.nodeId }, 'new words'); // under a new key
    expect((await back.got(2))[1]).toMatchObject({ content: 'new words', position: later.position });
  }, 30_000);

  it('are fetched over HTTP by a node without a socket, which may wait for them, until it acknowledges', async () => {
    const ada = await join(first);
    const bob = await joinByHttp(second, fresh('node'));
    const pending = async (query = '', hub = first) =>
      (await call(hub, 'GET', `/messages/pending?${query}`, bob)).body as unknown as Mail;
    const began = performance.now();
    expect(await pending()).toEqual({ mail: [] });
    const waiting = pending('wait_ms=10000');
    await sleep(200);
    const one = await ada.send({ node: bob.nodeId }, 'one');
    expect(await waiting).toMatchObject({
      mail: [
        { packet: 'federation:message', position: one.position, data: { content: 'one', message_id: one.message_id } },
      ],
    });
    expect(performance.now() - began).toBeLessThan(5_000);
    const two = await ada.send({ node: bob.nodeId }, 'two');
    await ada.send({ node: bob.nodeId }, 'three');
    const contents = async (query = '', hub = first) =>
      (await pending(query, hub)).mail.map(({ data }) => data.content);
    await expect.poll(() => contents()).toEqual(['one', 'two', 'three']); // what is not acknowledged comes again
    expect(await contents('limit=1')).toEqual(['one']);
    expect(await contents(`after=${one.position}&limit=1`)).toEqual(['two']);
    const ack = (through: number, hub = second) =>
      call(hub, 'POST', '/messages/ack', { token: bob.token, body: { through } });
    const acked = await ack(two.position);
    expect(acked.body).toMatchObject({ through: two.position });
    for (const hub of [first, second]) await expect.poll(() => contents('', hub)).toEqual(['three']);
    expect((await ack(one.position)).body).toMatchObject({ through: two.position }); // it does not go back
    const refused = await call(first, 'POST', `/messages/${one.message_id}/refuse`, { token: bob.token, body: {} });
    expect(refused.status).toBe(200);
    const readIt = await call(first, 'POST', `/messages/${two.message_id}/read`, { token: bob.token, body: {} });
    expect(readIt.status).toBe(200);
    await ada.socket.until(() => ada.states(one.message_id).length > 0);
    expect(ada.states(one.message_id)).toMatchObject([{ state: 'refused', code: 'declined' }]);
    expect((await call(first, 'GET', '/messages/pending', { token })).body).toMatchObject({ code: 'forbidden' });
    await expect.poll(() => contents('wait_ms=100&after=9007199254740991')).toEqual([]);
  });

  it('tell an HTTP node what became of its own', async () => {
    const bob = await joinByHttp(second, fresh('node'));
    const ada = await join(first);
    ada.close();
    const body = { to: { node: ada.nodeId }, content: 'x', ttl_seconds: 1 };
    const sent = await call(first, 'POST', '/send', { token: bob.token, body });
    const { body: got } = await call(second, 'GET', '/messages/pending?wait_ms=8000', bob);
    expect(got).toMatchObject({
      mail: [{ packet: 'federation:message:state', data: { message_id: sent.body.message_id, state: 'expired' } }],
    });
  });

  it('are in the audit log without what they say', async () => {
    const [ada, bob] = [await join(first), await join(second)];
    const { position } = await ada.send({ node: bob.nodeId }, 'between us alone');
    const { body } = await call(
      second,
      'GET',
      `/audit?since=${position - 1}&limit=5&order=asc&min_position=${position}`,
      {
        token,
      },
    );
    const [entry] = body.entries as Record<string, unknown>[];
    const about = { position, action: 'message.sent', actor: `node:${ada.nodeId}`, target: `node:${bob.nodeId}` };
    expect(entry).toMatchObject(about);
    expect(JSON.stringify(body)).not.toContain('between us');
    expect((await call(first, 'GET', '/audit', { token: ada.token })).status).toBe(403);
  });
});

it('those that are not kept are counted, by minute and pair', async () => {
  const clock = new URL('../setup/moved-clock.mjs', import.meta.url).href;
  const hub = await startTestHub({ env: { NODE_OPTIONS: `--import ${clock}` } });
  onTestFinished(async () => void (await hub.stop()));
  const [ada, bob] = [await MailNode.join(hub, 'ada'), await MailNode.join(hub, 'bob')];
  onTestFinished(() => [ada, bob].forEach((node) => void node.close()));
  for (const content of ['12345678', '87654321'])
    expect(await ada.trySend({ node: 'bob' }, content, { persist: false })).toMatchObject({ delivered: 1 });
  expect((await call(hub, 'GET', '/messages/traffic', { token: ada.token })).status).toBe(403);
  const counted = async () => (await call(hub, 'GET', '/messages/traffic', { token: hub.adminToken })).body.traffic;
  expect(await counted()).toEqual([]);
  process.kill(hub.pid, 'SIGUSR2'); // the minute is over
  // Eight letters and their quotes.
  await expect.poll(counted).toMatchObject([{ from: 'node:ada', to: 'node:bob', messages: 2, bytes: 20 }]);
});

it('a mailbox holds 64 MiB, also after a restart; a hub that stops has counted what was not kept', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'fedhub-mail-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const env = { FEDERATION_DATA_DIR: path.join(folder, 'data') };
  const hub = await startTestHub({ env });
  const [ada, bob] = [await MailNode.join(hub, 'ada'), await MailNode.join(hub, 'bob')];
  await ada.trySend({ node: 'bob' }, 1, { persist: false });
  bob.close();
  const most = 'x'.repeat(256 * 1024 - 2);
  for (let at = 0; at < 255; at++) await ada.send({ node: 'bob' }, most);
  await ada.send({ node: 'bob' }, most.slice(1));
  expect(await ada.trySend({ node: 'bob' }, 1)).toMatchObject({ ok: true }); // one byte was left
  expect(await ada.trySend({ node: 'bob' }, 1)).toMatchObject({ error: { code: 'queue_full' } });
  await hub.stop();
  const again = await startTestHub({ env });
  onTestFinished(async () => void (await again.stop()));
  const back = await MailNode.join(again, 'ada', { key: ada.key });
  onTestFinished(() => back.close());
  expect(await back.trySend({ node: 'bob' }, 1)).toMatchObject({ error: { code: 'queue_full' } });
  const { body } = await call(again, 'GET', '/messages/traffic', { token: hub.adminToken });
  expect(body.traffic).toMatchObject([{ from: 'node:ada', to: 'node:bob', messages: 1, bytes: 1 }]);
  const got = await MailNode.join(again, 'bob', { key: bob.key });
  onTestFinished(() => got.close());
  await got.got(257, 60_000);
  await expect.poll(async () => (await back.trySend({ node: 'bob' }, 1)).ok).toBe(true);
}, 120_000);
