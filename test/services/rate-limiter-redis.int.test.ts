/** Limits that replicas share, in a real Redis: the same law, one allowance, and each replica alone while Redis is away. */
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { anonymous, type Identity } from '../../src/doors.ts';
import type { Limits } from '../../src/events/limits.ts';
import { createKernel, type Kernel, type Logger } from '../../src/kernel.ts';
import { Limiter } from '../../src/services/rate-limiter/limiter.ts';
import { RedisBuckets } from '../../src/services/rate-limiter/redis.ts';
import { bucketScript } from '../../src/services/rate-limiter/script.ts';
import { type RedisServer, startRedis } from '../setup/redis.ts';
import { Model, steps } from './rate-limiter-model.ts';

const ada: Identity = { kind: 'node', nodeId: 'ada', sessionId: 's', role: 'member' };
const open: { close(): unknown }[] = [];

afterEach(() => {
  for (const thing of open.splice(0).reverse()) thing.close();
});

/** One replica of a federation, with its lines of log. */
function replica(url: string, federationId: string, limits: Limits, strangerLimit = 50) {
  const said: string[] = [];
  const log: Logger = {
    debug: () => {},
    info: (_fields, message) => said.push(message),
    warn: (_fields, message) => said.push(message),
    error: (_fields, message) => said.push(message),
    child: () => log,
  };
  const kernel: Kernel = createKernel({}, { log });
  const shared = new RedisBuckets(url, federationId, kernel);
  const limiter = new Limiter({ kernel, limitsOf: () => limits, strangerLimit, shared });
  open.push(shared, limiter);
  const enter = async (identity: Identity = ada, bytes = 0) =>
    (await limiter.enter(identity, '192.0.2.1', 'requests', bytes)).short;
  /** How many of so many pass, each after the other. */
  const passes = async (tries: number, identity?: Identity) => {
    let count = 0;
    for (let at = 0; at < tries; at++) if (!(await enter(identity))) count++;
    return count;
  };
  return { limiter, shared, said, enter, passes };
}

const connected = async (...replicas: { shared: RedisBuckets }[]) => {
  for (const { shared } of replicas) await expect.poll(() => shared.present).toBe(true);
};

it('the script in Redis holds the law exactly, whatever happens to a bucket', async () => {
  const redis = new Redis(inject('redisUrl'));
  open.push({ close: () => redis.disconnect() });
  const script = bucketScript('{ ARGV[5], ARGV[6] }');
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 10_000 }), steps, async (allowed, happened) => {
      const key = `fedhub-test:${randomUUID()}`;
      const model = new Model(allowed);
      let nowMs = 1_767_225_600_000;
      for (const step of happened) {
        nowMs += step.passMs;
        const points = step.what === 'give back' ? -step.amount : step.amount;
        const seconds = step.what === 'take' ? 60 : 120;
        const moment = [Math.floor(nowMs / 1000), (nowMs % 1000) * 1000];
        const answer = await redis.eval(script, 1, key, points, seconds, allowed, 60, ...moment);
        const waitMs = model.step(step);
        const used = Math.ceil((model.level + (waitMs > 0 ? step.amount * 60_000 : 0)) / 60_000);
        expect(answer).toEqual([used, waitMs > 0 ? waitMs : Math.ceil(model.level / allowed)]);
        await redis.persist(key); // moments are the test's, and the life of the key is not
      }
      await redis.del(key);
    }),
    { numRuns: 100 },
  );
});

