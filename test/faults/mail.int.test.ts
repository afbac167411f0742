/** Mail while things break: replicas, Redis, the hub, nodes. What was taken arrives in order, and a program that uses the SDK gets it once. */
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { FederationNode, generateKey, type NodeKey } from '../../src/client/node.ts';
import { defects } from '../security/visitor.ts';
import { MailNode } from '../services/mail-node.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { startRedis } from '../setup/redis.ts';

const many = 1_000;
const upTo = (end: number, from = 0) => Array.from({ length: end - from }, (_, at) => from + at);

/** A front door, as a load balancer is one: it leads to one hub, and after `lead` to another. */
async function frontDoor(to: string): Promise<{ url: string; lead(to: string): void }> {
  let target = Number(new URL(to).port);
  const open = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(target, '127.0.0.1');
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(one);
      one.on('error', () => {});
      one.on('close', () => {
        open.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    lead(next) {
      target = Number(new URL(next).port);
      for (const socket of open) socket.destroy();
    },
  };
}

/** A program that uses the SDK: what its handler was given. */
async function reader(
  url: string,
  nodeId: string,
  key: NodeKey,
  eachMs = 1,
): Promise<{ node: FederationNode; got: unknown[] }> {
  const node = new FederationNode({ url, nodeId, key });
  onTestFinished(() => node.close());
  node.on('error', () => {}); // what breaks here is meant to
  const got: unknown[] = [];
  node.messages(async ({ content }) => {
    got.push(content);
    await sleep(eachMs);
  });
  await node.connect();
  return { node, got };
}

const mailNode = async (hub: TestHub, nodeId: string, options: Parameters<typeof MailNode.join>[2] = {}) => {
  const node = await MailNode.join(hub, nodeId, options);
  onTestFinished(() => node.close());
  return node;
};

/** Two replicas and, when it is asked for, a Redis of their own. */
async function twoReplicas(withRedis: boolean) {
  const redis = withRedis ? await startRedis() : undefined;
  if (redis) onTestFinished(() => redis.remove());
  const env: Record<string, string> = redis ? { REDIS_URL: redis.url } : {};
  const first = await startTestHub({ database: 'postgres', env });
  onTestFinished(async () => void (await first.stop()));
  const second = await startTestHub({ env: { ...env, DATABASE_URL: first.databaseUrl! } });
  onTestFinished(async () => {
    expect(defects(second.stderr())).toEqual([]);
    await second.stop();
  });
  return { first, second, redis };
}

/** Sends numbers, some at a time, in order. */
async function sendAll(from: MailNode, to: string, numbers: readonly number[]): Promise<void> {
  for (let at = 0; at < numbers.length; at += 100)
    await Promise.all(numbers.slice(at, at + 100).map((number) => from.send({ node: to }, number)));
}

describe.each(['Redis', 'PostgreSQL alone'] as const)('two replicas, jobs in %s', (store) => {
  it('a replica that is killed in mid-drain loses nothing: the other goes on, in order', async () => {
    const { first, second } = await twoReplicas(store === 'Redis');
    const [ada, key, door] = [await mailNode(second, 'ada'), await generateKey(), await frontDoor(first.url)];
    (await mailNode(first, 'bob', { key })).close();
    await sendAll(ada, 'bob', upTo(many));
    const { got } = await reader(door.url, 'bob', key, 2);
    await expect.poll(() => got.length, { interval: 5 }).toBeGreaterThan(150);
    expect(got.length).toBeLessThan(900);
    process.kill(first.pid, 'SIGKILL');
    door.lead(second.url);
    await sendAll(ada, 'bob', upTo(many + 50, many)); // what comes now goes behind the rest
    await expect.poll(() => got.length, { timeout: 40_000 }).toBeGreaterThanOrEqual(many + 50);
    await sleep(500);
    expect(got).toEqual(upTo(many + 50));
  }, 120_000);
});

describe('two replicas whose jobs lie in Redis', () => {
  it.each(['emptied', 'killed, and comes back empty'] as const)(
    'go on when it is %s in mid-drain',
    async (how) => {
      const { first, second, redis } = await twoReplicas(true);
      const [ada, key] = [await mailNode(first, 'ada'), await generateKey()];
      (await mailNode(second, 'bob', { key })).close();
      await sendAll(ada, 'bob', upTo(many));
      const { node, got } = await reader(second.url, 'bob', key);
      await expect.poll(() => got.length, { interval: 5 }).toBeGreaterThan(100);
      expect(got.length).toBeLessThan(900);
      if (how === 'emptied') await redis!.flush();
      else await redis!.stop();
      await expect.poll(() => got.length, { timeout: 20_000 }).toBe(many);
      await node.drain();
      node.close();
      await sendAll(ada, 'bob', upTo(many + 300, many)); // also while it is away
      const back = await reader(first.url, 'bob', key);
      await expect.poll(() => back.got.length, { timeout: 20_000 }).toBe(300);
      await redis!.start();
      await sendAll(ada, 'bob', upTo(many + 400, many + 300));
      await expect.poll(() => back.got.length, { timeout: 20_000 }).toBe(400);
      await sleep(300);
      expect([...got, ...back.got]).toEqual(upTo(many + 400));
    },
    120_000,
  );
});

it('mail lies in a replica that stood still for a while as in the others', async () => {
  const { first, second } = await twoReplicas(false);
  const [ada, key] = [await mailNode(first, 'ada'), await generateKey()];
  (await mailNode(first, 'bob', { key })).close();
  process.kill(second.pid, 'SIGSTOP');
  await sendAll(ada, 'bob', upTo(500));
  process.kill(second.pid, 'SIGCONT');
  const { got } = await reader(second.url, 'bob', key, 0);
  await expect.poll(() => got.length, { timeout: 30_000 }).toBe(500);
  expect(got).toEqual(upTo(500));
}, 90_000);

/** A hub on SQLite that can be killed and started again. */
async function mortalHub(env: Record<string, string> = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'fedhub-mail-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const start = async () => {
    const hub = await startTestHub({ env: { ...env, FEDERATION_DATA_DIR: join(folder, 'data') } });
    onTestFinished(async () => void (await hub.stop()));
    return hub;
  };
  const kill = async (hub: TestHub) => {
    process.kill(hub.pid, 'SIGKILL');
    await expect.poll(() => hub.alive()).toBe(false);
  };
  return { start, kill, data: join(folder, 'data') };
}

