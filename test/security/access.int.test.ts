/** A block shuts every door to a node, on every replica, and says why; what was blocked and is not any more goes on as if nothing had been. */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { generateKey } from '../../src/client/key-file.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { RawSocket } from './raw-socket.ts';
import { call, httpDoor, joinByHttp, joinBySocket, prove, type Response, socketDoor } from './visitor.ts';

describe.each(['one hub on SQLite', 'two replicas on PostgreSQL'] as const)('%s', (setting) => {
  let first: TestHub;
  /** Another replica of the same federation; the same hub where there is one only. */
  let second: TestHub;

  beforeAll(async () => {
    const replicas = setting === 'two replicas on PostgreSQL';
    first = await startTestHub({ database: replicas ? 'postgres' : 'sqlite' });
    second = replicas ? await startTestHub({ env: { DATABASE_URL: first.databaseUrl! } }) : first;
  });
  afterAll(async () => {
    if (second !== first) await second.stop();
    await first.stop();
  });

  /** An operator edits the lists at the second replica; answers when both go by it. */
  const edit = async (path: string, body?: unknown): Promise<Response> => {
    const done = await call(second, 'POST', `/access/${path}`, { token: first.adminToken, body });
    expect([done.status, done.body.code], path).toEqual([200, undefined]);
    return done;
  };
  const refusal = ({ status, body }: Response) => [status, body.code, body.detail];
  const codeAt = async (hub: TestHub, token: string) =>
    (await call(hub, 'GET', '/nodes', { token })).body.code as string | undefined;
  const everywhere = (token: string, code: string | undefined) =>
    Promise.all(
      [first, second].map((hub) => vi.waitFor(async () => expect(await codeAt(hub, token)).toBe(code), 2_000)),
    );

  test.each(['its id', 'its key'])(
    'a node that is blocked by %s is turned away at every door, with the reason',
    async (by) => {
      const nodeId = by === 'its id' ? 'eve' : 'eve-2';
      const eve = await joinBySocket(first, nodeId);
      await everywhere(eve.token, undefined);
      const subject = by === 'its id' ? nodeId : eve.key.publicKey;
      await edit(`block/${subject}`, { reason: 'it floods' });
      await everywhere(eve.token, 'access_blocked');

      for (const hub of [first, second]) {
        for (const [method, path, body] of [
          ['GET', '/nodes', undefined],
          ['GET', '/nodes?owner=x', undefined],
          ['GET', `/nodes/${nodeId}`, undefined],
          ['GET', '/entities', undefined],
          ['GET', '/external-entities', undefined],
          ['GET', '/events/joins', undefined],
          ['GET', '/governance', undefined],
          ['GET', '/hub/alerts', undefined],
          ['GET', '/hub/health/history', undefined],
          ['POST', `/nodes/${nodeId}/heartbeat`, {}],
          ['PATCH', `/nodes/${nodeId}`, { owner: 'x' }],
          ['DELETE', `/nodes/${nodeId}`, undefined],
          ['POST', '/entities', { entity_id: 'x', kind: 'ai' }],
          ['POST', '/auth/renew', undefined],
          ['GET', '/access/blocked', undefined],
          ['POST', `/access/unblock/${subject}`, undefined],
          ['POST', '/governance/mode', { mode: 'open' }],
        ] as const) {
          const answer = await call(hub, method, path, { token: eve.token, body });
          expect(refusal(answer), `${method} ${path}`).toEqual([403, 'access_blocked', 'it floods']);
        }
        for (const [name, packet] of [
          ['federation:heartbeat', { node_id: nodeId }],
          ['federation:renew', {}],
          ['federation:resume', { position: 0 }],
          ['federation:leave', {}],
          ['entity:register', { entity_id: 'x', kind: 'ai' }],
        ] as const) {
          const { error } = await eve.socket.ask(name, packet);
          expect(error, name).toMatchObject({ code: 'access_blocked', message: 'it floods' });
        }
        const socket = await RawSocket.open(hub.url);
        for (const door of [httpDoor(hub), socketDoor(socket)]) {
          for (const purpose of ['register', 'session'] as const) {
            const registration = await prove(hub, door, { nodeId, key: eve.key, purpose });
            expect((await door.register(registration)).error?.code, purpose).toBe('access_blocked');
          }
        }
        socket.close();
      }

      await edit(`unblock/${subject}`);
      await everywhere(eve.token, undefined);
      expect(await eve.socket.ask('federation:heartbeat', { node_id: nodeId })).toMatchObject({ ok: true });
      eve.socket.close();
    },
  );

  test('one that never joined does not get in, by id or key, and its id is not taken by the try', async () => {
    const key = await generateKey();
    for (const subject of ['stranger', key.publicKey]) {
      await edit(`block/${subject}`, { reason: 'known elsewhere' });
      for (const hub of [first, second]) {
        await vi.waitFor(async () => {
          const door = httpDoor(hub);
          const { error } = await door.register(await prove(hub, door, { nodeId: 'stranger', key }));
          expect(error?.code).toBe('access_blocked');
        }, 2_000);
      }
      await edit(`unblock/${subject}`);
    }
    await joinByHttp(second, 'stranger', {}, key);
  });

  test('nothing is pushed to a node while it is blocked; afterwards it hears again, and resumes what it missed', async () => {
    const quiet = await joinBySocket(first, 'quiet');
    const joined = () => quiet.socket.of('federation:node-joined').map(({ node_id }) => node_id);
    const before = await joinByHttp(second, 'before');
    await quiet.socket.until(() => joined().includes('before'));
    const { position } = quiet.socket.of('federation:node-joined').at(-1) as { position: number };
    await edit('block/quiet', { reason: 'hush' });
    await everywhere(quiet.token, 'access_blocked');
    await joinByHttp(second, 'during');
    await everywhere(before.token, undefined);
    const witness = await joinBySocket(first, 'witness'); // whoever hears of this at the same replica heard of all before
    await joinByHttp(second, 'after-witness');
    await witness.socket.until(() => witness.socket.of('federation:node-joined').length > 0);
    expect(joined()).not.toContain('during');
    await edit('unblock/quiet');
    await everywhere(quiet.token, undefined);
    expect(quiet.socket.ended).toBe(false);
    await joinByHttp(second, 'later');
    expect(await quiet.socket.until(() => joined().includes('later'))).toBe(true);
    expect(joined()).not.toContain('during');
    expect(await quiet.socket.ask('federation:resume', { position })).toMatchObject({ ok: true });
    expect(joined()).toContain('during');
    quiet.socket.close();
    witness.socket.close();
  });

  test('an entity that is blocked is not registered, changed or vouched for, and is still shown', async () => {
    const owner = await joinByHttp(second, 'owner');
    const ask = (method: string, path: string, body?: unknown) =>
      call(second, method, path, { token: owner.token, body });
    expect((await ask('POST', '/entities', { entity_id: 'bot', kind: 'ai' })).status).toBe(200);
    await edit('block/bot', { reason: 'it lies' });
    for (const [method, path, body] of [
      ['POST', '/entities', { entity_id: 'bot', kind: 'ai', display_name: 'new' }],
      ['PATCH', '/entities/bot', { display_name: 'new' }],
      ['POST', '/entities/bot/seen', undefined],
    ] as const) {
      expect(refusal(await ask(method, path, body))).toEqual([403, 'access_blocked', 'it lies']);
    }
    await vi.waitFor(async () => expect((await ask('GET', '/entities/bot')).status).toBe(200));
    await edit('unblock/bot');
    expect((await ask('PATCH', '/entities/bot', { display_name: 'new' })).status).toBe(200);
  });

  test('the lists are read by page, a subject is on one of them, and a reset empties both', async () => {
    await edit('reset');
    for (const n of [1, 2, 3]) await edit(`block/b-${n}`, { reason: `reason ${n}` });
    await edit('allow/a-1', { note: 'a friend' });
    await edit('allow/b-3');
    const { position } = (await edit('block/a-1', { reason: 'no more' })).body as unknown as { position: number };
    const list = async (name: 'blocked' | 'allowed', query = '') =>
      (await call(first, 'GET', `/access/${name}?min_position=${position}${query}`, { token: first.adminToken }))
        .body as unknown as Record<'blocked' | 'allowed', object[]> & { next_cursor: string };
    const page = await list('blocked', '&limit=2');
    expect(page.blocked).toMatchObject([
      { subject: 'a-1', reason: 'no more' },
      { subject: 'b-1', reason: 'reason 1' },
    ]);
    expect((await list('blocked', `&limit=2&cursor=${page.next_cursor}`)).blocked).toMatchObject([{ subject: 'b-2' }]);
    expect((await list('allowed')).allowed).toMatchObject([{ subject: 'b-3', note: null }]);
    const refused = async (path: string, body?: unknown) =>
      (await call(second, 'POST', `/access/${path}`, { token: first.adminToken, body })).body.code;
    expect(await refused('unblock/nobody')).toBe('not_found');
    expect(await refused('remove-allow/nobody')).toBe('not_found');
    expect(await refused('block/eve', { reason: '' })).toBe('invalid_input');
    expect(await refused('block/eve', { reason: 'x'.repeat(501) })).toBe('invalid_input');
    expect(await refused(`block/${'x'.repeat(65)}`, { reason: 'x' })).toBe('invalid_input');
    expect((await edit('reset')).body.removed).toBe(4);
    expect((await edit('reset')).body.removed).toBe(0);
  });

  test('who does not govern edits nothing', async () => {
    const member = await joinByHttp(second, 'member');
    for (const token of [member.token, undefined]) {
      for (const path of ['block/ada', 'unblock/ada', 'allow/ada', 'remove-allow/ada', 'reset']) {
        const { status } = await call(second, 'POST', `/access/${path}`, { token, body: { reason: 'x' } });
        expect(status, path).toBe(token ? 403 : 401);
      }
      expect((await call(second, 'GET', '/access/blocked', { token })).status).toBe(token ? 403 : 401);
    }
  });
});