describe('replicas with one Redis', () => {
  const limits: Limits = { requests: 40, megabytes: 1, messages: 40 };

  it('share one allowance exactly, when it is too small to be trusted with a part of it', async () => {
    const federation = randomUUID();
    const [first, second] = [
      replica(inject('redisUrl'), federation, limits),
      replica(inject('redisUrl'), federation, limits),
    ];
    await connected(first, second);
    const began = performance.now();
    const [a, b] = await Promise.all([first.passes(60), second.passes(60)]);
    const leaked = Math.ceil(((performance.now() - began) / 60_000) * 40);
    expect(a + b).toBeGreaterThanOrEqual(40);
    expect(a + b).toBeLessThanOrEqual(40 + leaked);
    expect(await second.enter()).toMatchObject({ limit: 'requests', allowed: 40 });
    const other = replica(inject('redisUrl'), randomUUID(), limits);
    await connected(other);
    expect(await other.passes(40)).toBe(40); // another federation in the same Redis
  });

  it('never let more pass than the allowance and a fiftieth of it for each of them', async () => {
    const federation = randomUUID();
    const large: Limits = { requests: 3_000, megabytes: 100, messages: 1 };
    const replicas = Array.from({ length: 3 }, () => replica(inject('redisUrl'), federation, large));
    await connected(...replicas);
    const began = performance.now();
    const bursts = Array.from({ length: 20 }, () => replicas.map((one) => one.passes(200))).flat();
    const passed = (await Promise.all(bursts)).reduce((sum, count) => sum + count, 0);
    const leaked = Math.ceil(((performance.now() - began) / 60_000) * 3_000);
    expect(passed).toBeGreaterThanOrEqual(3_000);
    expect(passed).toBeLessThanOrEqual(3_000 + leaked + 3 * 60);
  });

  it('know within two seconds what was spent at another, bytes in debt too', async () => {
    const federation = randomUUID();
    const [first, second] = [
      replica(inject('redisUrl'), federation, limits),
      replica(inject('redisUrl'), federation, limits),
    ];
    await connected(first, second);
    expect(await second.enter()).toBeUndefined();
    first.limiter.spend(ada, '', 1_900_000);
    await expect.poll(() => second.enter(), { timeout: 3_000, interval: 50 }).toMatchObject({ limit: 'megabytes' });
    const [requests, , megabytes] = await first.limiter.usageOf(ada);
    expect(requests?.used).toBeLessThan(40); // what was short of bytes took no request for it
    expect(megabytes?.used).toBeGreaterThan(1.7);
  });

  it('take nothing of a request that is short of one allowance only', async () => {
    const federation = randomUUID();
    const [first, second] = [
      replica(inject('redisUrl'), federation, limits),
      replica(inject('redisUrl'), federation, limits),
    ];
    await connected(first, second);
    const bob: Identity = { ...ada, nodeId: 'bob' };
    first.limiter.spend(ada, '', 900_000);
    await first.passes(40, bob);
    await expect.poll(async () => (await first.limiter.usageOf(ada))[2]?.used).toBeGreaterThan(0.8);
    // The second replica knows of neither, and asks for both at once.
    expect(await second.enter(ada, 500_000)).toMatchObject({ limit: 'megabytes' });
    expect(await second.enter(bob, 500_000)).toMatchObject({ limit: 'requests' });
    expect((await first.limiter.usageOf(ada))[0]).toMatchObject({ limit: 'requests', used: 0 });
    expect((await first.limiter.usageOf(bob))[2]).toMatchObject({ limit: 'megabytes', used: 0 });
  });

  it('keep nothing of strangers that come once', async () => {
    const federation = randomUUID();
    const one = replica(inject('redisUrl'), federation, limits, 60_000);
    await connected(one);
    for (let at = 0; at < 2_000; at++) {
      await one.limiter.enter(anonymous, `10.0.${at >> 8}.${at & 255}`, 'requests', 0);
    }
    one.limiter.tellAll();
    const redis = new Redis(inject('redisUrl'));
    open.push({ close: () => redis.disconnect() });
    await expect.poll(() => redis.keys(`fedhub:{${federation}}:*`)).toEqual([]);
  });

  it('say a thing once', async () => {
    const federation = randomUUID();
    const [first, second] = [
      replica(inject('redisUrl'), federation, limits),
      replica(inject('redisUrl'), federation, limits),
    ];
    await connected(first, second);
    const said = await Promise.all([first.shared.isFirst('x', 60_000), second.shared.isFirst('x', 60_000)]);
    expect(said.toSorted()).toEqual([false, true]);
    expect(await first.shared.isFirst('y', 60_000)).toBe(true);
  });
});

describe('when Redis goes away', () => {
  const limits: Limits = { requests: 100, megabytes: 1, messages: 100 };
  let server: RedisServer;

  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.remove());

  it('each replica counts alone, at once and without an error; and they share again when it is back', async () => {
    const federation = randomUUID();
    const [first, second] = [replica(server.url, federation, limits), replica(server.url, federation, limits)];
    await connected(first, second);
    expect(await first.passes(30)).toBe(30);
    const asking = first.passes(20); // under way while it dies
    await server.stop();
    expect(await asking).toBe(20);
    const began = performance.now();
    expect(await first.passes(60)).toBeLessThan(55); // what it knew to be used still counts
    expect(await second.passes(200)).toBeGreaterThanOrEqual(70);
    expect(performance.now() - began).toBeLessThan(500);
    await server.start();
    await connected(first, second);
    const used = async (one: typeof first) => (await one.limiter.usageOf(ada))[0]!.used;
    await used(first);
    await expect.poll(() => used(second), { timeout: 5_000 }).toBeGreaterThan(90);
    for (const { said } of [first, second]) {
      expect(said).toEqual([
        'limits are counted in Redis, over all replicas',
        'Redis does not answer: limits are counted at this replica alone',
        'limits are counted in Redis, over all replicas',
      ]);
    }
  });

  it('and only stops answering, nobody waits for it longer than a moment', async () => {
    const one = replica(server.url, randomUUID(), limits);
    await connected(one);
    await one.enter();
    await server.freeze();
    try {
      const began = performance.now();
      expect(await one.passes(100)).toBeGreaterThanOrEqual(98);
      expect(performance.now() - began).toBeLessThan(1_000);
      expect(one.shared.present).toBe(false);
    } finally {
      await server.resume();
    }
    await expect.poll(() => one.shared.present, { timeout: 5_000 }).toBe(true);
    expect((await one.limiter.usageOf(ada))[0]?.used).toBeGreaterThan(85); // Redis was told of what passed meanwhile
  });

  it('before a replica starts, it starts all the same and shares when Redis comes', async () => {
    await server.stop();
    const one = replica(server.url, randomUUID(), limits);
    expect(await one.passes(200)).toBe(100);
    await server.start();
    await connected(one);
  });
});