/** Changes a letter of what is sealed in an event, in the file of a hub that is stopped; its views are made anew. */
async function tamper(data: string, position: number): Promise<void> {
  const db = new Database(join(data, 'log.db'));
  db.exec('DROP TRIGGER federation_log_no_update');
  const row = db
    .prepare<[number], { data: string }>('SELECT data FROM federation_log WHERE position = ?')
    .get(position);
  const event = JSON.parse(row!.data) as { content: { sealed: string } };
  const { sealed } = event.content;
  event.content.sealed = (sealed.startsWith('A') ? 'B' : 'A') + sealed.slice(1);
  db.prepare('UPDATE federation_log SET data = ? WHERE position = ?').run(JSON.stringify(event), position);
  db.close();
  for (const name of await readdir(data)) if (name.startsWith('views')) await rm(join(data, name));
}

describe('a hub alone on SQLite', () => {
  it('that is killed with mail waiting has it when it starts again, and of what was half fetched the other half', async () => {
    const { start, kill } = await mortalHub();
    const hub = await start();
    const [ada, bob, cy] = [
      await mailNode(hub, 'ada'),
      await mailNode(hub, 'bob'),
      await mailNode(hub, 'cy', { acks: false }),
    ];
    bob.close();
    await sendAll(ada, 'bob', upTo(600));
    await sendAll(ada, 'cy', upTo(200));
    await cy.got(200);
    const half = cy.messages[99]!.position!;
    expect(await cy.ack(half)).toMatchObject({ ok: true, through: half });
    await kill(hub);
    const again = await start();
    const [lateBob, lateCy] = [
      await mailNode(again, 'bob', { key: bob.key }),
      await mailNode(again, 'cy', { key: cy.key }),
    ];
    await Promise.all([lateBob.got(600, 20_000), lateCy.got(100, 20_000)]);
    await sleep(300);
    expect([lateBob.contents, lateCy.contents]).toEqual([upTo(600), upTo(200, 100)]);
  }, 60_000);

  it('hands over again, in order, what a node had not acknowledged when it was killed', async () => {
    const { start } = await mortalHub();
    const hub = await start();
    const [ada, bob] = [await mailNode(hub, 'ada'), await mailNode(hub, 'bob', { acks: false })];
    await sendAll(ada, 'bob', upTo(400));
    await bob.got(256);
    await bob.ack(bob.messages[49]!.position!);
    await bob.got(306);
    bob.close();
    const back = await mailNode(hub, 'bob', { key: bob.key });
    await back.got(350);
    await sleep(300);
    expect(back.contents).toEqual(upTo(400, 50));
  }, 60_000);

  it('sets aside a message that cannot be read any more, tells its sender, and goes on with what is behind it', async () => {
    const { start, data } = await mortalHub();
    const hub = await start();
    const [ada, bob] = [await mailNode(hub, 'ada'), await mailNode(hub, 'bob')];
    bob.close();
    const sent: Awaited<ReturnType<MailNode['send']>>[] = [];
    for (const content of ['one', 'two', 'three']) sent.push(await ada.send({ node: 'bob' }, content));
    const two = sent[1]!;
    await hub.stop();
    await tamper(data, two.position);
    const again = await start();
    const back = await mailNode(again, 'bob', { key: bob.key });
    await back.got(2);
    const sender = await mailNode(again, 'ada', { key: ada.key });
    await sender.socket.until(() => sender.states(two.message_id).length > 0);
    expect(sender.states(two.message_id)).toMatchObject([{ state: 'refused', nodes: ['bob'], code: 'unreadable' }]);
    expect(back.contents).toEqual(['one', 'three']);
    const { body } = await back.call('GET', `/messages?min_position=${two.position + 1}`);
    expect(body.messages).toMatchObject([
      { content: 'three' },
      { content: null, unreadable: true },
      { content: 'one' },
    ]);
  }, 30_000);

  it('that was down when messages expired tells their senders when it is there again, and hands over none of them', async () => {
    const { start, kill } = await mortalHub();
    const hub = await start();
    const [ada, bob] = [await mailNode(hub, 'ada'), await mailNode(hub, 'bob')];
    bob.close();
    const sent = await Promise.all(upTo(5).map((number) => ada.send({ node: 'bob' }, number, { ttl_seconds: 2 })));
    await ada.send({ node: 'bob' }, 'stays');
    await kill(hub);
    await sleep(2_500);
    const again = await start();
    const back = await mailNode(again, 'bob', { key: bob.key });
    await back.got(1);
    const sender = await mailNode(again, 'ada', { key: ada.key });
    for (const { message_id } of sent) {
      await sender.socket.until(() => sender.states(message_id).length > 0, 10_000);
      expect(sender.states(message_id)).toMatchObject([{ state: 'expired', nodes: ['bob'] }]);
    }
    expect(back.contents).toEqual(['stays']);
  }, 60_000);

  it('tells of a thousand that expire in one second within seconds, each once', async () => {
    const { start } = await mortalHub();
    const hub = await start();
    const [ada, bob] = [await mailNode(hub, 'ada'), await mailNode(hub, 'bob')];
    bob.close();
    const expires = Date.now() + 6_000;
    for (let at = 0; at < many; at += 100) {
      const ttl_seconds = Math.max(1, Math.round((expires - Date.now()) / 1_000));
      await Promise.all(upTo(100).map((number) => ada.send({ node: 'bob' }, number, { ttl_seconds })));
    }
    const told = () => ada.socket.of('federation:message:state').map(({ message_id }) => message_id);
    await expect.poll(() => told().length, { timeout: 20_000 }).toBe(many);
    expect(Date.now() - expires).toBeLessThan(5_000);
    await sleep(300);
    expect(new Set(told()).size).toBe(many);
    expect(await ada.trySend({ node: 'bob' }, 'room again')).toMatchObject({ ok: true });
  }, 60_000);

  it('tells a node again, after half a minute, what it does not acknowledge', async () => {
    const { start } = await mortalHub();
    const hub = await start();
    const [ada, bob] = [await mailNode(hub, 'ada'), await mailNode(hub, 'bob', { acks: false })];
    await sendAll(ada, 'bob', upTo(300));
    await bob.got(256);
    await sleep(25_000);
    expect(bob.messages).toHaveLength(256);
    await bob.got(512, 15_000);
    expect(bob.contents).toEqual([...upTo(256), ...upTo(256)]);
    await bob.ack(bob.messages.at(-1)!.position!);
    await bob.got(512 + 44);
    expect(bob.contents.slice(512)).toEqual(upTo(300, 256));
  }, 90_000);
});
