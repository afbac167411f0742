/** How those who care hear of what happens, against one hub on SQLite and against two replicas on one PostgreSQL. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateKey } from '../../src/client/key-file.ts';
import { type FederationEvent, FederationNode } from '../../src/client/node.ts';
import { call, joinByHttp, joinBySocket, type Response, type Visitor } from '../security/visitor.ts';
import { EventReader, type Told } from '../setup/event-stream.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { program } from '../setup/hub-process.ts';
import { type Receiver, startReceiver } from '../setup/receiver.ts';

const egress = { FEDERATION_EGRESS_ALLOW: '127.0.0.0/8' };

describe.each(['one hub on SQLite', 'two replicas on PostgreSQL'] as const)('%s', (setting) => {
  let first: TestHub;
  /** Another replica of the same federation; the same hub where there is one only. */
  let second: TestHub;
  let ada: Visitor;
  let receiver: Receiver;
  let names = 0;

  beforeAll(async () => {
    const replicas = setting === 'two replicas on PostgreSQL';
    first = await startTestHub({ database: replicas ? 'postgres' : 'sqlite', env: egress });
    second = replicas ? await startTestHub({ env: { ...egress, DATABASE_URL: first.databaseUrl! } }) : first;
    ada = await joinByHttp(first, 'ada');
    receiver = await startReceiver();
  });

  afterAll(async () => {
    await receiver?.close();
    if (second !== first) await second?.stop();
    await first?.stop();
  });

  const answered = ({ status, body }: Response) => {
    expect([status, body.code]).toEqual([200, undefined]);
    return body as Record<string, unknown> as Record<string, unknown> & { position: number }; // what every answer holds
  };
  /** Registers an entity at the first replica: an event. Answers its name and position. */
  const happen = async (by: Visitor = ada) => {
    const entity_id = `thing-${++names}`;
    const body = { entity_id, kind: 'ai' };
    return { id: entity_id, ...answered(await call(first, 'POST', '/entities', { token: by.token, body })) };
  };
  const subjects = (events: readonly { subject?: string }[]) => events.map(({ subject }) => subject);

  describe('a stream', () => {
    it('tells of what happens, as CloudEvents, from the moment it is opened', async () => {
      const reader = await EventReader.open(second, ada.token, { patterns: 'entity.*' });
      expect(reader.response.status).toBe(200);
      expect(reader.response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
      const { id, position } = await happen();
      await expect.poll(() => reader.events.length).toBe(1);
      expect(reader.events[0]).toEqual({
        specversion: '1.0',
        id: expect.stringMatching(/^[0-9a-f-]{36}$/),
        source: `/federations/${first.federationId}`,
        type: 'entity.registered',
        subject: id,
        time: expect.stringMatching(/Z$/),
        datacontenttype: 'application/json',
        sequence: String(position).padStart(16, '0'),
        position,
        data: { entity_id: id, kind: 'ai', node_id: 'ada', profile: {} },
      });
      expect(reader.messages[0]).toMatchObject({ id: String(position), event: 'entity.registered' });
      reader.close();
    });

    it('goes on from any position, and from Last-Event-ID, without gap or double while more happens', async () => {
      const { position: start } = await happen();
      const made: string[] = [];
      for (let n = 0; n < 30; n++) made.push((await happen()).id);
      const happening = (async () => {
        for (let n = 0; n < 60; n++) made.push((await happen()).id);
      })();
      const reader = await EventReader.open(second, ada.token, { patterns: 'entity.registered', after: String(start) });
      await expect.poll(() => reader.events.length, { timeout: 10_000 }).toBeGreaterThan(20);
      const last = reader.events.at(-1)!.position;
      const seen = reader.events.filter(({ position }) => position <= last);
      reader.close();
      const again = await EventReader.open(
        second,
        ada.token,
        { patterns: 'entity.registered' },
        { 'last-event-id': String(last) },
      );
      await happening;
      await expect.poll(() => seen.length + again.events.length, { timeout: 10_000 }).toBe(90);
      expect(subjects([...seen, ...again.events])).toEqual(made);
      again.close();
    });

    it('tells only of what its patterns and its filter name', async () => {
      const bob = await joinByHttp(first, `bob-${setting.length}`);
      const { position } = await happen();
      const after = String(position);
      const filtered = await EventReader.open(second, ada.token, { after, 'filter.node_id': bob.nodeId });
      const exact = await EventReader.open(second, ada.token, { after, patterns: 'entity.unregistered' });
      await happen();
      const { id } = await happen(bob);
      answered(await call(first, 'DELETE', `/entities/${id}`, { token: bob.token }));
      await expect.poll(() => subjects(filtered.events)).toEqual([id]);
      await expect.poll(() => subjects(exact.events)).toEqual([id]);
      expect(filtered.types).toEqual(['entity.registered']);
      filtered.close();
      exact.close();
    });

    it('is refused for what it cannot be, and HEAD opens none', async () => {
      for (const [query, headers, code] of [
        [{ patterns: 'node.*.' }, {}, 'invalid_input'],
        [{ patterns: 'nodes.*' }, {}, 'invalid_input'],
        [{ after: '99999999' }, {}, 'invalid_input'],
        [{ 'filter.a.b': 'x' }, {}, 'invalid_input'],
        [{}, { 'last-event-id': 'yesterday' }, 'invalid_input'],
        [{}, { accept: 'application/json' }, 'not_acceptable'],
        [{}, { accept: 'text/event-stream;q=0' }, 'not_acceptable'],
      ] as const) {
        const { response } = await EventReader.open(second, ada.token, query, headers);
        expect(code).toMatch(response.status === 406 ? 'not_acceptable' : 'invalid_input');
        expect(response.status, JSON.stringify([query, headers])).toBe(code === 'not_acceptable' ? 406 : 400);
      }
      for (const wrong of ['**', 'Node.*']) {
        const body = { label: 'x', patterns: ['node.*', wrong], delivery: { kind: 'cursor' } };
        const said =
          /patterns.*\/1: does not fit: Types of events, .*`\*` stands for any one word, `>` at the end for one or more/;
        const refused = [
          await call(second, 'POST', '/subscriptions', { token: ada.token, body }),
          await call(second, 'GET', `/events?patterns=node.*,${wrong}`, { token: ada.token }),
        ];
        for (const { body: problem } of refused) {
          expect(problem).toMatchObject({ code: 'invalid_input', detail: expect.stringMatching(said) });
          expect(problem.errors).toMatchObject([{ message: expect.stringContaining('`node.*`') }]);
        }
      }
      const head = await fetch(`${second.url}/api/federation/events`, {
        method: 'HEAD',
        headers: { authorization: `Bearer ${ada.token}` },
      });
      expect([head.status, head.headers.get('content-type')]).toEqual([200, 'text/event-stream; charset=utf-8']);
    });

    it('is one of sixteen of its reader', async () => {
      const readers = await Promise.all(Array.from({ length: 16 }, () => EventReader.open(second, first.adminToken)));
      const { response } = await EventReader.open(second, first.adminToken);
      expect(response.status).toBe(409);
      for (const reader of readers) reader.close();
      await expect
        .poll(async () => {
          const reader = await EventReader.open(second, first.adminToken);
          reader.close();
          return reader.response.status;
        })
        .toBe(200);
    });
  });

  describe('a socket', () => {
    it('is told what it subscribed to: what it missed, in order, then what happens, until it has enough', async () => {
      const nodeId = `reader-${setting.length}`;
      const { socket } = await joinBySocket(second, nodeId);
      const { position } = await happen();
      const made = [(await happen()).id, (await happen()).id];
      const wish = { patterns: ['entity.*'], after: position };
      await expect.poll(async () => (await socket.ask('federation:subscribe', wish)).ok).toBe(true);
      const answer = await socket.ask('federation:subscribe', wish);
      expect(answer).toMatchObject({ ok: true, position, subscription: expect.any(String) });
      made.push((await happen()).id);
      const told = () => socket.of('federation:event').map(({ event }) => event as Told);
      await socket.until(() => told().filter(({ subject }) => subject === made[2]).length > 0);
      expect(subjects(told()).slice(-3)).toEqual(made);
      const { subscription } = answer;
      expect((await socket.ask('federation:unsubscribe', { subscription })).ok).toBe(true);
      expect((await socket.ask('federation:unsubscribe', { subscription })).error?.code).toBe('not_found');
      const before = told().length;
      await happen();
      await new Promise((done) => setTimeout(done, 200));
      expect(told().length).toBe(before);
      socket.close();
    });

    it('has 64 subscriptions at most', async () => {
      const { socket } = await joinBySocket(second, `greedy-${setting.length}`);
      const subscribe = (n: number) => socket.ask('federation:subscribe', { patterns: ['node.*'], filter: { n } });
      for (let n = 0; n < 64; n++) expect((await subscribe(n)).ok).toBe(true);
      expect((await subscribe(64)).error?.code).toBe('limit_reached');
      expect((await subscribe(5)).ok).toBe(true);
      socket.close();
    });
  });

  it('a node with the SDK hears each event once, whatever happens to its connection', async () => {
    const nodeId = `sdk-${setting.length}`;
    const key = await generateKey();
    const node = await new FederationNode({ url: second.url, nodeId, key }).connect();
    const heard: FederationEvent[] = [];
    const { position } = await happen();
    const subscription = await node.subscribe(['entity.registered'], (event) => heard.push(event), { after: position });
    const made = [(await happen()).id];
    await expect.poll(() => heard.length).toBe(1);
    const other = await joinBySocket(second, nodeId, {}, key); // takes over; the node is told that it is superseded
    const rest = [(await happen()).id, (await happen()).id];
    other.socket.close();
    const back = await new FederationNode({ url: second.url, nodeId, key }).connect();
    await back.subscribe(['entity.registered'], (event) => heard.push(event), { after: subscription.position });
    rest.push((await happen()).id);
    await expect.poll(() => subjects(heard)).toEqual([...made, ...rest]);
    await expect(back.subscribe(['no.such'], () => {})).rejects.toMatchObject({ code: 'invalid_input' });
    node.close();
    back.close();
  });

  describe('a durable subscription', () => {
    const create = async (delivery: object, more: object = {}, token = ada.token) => {
      const body = { label: 'test', patterns: ['entity.*'], delivery, ...more };
      return String(answered(await call(second, 'POST', '/subscriptions', { token, body })).subscription_id);
    };
    const read = async (id: string, query = '') =>
      answered(await call(first, 'GET', `/subscriptions/${id}/events${query}`, { token: ada.token })) as unknown as {
        events: Told[];
        position: number;
      };
    const move = (id: string, how: 'ack' | 'seek', position: number, token = ada.token) =>
      call(second, 'POST', `/subscriptions/${id}/${how}`, { token, body: { position } });
    const shown = async (id: string) =>
      answered(await call(first, 'GET', `/subscriptions/${id}`, { token: first.adminToken })).subscription as {
        status: string;
        reason: string;
        position: number;
      };

    it('that is read gives the same until it is acknowledged, and goes back when it is asked to', async () => {
      const { position: start } = await happen();
      const id = await create({ kind: 'cursor' }, { after: start });
      const made = [(await happen()).id, (await happen()).id, (await happen()).id];
      const page = await read(id, '?limit=2');
      expect(subjects(page.events)).toEqual(made.slice(0, 2));
      expect(subjects((await read(id)).events)).toEqual(made);
      expect(answered(await move(id, 'ack', page.position)).subscription_position).toBe(page.position);
      await expect.poll(async () => subjects((await read(id)).events)).toEqual(made.slice(2));
      answered(await move(id, 'ack', start)); // said already: it does not go back by that
      expect(subjects((await read(id)).events)).toEqual(made.slice(2));
      answered(await move(id, 'seek', start));
      await expect.poll(async () => subjects((await read(id)).events)).toEqual(made);
      answered(await call(second, 'DELETE', `/subscriptions/${id}`, { token: ada.token }));
      await expect
        .poll(async () => (await call(first, 'GET', `/subscriptions/${id}`, { token: ada.token })).status)
        .toBe(404);
    });

    it('that is read is waited for', async () => {
      const id = await create({ kind: 'cursor' });
      await read(id); // it is known at the other replica
      const began = performance.now();
      const waiting = read(id, '?wait_ms=5000');
      await new Promise((done) => setTimeout(done, 300));
      const { id: made } = await happen();
      expect(subjects((await waiting).events)).toEqual([made]);
      expect(performance.now() - began).toBeLessThan(2_500);
      const none = await create({ kind: 'cursor' }, { patterns: ['invite.*'] });
      expect((await read(none, '?wait_ms=300')).events).toEqual([]);
    });

    it('is its owner’s: others do not learn of it, and who governs may end it but not read it', async () => {
      const id = await create({ kind: 'cursor' });
      const eve = await joinByHttp(first, `eve-${setting.length}`);
      await expect.poll(async () => (await call(second, 'GET', '/status', { token: eve.token })).status).toBe(200);
      for (const [method, path, body] of [
        ['GET', ''],
        ['GET', '/events'],
        ['DELETE', ''],
        ['POST', '/pause'],
        ['POST', '/resume'],
        ['POST', '/ack', { position: 1 }],
        ['POST', '/seek', { position: 1 }],
      ] as const) {
        const answer = await call(second, method, `/subscriptions/${id}${path}`, { token: eve.token, body });
        expect([method + path, answer.status]).toEqual([method + path, 404]);
      }
      const events = await call(second, 'GET', `/subscriptions/${id}/events`, { token: first.adminToken });
      expect(events.status).toBe(404);
      const list = async (token: string) =>
        (
          answered(await call(second, 'GET', '/subscriptions?limit=500', { token })).subscriptions as {
            subscription_id: string;
          }[]
        ).map(({ subscription_id }) => subscription_id);
      await expect.poll(() => list(ada.token)).toContain(id);
      expect(await list(eve.token)).toEqual([]);
      expect(await list(first.adminToken)).toContain(id);
      answered(await call(second, 'POST', `/subscriptions/${id}/pause`, { token: first.adminToken }));
      await expect
        .poll(() => shown(id))
        .toMatchObject({ status: 'paused', reason: expect.stringMatching(/^paused by operator:/) });
      expect((await call(first, 'GET', `/subscriptions/${id}/events`, { token: ada.token })).status).toBe(409);
      answered(await call(second, 'DELETE', `/subscriptions/${id}`, { token: first.adminToken }));
    });

    it('is one of fifty of its owner', async () => {
      const { token } = await joinByHttp(second, `many-${setting.length}`);
      for (let n = 0; n < 49; n++) await create({ kind: 'cursor' }, {}, token);
      const body = { label: 'x', patterns: ['>'], delivery: { kind: 'cursor' } };
      const headers = { 'idempotency-key': 'the-last-that-fits' };
      const last = await call(second, 'POST', '/subscriptions', { token, body, headers });
      expect(last.status).toBe(200);
      // Whoever did not hear of it asks again, and is answered.
      expect((await call(second, 'POST', '/subscriptions', { token, body, headers })).body).toEqual(last.body);
      expect((await call(second, 'POST', '/subscriptions', { token, body })).body.code).toBe('limit_reached');
      await call(first, 'DELETE', `/nodes/many-${setting.length}`, { token: first.adminToken });
      // Those of a removed node go with it.
      await expect
        .poll(
          async () => {
            const path = '/subscriptions?limit=500';
            const { subscriptions } = answered(await call(second, 'GET', path, { token: first.adminToken }));
            return (subscriptions as { owner: string }[]).filter(({ owner }) => owner === `node:many-${setting.length}`)
              .length;
          },
          { timeout: 10_000 },
        )
        .toBe(0);
    });

    it('that is sent arrives in order and signed, is tried again until it is taken, and is written down', async () => {
      let failures = 2;
      receiver.answer = () => (failures-- > 0 ? { status: 503, headers: { 'retry-after': '1' } } : 204);
      receiver.calls.length = 0;
      const { position } = await happen();
      const id = await create({ kind: 'webhook', url: receiver.url }, { after: position });
      const made: string[] = [];
      for (let n = 0; n < 20; n++) made.push((await happen()).id);
      await expect.poll(() => subjects(receiver.taken()), { timeout: 20_000 }).toEqual(made);
      const { secret } = answered(await call(first, 'GET', '/subscriptions/secret', { token: ada.token }));
      for (const { headers, body } of receiver.calls) {
        expect(headers['content-type']).toMatch(/^application\/cloudevents-batch\+json/);
        new Webhook(String(secret)).verify(body, headers as Record<string, string>); // throws for any other
        expect(headers.authorization).toBeUndefined();
      }
      await expect
        .poll(async () => (await shown(id)).position)
        .toBeGreaterThanOrEqual(receiver.taken().at(-1)!.position);
      answered(await call(second, 'POST', '/subscriptions/secret/rotate', { token: ada.token }));
      const { id: later } = await happen();
      await expect.poll(() => subjects(receiver.taken()).at(-1), { timeout: 10_000 }).toBe(later);
      const { body, headers } = receiver.calls.at(-1)!;
      expect(() => new Webhook(String(secret)).verify(body, headers as Record<string, string>)).toThrow();
      answered(await call(second, 'DELETE', `/subscriptions/${id}`, { token: ada.token }));
    });

    it('that is sent is paused by 410 Gone, its owner is told, and it goes on where it was', async () => {
      const owner = await joinBySocket(second, `owner-${setting.length}`);
      receiver.answer = () => 410;
      receiver.calls.length = 0;
      const id = await create({ kind: 'webhook', url: receiver.url }, {}, owner.token);
      const { id: made } = await happen();
      await expect.poll(async () => (await shown(id)).status, { timeout: 15_000 }).toBe('paused');
      await owner.socket.until(() => owner.socket.of('federation:event').length > 0);
      expect(owner.socket.of('federation:event')[0]).toMatchObject({
        subscription: id,
        event: { type: 'subscription.paused', data: { reason: expect.stringContaining('410') } },
      });
      receiver.answer = () => 200;
      answered(await call(first, 'POST', `/subscriptions/${id}/resume`, { token: owner.token }));
      await expect.poll(() => subjects(receiver.taken()), { timeout: 15_000 }).toContain(made);
      owner.socket.close();
      answered(await call(first, 'DELETE', `/subscriptions/${id}`, { token: first.adminToken }));
    });

    it('may be sent nowhere that the hub does not call', async () => {
      const body = { label: 'x', patterns: ['>'], delivery: { kind: 'webhook', url: 'http://10.0.0.1/hook' } };
      const { status, body: problem } = await call(second, 'POST', '/subscriptions', { token: ada.token, body });
      expect([status, problem.code]).toEqual([403, 'egress_refused']);
    });
  });

  it('the command line tails events and manages subscriptions', async () => {
    const run = async (...args: string[]) =>
      (
        await promisify(execFile)(process.execPath, [
          program,
          '--url',
          second.url,
          '--token',
          first.adminToken,
          '--json',
          ...args,
        ])
      ).stdout;
    const { position } = await happen();
    const args = [program, '--url', second.url, '--token', first.adminToken, '--json', 'events', 'tail'];
    const child = spawn(process.execPath, [...args, '--pattern', 'entity.*', '--after', String(position)]);
    const { id } = await happen();
    const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
    expect(JSON.parse(line)).toMatchObject({ subject: id, type: 'entity.registered' });
    child.kill();
    const made = JSON.parse(
      await run('subscriptions', 'create', '--label', 'by hand', '--pattern', 'node.*', 'task.>'),
    );
    await run('subscriptions', 'pause', made.subscription_id);
    await expect
      .poll(async () =>
        (await run('subscriptions', 'list')).split('\n').find((row) => row.includes(made.subscription_id)),
      )
      .toMatch(/"status":"paused"/);
    await run('subscriptions', 'resume', made.subscription_id);
    await run('subscriptions', 'delete', made.subscription_id);
    const filter = ['--filter', 'node_id=a', 'reason=b=c'];
    const filtered = JSON.parse(await run('subscriptions', 'create', '--label', 'x', '--pattern', 'node.*', ...filter));
    const path = `/subscriptions/${filtered.subscription_id}`;
    expect(answered(await call(second, 'GET', path, { token: first.adminToken })).subscription).toMatchObject({
      filter: { node_id: 'a', reason: 'b=c' },
      delivery: { kind: 'cursor' },
    });
    await run('subscriptions', 'delete', filtered.subscription_id);
    for (const wrong of [['node_id'], ['=a'], ['node_id=a', 'node_id=b']]) {
      await expect(run('events', 'tail', '--filter', ...wrong)).rejects.toMatchObject({ code: 2 });
    }
  });
});
