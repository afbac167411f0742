/** Webhooks whatever dies meanwhile: every event is sent at least once, and in order, by one replica at a time. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { call, joinByHttp, type Visitor } from '../security/visitor.ts';
import type { Told } from '../setup/event-stream.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { type Receiver, startReceiver } from '../setup/receiver.ts';
import { type RedisServer, startRedis } from '../setup/redis.ts';

describe.each(['Redis', 'PostgreSQL'] as const)('jobs in %s', (store) => {
  let redis: RedisServer | undefined;
  let first: TestHub;
  let second: TestHub;
  let receiver: Receiver;
  let ada: Visitor;

  beforeAll(async () => {
    redis = store === 'Redis' ? await startRedis() : undefined;
    const env = { FEDERATION_EGRESS_ALLOW: '127.0.0.0/8', ...(redis && { REDIS_URL: redis.url }) };
    first = await startTestHub({ database: 'postgres', env });
    second = await startTestHub({ env: { ...env, DATABASE_URL: first.databaseUrl! } });
    receiver = await startReceiver();
    ada = await joinByHttp(second, 'ada');
  });

  afterAll(async () => {
    await receiver?.close();
    await second?.stop();
    await first?.stop();
    await redis?.remove();
  });

  const happen = async (n: number) => {
    const body = { entity_id: `thing-${n}`, kind: 'ai' };
    const { status } = await call(second, 'POST', '/entities', { token: ada.token, body });
    expect(status).toBe(200);
    return body.entity_id;
  };
  /** The order in which each was sent first. */
  const firsts = (events: readonly Told[]) => [...new Set(events.map(({ subject }) => subject))];

  it('go on when a replica is killed and when the store forgets everything', async () => {
    const wish = { label: 'x', patterns: ['entity.registered'], delivery: { kind: 'webhook', url: receiver.url } };
    const made = await call(second, 'POST', '/subscriptions', { token: ada.token, body: wish });
    expect(made.status).toBe(200);
    const wanted: string[] = [];
    for (let n = 0; n < 40; n++) wanted.push(await happen(n));
    await expect.poll(() => firsts(receiver.taken()).length, { timeout: 20_000 }).toBeGreaterThan(0);
    let refusing = true;
    receiver.answer = () => (refusing ? 500 : 204); // what is being sent now is owed
    for (let n = 40; n < 80; n++) wanted.push(await happen(n));
    process.kill(first.pid, 'SIGKILL');
    await redis?.flush();
    for (let n = 80; n < 120; n++) wanted.push(await happen(n));
    refusing = false;
    await expect.poll(() => firsts(receiver.taken()), { timeout: 45_000 }).toEqual(wanted);
  }, 90_000);
});
