/** Webhooks whatever dies meanwhile: every event is sent at least once, and in order, by one replica at a time. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { call, joinByHttp, joinBySocket, type Visitor } from '../security/visitor.ts';
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
    const counted = await (await fetch(`${second.url}/metrics`)).text();
    expect(counted).toMatch(
      /^federation_webhook_deliveries_total\{[^}]*kind="subscription",outcome="delivered"[^}]*\} \d/m,
    );
  }, 90_000);
});

describe('a receiver that fails for a day', () => {
  let hub: TestHub;
  let receiver: Receiver;

  beforeAll(async () => {
    const clock = new URL('../setup/moved-clock.mjs', import.meta.url).href;
    hub = await startTestHub({ env: { FEDERATION_EGRESS_ALLOW: '127.0.0.0/8', NODE_OPTIONS: `--import=${clock}` } });
    receiver = await startReceiver();
  });

  afterAll(async () => {
    await receiver?.close();
    await hub?.stop();
  });

  it('has its subscription paused; its owner is told of it, and what was missed is sent when it is resumed', async () => {
    const admin = (method: string, path: string, body?: object) =>
      call(hub, method, path, { token: hub.adminToken, body });
    const { socket, token } = await joinBySocket(hub, 'owner');
    receiver.answer = () => 500;
    const wish = { label: 'x', patterns: ['entity.registered'], delivery: { kind: 'webhook', url: receiver.url } };
    const id = (await call(hub, 'POST', '/subscriptions', { token, body: wish })).body.subscription_id;
    const { position } = (await admin('POST', '/entities', { entity_id: 'thing', kind: 'ai', node_id: null })).body;
    await expect.poll(() => receiver.calls.length, { timeout: 10_000 }).toBeGreaterThanOrEqual(2);
    const status = async () =>
      (await admin('GET', `/subscriptions/${id}`)).body.subscription as Record<string, unknown>;
    expect(await status()).toMatchObject({ status: 'active', reason: null });
    process.kill(hub.pid, 'SIGUSR2');
    await expect.poll(async () => (await status()).status, { timeout: 15_000 }).toBe('paused');
    const reason = `the event at ${position} was not taken: HTTP 500`;
    expect(await status()).toMatchObject({ reason, failures: receiver.calls.length });
    await socket.until(() => socket.of('federation:event').length > 0);
    expect(socket.of('federation:event')).toMatchObject([
      { subscription: id, event: { type: 'subscription.paused', data: { subscription_id: id, reason } } },
    ]);
    const before = receiver.calls.length;
    receiver.answer = () => 204;
    await new Promise((done) => setTimeout(done, 500));
    expect(receiver.calls).toHaveLength(before);
    expect((await admin('POST', `/subscriptions/${id}/resume`)).status).toBe(200);
    await expect.poll(() => receiver.taken().map(({ subject }) => subject), { timeout: 10_000 }).toEqual(['thing']);
    expect(await status()).toMatchObject({ status: 'active', reason: null, failures: 0 });
    socket.close();
  });
});
