/** Messages from node to node: to whomever they are for, once and in order, wherever the nodes are; and what their senders are told of them. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { FederationNode, generateKey } from '../../src/client/node.ts';
import { call, defects, joinByHttp } from '../security/visitor.ts';
import { MailNode } from '../services/mail-node.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

const settings = ['one hub on SQLite', 'two replicas on PostgreSQL', 'two replicas on PostgreSQL and Redis'] as const;

describe.each(settings)('messages of %s', (setting) => {
  let first: TestHub;
  /** Another replica; the same hub where there is one only. */
  let second: TestHub;
  let token: string;
  const nodes: { close(): void }[] = [];
  let count = 0;

  beforeAll(async () => {
    const redis = setting.endsWith('Redis');
    const replicas = setting.startsWith('two');
    first = await startTestHub({ database: replicas ? 'postgres' : 'sqlite', redis });
    second = replicas ? await startTestHub({ redis, env: { DATABASE_URL: first.databaseUrl! } }) : first;
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

  /** A name that no other test has. */
  const fresh = (word: string) => `${word}-${count++}`;
  const join = async (hub: TestHub, options: Parameters<typeof MailNode.join>[2] = {}, name = fresh('node')) => {
    const node = await MailNode.join(hub, name, options);
    nodes.push(node);
    return node;
  };
  const govern = async (method: string, path: string, body: object = {}) => {
    const { status } = await call(first, method, path, { token, body });
    expect([path, status]).toEqual([path, expect.toSatisfy((code: number) => code < 300)]);
  };
  /** What both replicas say of a message, as they show it to its sender. */
  const shown = async (by: MailNode, messageId: string, position: unknown = 0, hub = second) => {
    const { body } = await by.call('GET', `/messages/${messageId}?min_position=${position}`, undefined, hub);
    return body.message as Record<string, unknown> & { recipients: Record<string, unknown>[]; states: object };
  };
  const statesOf = async (by: MailNode, messageId: string, position: unknown = 0) =>
    (await shown(by, messageId, position))?.recipients.map(({ node_id, state }) => [node_id, state]);

  it('one to a node arrives with all that belongs to it, and the answer finds its way', async () => {
    const [ada, bob] = [await join(first), await join(second)];
    const more = { correlation_id: 'question 1', reply_to: { node: ada.nodeId }, ttl_seconds: 3_600 };
    const { message_id, position } = await ada.send({ node: bob.nodeId }, { ask: 'what?' }, more);
    const [got] = await bob.got(1);
    expect(got).toMatchObject({
      message_id,
      position,
      from: `node:${ada.nodeId}`,
      to: { node: bob.nodeId },
      content: { ask: 'what?' },
      correlation_id: 'question 1',
      reply_to: { node: ada.nodeId },
    });
    expect(Date.parse(String(got!.expires_at)) - Date.parse(String(got!.sent_at))).toBeCloseTo(3_600_000, -3);
    await bob.send(got!.reply_to as object, { that: 1 }, { correlation_id: got!.correlation_id });
    expect((await ada.got(1))[0]).toMatchObject({ content: { that: 1 }, correlation_id: 'question 1' });
    await ada.send({ node: ada.nodeId }, 'to myself');
    expect((await ada.got(2))[1]).toMatchObject({ content: 'to myself' });
  });

  it('one to an entity goes to its node, for as long as it belongs to it; to one of nobody’s it does not go', async () => {
    const [ada, bob] = [await join(first), await join(second)];
    const [owned, free] = [fresh('entity'), fresh('entity')];
    await bob.socket.ask('entity:register', { entity_id: owned, kind: 'ai' });
    await govern('POST', '/entities', { entity_id: free, kind: 'service' });
    await ada.send({ entity: owned }, 'hello');
    expect((await bob.got(1))[0]).toMatchObject({ to: { entity: owned }, content: 'hello' });
    expect(await ada.trySend({ entity: free }, 1)).toMatchObject({ error: { code: 'no_target' } });
    expect(await ada.trySend({ entity: 'no-such' }, 1)).toMatchObject({ error: { code: 'not_found' } });
    expect(await ada.trySend({ node: 'no-such' }, 1)).toMatchObject({ error: { code: 'not_found' } });

    bob.close();
    const { message_id } = await ada.send({ entity: owned }, 'while away');
    await govern('DELETE', `/entities/${owned}`);
    const back = await join(first, { key: bob.key }, bob.nodeId);
    await ada.socket.until(() => ada.states(message_id).length > 0);
    expect(ada.states(message_id)).toMatchObject([{ state: 'refused', nodes: [bob.nodeId], code: 'not_found' }]);
    expect(back.messages).toEqual([]);
  });

  it('one to a channel goes to those who hear it, from when they joined until they left; only they speak there', async () => {
    const [ada, bob, cy] = [await join(first), await join(second), await join(second)];
    const channel = fresh('channel');
    const ask = (node: MailNode, what: string) => node.socket.ask(`federation:channel:${what}`, { channel });
    expect(await ada.trySend({ channel }, 1)).toMatchObject({ error: { code: 'forbidden' } });
    for (const node of [ada, bob]) expect(await ask(node, 'join')).toMatchObject({ ok: true });
    const one = await ada.send({ channel }, 'one');
    expect(await ask(cy, 'join')).toMatchObject({ ok: true });
    await bob.send({ channel }, 'two');
    await cy.got(1);
    expect(await ask(bob, 'leave')).toMatchObject({ ok: true });
    expect(await ask(bob, 'leave')).toMatchObject({ error: { code: 'not_found' } });
    await cy.send({ channel }, 'three');
    await ada.got(2);
    expect([ada.contents, bob.contents, cy.contents]).toEqual([['two', 'three'], ['one'], ['two']]);
    // Whoever joined later was not to get it, and whoever left is none of them any more.
    expect(await statesOf(ada, one.message_id, one.position)).toEqual([]);

    const put = (by: MailNode, node: MailNode) => by.call('PUT', `/channels/${channel}/members/${node.nodeId}`, {});
    expect((await put(ada, bob)).body).toMatchObject({ code: 'forbidden' });
    expect((await put(bob, bob)).status).toBe(200);
    await govern('DELETE', `/channels/${channel}/members/${bob.nodeId}`);
    await govern('PUT', `/channels/${channel}/members/${bob.nodeId}`);
    await ada.send({ channel }, 'four');
    await bob.got(2);
    expect(bob.contents).toEqual(['one', 'four']);
  });

  it('one to everyone goes to every other member', async () => {
    const [ada, bob, cy] = [await join(first), await join(second), await join(first)];
    const { message_id, position } = await ada.send({ everyone: true }, 'all');
    for (const node of [bob, cy])
      expect((await node.got(1))[0]).toMatchObject({ to: { everyone: true }, content: 'all' });
    expect(ada.messages).toEqual([]);
    const told = (await statesOf(ada, message_id, position))!.map(([nodeId]) => nodeId);
    expect(told).toEqual(expect.arrayContaining([bob.nodeId, cy.nodeId]));
    expect(told).not.toContain(ada.nodeId);
  });

  it('one that is not kept reaches who is here, at any replica, and nobody later; sent again it has the same id', async () => {
    const [ada, bob, cy] = [await join(first), await join(second), await join(first)];
    const channel = fresh('channel');
    for (const node of [ada, bob, cy]) await node.socket.ask('federation:channel:join', { channel });
    const passing = { persist: false };
    expect(await ada.trySend({ node: bob.nodeId }, 'now', passing)).toMatchObject({ ok: true, delivered: 1 });
    // Another replica may still have to hear who came to it.
    await expect.poll(async () => (await ada.trySend({ channel }, 'here', passing)).delivered).toBe(2);
    await bob.got(2);
    expect(bob.messages[0]).toMatchObject({ content: 'now', from: `node:${ada.nodeId}` });
    expect(bob.messages[0]).not.toHaveProperty('position');
    const key = fresh('key');
    const [one, two] = [
      await ada.trySend({ node: cy.nodeId }, 'again', { ...passing, key }),
      await ada.trySend({ node: cy.nodeId }, 'again', { ...passing, key }),
    ];
    expect(two.message_id).toBe(one.message_id);
    bob.close();
    await expect.poll(async () => (await ada.trySend({ node: bob.nodeId }, 'late', passing)).delivered).toBe(0);
    const back = await join(second, { key: bob.key }, bob.nodeId);
    await sleep(300);
    expect(back.messages).toEqual([]);
    const { body } = await ada.call('GET', '/messages');
    expect(body.messages).toEqual([]);
  });

  it('a key makes one known: sent twice it is delivered once; another body under it is refused, and changes nothing', async () => {
    const ada = await join(first);
    const bob = await join(second);
    bob.close();
    const key = fresh('key');
    const one = await ada.send({ node: bob.nodeId }, 'one', { key });
    expect(await ada.send({ node: bob.nodeId }, 'one', { key })).toEqual(one);
    const other = await ada.trySend({ node: bob.nodeId }, 'other', { key });
    expect(other).toMatchObject({ error: { code: 'idempotency_mismatch' } });
    const http = (content: string) =>
      call(first, 'POST', '/send', {
        token: ada.token,
        body: { to: { node: bob.nodeId }, content },
        headers: { 'idempotency-key': key },
      });
    const [two, again, different] = [await http('two'), await http('two'), await http('different')];
    expect([two.status, again.body, different.body.code]).toEqual([201, two.body, 'idempotency_mismatch']);
    const back = await join(first, { key: bob.key }, bob.nodeId);
    await back.got(2);
    await sleep(300);
    expect(back.contents).toEqual(['one', 'two']);
  });

  it('content of 256 KiB passes, by socket and by HTTP; a byte more does not', async () => {
    const [ada, bob] = [await join(first), await join(second)];
    const most = 'x'.repeat(256 * 1024 - 2); // and its quotes
    await ada.send({ node: bob.nodeId }, most);
    expect(await ada.trySend({ node: bob.nodeId }, `${most}x`)).toMatchObject({ error: { code: 'payload_too_large' } });
    const inTwoBytes = 'é'.repeat(128 * 1024);
    expect(await ada.trySend({ node: bob.nodeId }, inTwoBytes)).toMatchObject({ error: { code: 'payload_too_large' } });
    const passing = await ada.trySend({ node: bob.nodeId }, `${most}x`, { persist: false });
    expect(passing).toMatchObject({ error: { code: 'payload_too_large' } });
    const post = (content: string) => ada.call('POST', '/send', { to: { node: bob.nodeId }, content }, second);
    expect([(await post(most)).status, (await post(`${most}x`)).status]).toEqual([201, 413]);
    expect((await bob.got(2)).map(({ content }) => content === most)).toEqual([true, true]);
  });

  it('the 1,001st that nobody fetched is refused at once; an acknowledgement makes room for as many', async () => {
    const [ada, slow] = [await join(first), await join(second, { acks: false })];
    const many = (from: number, to: number) =>
      Promise.all(Array.from({ length: to - from }, (_, at) => ada.send({ node: slow.nodeId }, from + at)));
    for (let at = 0; at < 1_000; at += 250) await many(at, at + 250);
    const began = performance.now();
    expect(await ada.trySend({ node: slow.nodeId }, 'one more')).toMatchObject({ error: { code: 'queue_full' } });
    expect(performance.now() - began).toBeLessThan(1_000);
    const everyone = await ada.trySend({ everyone: true }, 'all but one');
    expect(everyone).toMatchObject({ ok: true, without: [slow.nodeId] });
    const told = await statesOf(ada, String(everyone.message_id), everyone.position);
    expect(told!.map(([nodeId]) => nodeId)).not.toContain(slow.nodeId);

    expect(slow.messages).toHaveLength(256); // as many as go out without an answer
    const last = slow.messages.at(-1)!.position;
    expect(await slow.ack(Number.MAX_SAFE_INTEGER)).toMatchObject({ through: last }); // not what it has not seen
    await slow.got(512);
    expect(slow.contents).toEqual(Array.from({ length: 512 }, (_, at) => at));
    await expect.poll(async () => (await ada.trySend({ node: slow.nodeId }, 'x')).ok).toBe(true);
    await Promise.all(Array.from({ length: 255 }, () => ada.send({ node: slow.nodeId }, 'x')));
    expect(await ada.trySend({ node: slow.nodeId }, 'x')).toMatchObject({ error: { code: 'queue_full' } });
    await govern('DELETE', `/nodes/${slow.nodeId}`);
  }, 60_000);

  it('its state can be asked: queued, delivered, read, each at both replicas', async () => {
    const [ada, bob] = [await join(first), await join(second)];
    bob.close();
    const { message_id, position } = await ada.send({ node: bob.nodeId }, 'hello');
    for (const hub of [first, second])
      expect((await shown(ada, message_id, position, hub)).recipients).toEqual([
        { node_id: bob.nodeId, state: 'queued' },
      ]);
    const back = await join(second, { acks: false, key: bob.key }, bob.nodeId);
    const [got] = await back.got(1);
    expect(await statesOf(ada, message_id)).toEqual([[bob.nodeId, 'queued']]);
    await back.ack(got!.position!);
    await expect.poll(() => statesOf(ada, message_id)).toEqual([[bob.nodeId, 'delivered']]);
    expect(await back.socket.ask('federation:message:read', { message_ids: [message_id] })).toMatchObject({ read: 1 });
    await expect.poll(() => statesOf(ada, message_id)).toEqual([[bob.nodeId, 'read']]);
    expect(await ada.socket.ask('federation:message:read', { message_ids: [message_id] })).toMatchObject({ read: 0 });
    expect((await shown(ada, message_id)).states).toEqual({ read: 1 });
  });

  it('who has got it may say so at once, of 256 in one packet', async () => {
    const [ada, bob] = [await join(first), await join(second, { acks: false })];
    const sent = await Promise.all(Array.from({ length: 256 }, (_, at) => ada.send({ node: bob.nodeId }, at)));
    await bob.got(256);
    const message_ids = bob.messages.map((message) => message.message_id);
    expect(await bob.socket.ask('federation:message:read', { message_ids })).toMatchObject({ read: 256 });
    await expect.poll(() => statesOf(ada, sent[255]!.message_id)).toEqual([[bob.nodeId, 'read']]);
  });

  it('one that nobody fetched in time expires: its sender is told, and what it said is gone', async () => {
    const [ada, bob] = [await join(first), await join(second)];
    bob.close();
    const { message_id, position } = await ada.send({ node: bob.nodeId }, 'soon gone', { ttl_seconds: 2 });
    const history = async () =>
      ((await ada.call('GET', `/messages?peer=${bob.nodeId}&min_position=${position}`)).body.messages as object[])
        .length;
    expect(await history()).toBe(1);
    expect(await ada.socket.until(() => ada.states(message_id).length > 0, 8_000)).toBe(true);
    expect(ada.states(message_id)).toMatchObject([{ state: 'expired', nodes: [bob.nodeId], others: 0 }]);
    await expect
      .poll(() => shown(ada, message_id))
      .toMatchObject({ content: null, expired: true, recipients: [{ node_id: bob.nodeId, state: 'expired' }] });
    expect(await history()).toBe(0);
    const back = await join(first, { key: bob.key }, bob.nodeId);
    await sleep(300);
    expect(back.messages).toEqual([]);
    const refusal = await back.socket.ask('federation:message:refuse', { message_id });
    expect(refusal).toMatchObject({ error: { code: 'message_over' } });
  }, 20_000);

  it('its recipient may refuse it, and its sender is told why, also when it is away then', async () => {
    const [ada, bob] = [await join(first), await join(second, { acks: false })];
    const { message_id } = await ada.send({ node: bob.nodeId }, 'please');
    await bob.got(1);
    ada.close();
    const refusal = { message_id, reason: 'I am busy' };
    expect(await bob.socket.ask('federation:message:refuse', refusal)).toMatchObject({ ok: true });
    const back = await join(second, { key: ada.key }, ada.nodeId);
    await back.socket.until(() => back.states(message_id).length > 0);
    expect(back.states(message_id)).toMatchObject([
      { state: 'refused', nodes: [bob.nodeId], code: 'declined', reason: 'I am busy' },
    ]);
    await expect.poll(() => statesOf(back, message_id)).toEqual([[bob.nodeId, 'refused']]);
    const unknown = { message_id: '00000000-0000-4000-8000-000000000000' };
    expect(await bob.socket.ask('federation:message:refuse', unknown)).toMatchObject({ error: { code: 'not_found' } });
  });

  it.each(['banned', 'access_blocked'] as const)(
    'what its sender may not say any more (%s) is refused when it would be handed over',
    async (code) => {
      const [ada, bob, cy] = [await join(first), await join(second), await join(first)];
      bob.close();
      const { message_id } = await ada.send({ node: bob.nodeId }, 'bad words');
      await cy.send({ node: bob.nodeId }, 'good words');
      const path = code === 'banned' ? '/governance/bans' : '/access/block';
      await govern('POST', `${path}/${ada.nodeId}`, { reason: 'test' });
      const back = await join(second, { key: bob.key }, bob.nodeId);
      await back.got(1);
      await sleep(200);
      expect(back.contents).toEqual(['good words']);
      const audit = async () =>
        (await call(second, 'GET', '/audit?action=message.refused&limit=500', { token })).body.entries as object[];
      await expect.poll(audit).toContainEqual(expect.objectContaining({ actor: 'hub', target: `node:${bob.nodeId}` }));
      if (code === 'access_blocked') await govern('POST', `/access/unblock/${ada.nodeId}`);
      else await govern('DELETE', `/governance/bans/${ada.nodeId}`);
      const returned = code === 'access_blocked' ? ada : await join(first, { key: ada.key }, ada.nodeId);
      await returned.socket.until(() => returned.states(message_id).length > 0);
      expect(returned.states(message_id)).toMatchObject([{ state: 'refused', nodes: [bob.nodeId], code }]);
    },
  );

  it('a node that is blocked gets nothing, and all of it when it is let hear again, without coming back', async () => {
    const [ada, bob] = [await join(first), await join(second)];
    await govern('POST', `/access/block/${bob.nodeId}`, { reason: 'test' });
    await sleep(300);
    for (const content of [1, 2, 3]) await ada.send({ node: bob.nodeId }, content);
    await sleep(300);
    expect(bob.messages).toEqual([]);
    await govern('POST', `/access/unblock/${bob.nodeId}`);
    await bob.got(3, 5_000);
    expect(bob.contents).toEqual([1, 2, 3]);
  });

  it('who wrote to a node that is removed is told that it did not get it', async () => {
    const [ada, bob] = [await join(first), await join(second)];
    bob.close();
    const { message_id } = await ada.send({ node: bob.nodeId }, 'too late');
    await govern('DELETE', `/nodes/${bob.nodeId}`);
    expect(await ada.socket.until(() => ada.states(message_id).length > 0)).toBe(true);
    expect(ada.states(message_id)).toMatchObject([{ state: 'refused', nodes: [bob.nodeId], code: 'not_found' }]);
    await expect.poll(() => statesOf(ada, message_id)).toEqual([[bob.nodeId, 'refused']]);
  });

  it('who takes the name of a node that was removed sees nothing of its mail', async () => {
    const [ada, bob] = [await join(first), await join(second)];
    const channel = fresh('channel');
    for (const node of [ada, bob]) await node.socket.ask('federation:channel:join', { channel });
    const word = fresh('secretword').replace('-', '');
    const his = await bob.send({ node: ada.nodeId }, `by bob ${word}`);
    bob.close();
    const sent = await ada.send({ node: bob.nodeId }, `for bob ${word}`);
    await ada.send({ channel }, `for the channel ${word}`);
    const last = await ada.send({ everyone: true }, `for all ${word}`);
    await govern('DELETE', `/nodes/${bob.nodeId}`);
    const namesake = await join(first, {}, bob.nodeId);
    await sleep(500);
    expect(namesake.messages).toEqual([]);
    const get = async (path: string) => (await namesake.call('GET', path, undefined, second)).body;
    expect((await get(`/messages?min_position=${last.position}`)).messages).toEqual([]);
    expect((await get(`/messages?channel=${channel}`)).messages).toEqual([]);
    expect((await get(`/messages?q=${word}&min_position=${last.position}`)).messages).toEqual([]);
    expect((await get('/messages/pending')).mail).toEqual([]);
    for (const { message_id } of [sent, his])
      expect(await get(`/messages/${message_id}`)).toMatchObject({ code: 'not_found' });
    expect(await namesake.trySend({ channel }, 1)).toMatchObject({ error: { code: 'forbidden' } });
    const found = await ada.call('GET', `/messages?q=${word}&min_position=${last.position}`);
    expect(found.body.messages).toHaveLength(4);
    const refusal = await namesake.socket.ask('federation:message:refuse', { message_id: sent.message_id });
    expect(refusal).toMatchObject({ error: { code: 'not_found' } });
  });

  it('of twenty senders to a node that goes and comes to the other replica, all arrives, in order a sender, and once by the SDK', async () => {
    const senders = await Promise.all(Array.from({ length: 20 }, (_, at) => join(at % 2 ? second : first)));
    const [nodeId, key] = [fresh('node'), await generateKey()];
    const got: { from: string; content: unknown }[] = [];
    const come = async (hub: TestHub) => {
      const node = new FederationNode({ url: hub.url, nodeId, key });
      nodes.push(node);
      node.messages(({ from, content }) => void got.push({ from, content }));
      await node.connect();
      return node;
    };
    const before = await come(first);
    const sending = senders.map(async (sender) => {
      for (let at = 0; at < 50; at++) await sender.send({ node: nodeId }, at);
    });
    await expect.poll(() => got.length, { interval: 5 }).toBeGreaterThan(100);
    await before.drain();
    before.close();
    const early = got.length;
    expect(early).toBeLessThan(1_000);
    await Promise.all(sending);
    await come(second);
    await expect.poll(() => got.length, { timeout: 20_000 }).toBeGreaterThanOrEqual(1_000);
    await sleep(300);
    for (const { nodeId: sender } of senders) {
      const theirs = got.filter(({ from }) => from === `node:${sender}`).map(({ content }) => content);
      expect(theirs).toEqual(Array.from({ length: 50 }, (_, at) => at));
    }
  }, 60_000);

  it('what a node says without waiting for answers arrives in its order, also at one that joined elsewhere a moment ago', async () => {
    const ada = await join(second);
    for (let round = 0; round < 15; round++) {
      const bob = await joinByHttp(first, fresh('node'));
      const sent = await Promise.all(Array.from({ length: 60 }, (_, at) => ada.send({ node: bob.nodeId }, at)));
      const positions = sent.map(({ position }) => position);
      expect(positions).toEqual([...positions].sort((one, other) => one - other));
    }
  }, 60_000);

  it('a ping measures the way to a node and back, whatever the node says of itself', async () => {
    const [ada, bob] = [await join(first), await join(second)];
    const answers = { ok: true, refused: 'rate_limited', detail: 'says bob', extra: { status: 418 } };
    const answering = setInterval(() => {
      // The number of the question is the hub's: that of none is passed over.
      for (let id = 0; id < 64 && bob.socket.of('federation:ping').length > 0; id++)
        bob.socket.send(`43${id}[${JSON.stringify(answers)}]`);
    }, 20);
    const { status, body } = await ada.call('GET', `/ping/${bob.nodeId}`, undefined, first);
    clearInterval(answering);
    expect([status, body]).toEqual([200, expect.objectContaining({ node_id: bob.nodeId })]);
    expect(body.round_trip_ms).toBeGreaterThan(0);
  });

  it('a node hears 256 channels, however many it asks for at once', async () => {
    const ada = await join(second);
    const ask = (what: string, channel: string) => ada.socket.ask(`federation:channel:${what}`, { channel });
    const names = Array.from({ length: 260 }, () => fresh('channel'));
    const answers = await Promise.all(names.map((channel) => ask('join', channel)));
    expect(answers.filter(({ ok }) => ok)).toHaveLength(256);
    expect(answers.filter(({ error }) => error?.code === 'limit_reached')).toHaveLength(4);
    expect(await ask('leave', names[answers.findIndex(({ ok }) => ok)]!)).toMatchObject({ ok: true });
    await expect.poll(async () => (await ask('join', fresh('channel'))).ok).toBe(true);
  });
});
