/** What AIs and services live through, and those who look for them, against one hub on SQLite and against two replicas on one PostgreSQL. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { call, joinByHttp, joinBySocket, type Response, type Visitor } from '../security/visitor.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

interface Listed {
  entity_id: string;
  kind: string;
  node_id: string | null;
  display_name?: string;
  metadata?: Record<string, unknown>;
  last_seen: string;
  registered_at: string;
}

describe.each(['one hub on SQLite', 'two replicas on PostgreSQL'] as const)('%s', (setting) => {
  let first: TestHub;
  /** Another replica of the same federation; the same hub where there is one only. */
  let second: TestHub;
  let ada: Visitor;
  let bob: Visitor;

  beforeAll(async () => {
    const replicas = setting === 'two replicas on PostgreSQL';
    first = await startTestHub({ database: replicas ? 'postgres' : 'sqlite' });
    second = replicas ? await startTestHub({ env: { DATABASE_URL: first.databaseUrl! } }) : first;
    ada = await join('ada');
    bob = await join('bob');
  });

  afterAll(async () => {
    if (second !== first) await second.stop();
    await first.stop();
  });

  /** Joins at the first replica, and waits until the second has heard of it. */
  const join = async (nodeId: string) => {
    const visitor = await joinByHttp(first, nodeId);
    await vi.waitFor(async () => expect((await ask('GET', '/governance', visitor)).status).toBe(200), 10_000);
    return visitor;
  };
  /** Asks the second replica; as a node or, without one, as an operator. */
  const ask = (method: string, path: string, visitor?: Visitor, body?: unknown): Promise<Response> =>
    call(second, method, path, { token: visitor?.token ?? first.adminToken, body });
  const register = (id: string, visitor?: Visitor, more: object = {}) =>
    ask('POST', '/entities', visitor, { entity_id: id, kind: 'ai', ...more });
  const answered = async ({ status, body }: Response) => {
    expect([status, body.code]).toEqual([200, undefined]);
    return body as Record<string, unknown> as Record<string, unknown> & { position: number }; // what every answer holds
  };
  /** Ids that a list holds once it holds this position. */
  const idsOf = async (path: string, position: number, visitor?: Visitor) => {
    const { entities } = await answered(
      await ask('GET', `${path}${path.includes('?') ? '&' : '?'}min_position=${position}`, visitor),
    );
    return (entities as Listed[]).map(({ entity_id }) => entity_id);
  };

  it('a node registers what runs on it, by socket or HTTP, and everyone finds it by kind, node, capability and words', async () => {
    const carol = await joinBySocket(first, 'carol');
    const acknowledged = await carol.socket.ask('entity:register', {
      entity_id: 'painter',
      kind: 'ai',
      display_name: 'Der Maler',
      capabilities: ['paint', 'draw'],
      metadata: { style: { oil: [1, null, 'x'] } },
    });
    expect(acknowledged).toMatchObject({ ok: true, entity: { entity_id: 'painter', node_id: 'carol', kind: 'ai' } });
    const { position } = await answered(
      await register('watcher', ada, { kind: 'daemon', description: 'Sieht die STRASSE', node_id: 'ada' }),
    );
    for (const [query, found] of [
      ['kind=ai', ['painter']],
      ['node=carol', ['painter']],
      ['capability=paint', ['painter']],
      ['capability=Paint', []],
      ['capability=pain', []],
      ['search=maler', ['painter']],
      ['search=WATCH', ['watcher']],
      ['search=straße', ['watcher']],
      ['search=%25', []],
      ['kind=daemon&search=die+strasse', ['watcher']],
    ] as const) {
      expect(await idsOf(`/entities?${query}`, position, bob), query).toEqual(found);
    }
    const { entity } = await answered(await ask('GET', '/entities/painter', bob));
    expect(entity).toMatchObject({ display_name: 'Der Maler', metadata: { style: { oil: [1, null, 'x'] } } });
    await expect.poll(async () => (await ask('GET', '/status')).body.entities).toBe(2);
    carol.socket.close();
  });

  it('members hear of an entity that comes and goes', async () => {
    const dora = await joinBySocket(first, 'dora');
    await answered(await register('brief', ada));
    await answered(await ask('DELETE', '/entities/brief', ada));
    await dora.socket.until(() => dora.socket.of('federation:entity-unregistered').length > 0);
    expect(dora.socket.of('federation:entity-registered')).toMatchObject([{ entity: { entity_id: 'brief' } }]);
    expect(dora.socket.of('federation:entity-unregistered')).toMatchObject([{ entity_id: 'brief', cause: 'owner' }]);
    dora.socket.close();
  });

  it('an entity is its owner’s: nobody else takes its name, changes it, vouches for it or removes it, but who governs', async () => {
    await answered(await register('mine', ada, { display_name: 'one' }));
    for (const [method, path, body, code] of [
      ['POST', '/entities', { entity_id: 'mine', kind: 'ai' }, 'entity_id_taken'],
      ['POST', '/entities', { entity_id: 'other', kind: 'ai', node_id: 'ada' }, 'forbidden'],
      ['POST', '/entities', { entity_id: 'other', kind: 'ai', node_id: null }, 'forbidden'],
      ['PATCH', '/entities/mine', { display_name: 'bob was here' }, 'forbidden'],
      ['POST', '/entities/mine/seen', undefined, 'forbidden'],
      ['DELETE', '/entities/mine', undefined, 'forbidden'],
      ['GET', '/entities/nobody', undefined, 'not_found'],
    ] as const) {
      expect((await ask(method, path, bob, body)).body.code, `${method} ${path}`).toBe(code);
    }
    expect((await register('stray', undefined, { node_id: 'no-such-node' })).body.code).toBe('not_found');
    expect((await register('mine')).body.code).toBe('entity_id_taken');
    const changed = await answered(await ask('PATCH', '/entities/mine', undefined, { description: 'by who governs' }));
    expect(changed.entity).toMatchObject({ display_name: 'one', description: 'by who governs', node_id: 'ada' });
    expect((await answered(await ask('POST', '/entities/mine/seen', ada))).recorded).toBe(false);
    await answered(await ask('DELETE', '/entities/mine'));
    expect((await ask('DELETE', '/entities/mine', ada)).body.code).toBe('not_found');
    await answered(await register('mine', bob));
  });

  it('is seen when its owner does something about it, not when who governs does', async () => {
    const seenAfter = async ({ position }: { position: number }) => {
      const { entity } = await answered(await ask('GET', `/entities/lively?min_position=${position}`));
      return (entity as Listed).last_seen;
    };
    const first = await seenAfter(await answered(await register('lively', ada)));
    const change = (visitor: Visitor | undefined, description: string) =>
      ask('PATCH', '/entities/lively', visitor, { description });
    expect(await seenAfter(await answered(await change(undefined, 'by who governs')))).toBe(first);
    const later = await seenAfter(await answered(await change(ada, 'by its owner')));
    expect(Date.parse(later)).toBeGreaterThan(Date.parse(first));
  });

  it('what says twice the same is answered twice the same', async () => {
    const headers = { 'idempotency-key': 'once' };
    const again = { token: ada.token, headers, body: { entity_id: 'twice', kind: 'bridge' } };
    const one = await call(first, 'POST', '/entities', again);
    const two = await call(second, 'POST', '/entities', again);
    expect(two.body).toEqual(one.body);
    const other = await call(second, 'POST', '/entities', { ...again, body: { ...again.body, kind: 'ai' } });
    expect(other.body.code).toBe('idempotency_mismatch');
  });

  it('operators register what belongs to no node, and find it apart from the others', async () => {
    await answered(await register('outside-2', undefined, { kind: 'bridge', display_name: 'Éclair' }));
    await answered(await register('outside-1', undefined, { kind: 'client', node_id: null }));
    const { position } = await answered(await register('inside', undefined, { node_id: 'ada' }));
    expect(await idsOf('/external-entities', position)).toEqual(['outside-1', 'outside-2']);
    expect(await idsOf('/external-entities?search=%C3%A9CLAIR', position, bob)).toEqual(['outside-2']);
    expect(await idsOf('/external-entities?search=E%CC%81clair', position, bob)).toEqual(['outside-2']);
    expect(await idsOf('/entities?node=ada', position)).toContain('inside');
    await answered(await ask('POST', '/entities/outside-1/seen'));
    expect(await idsOf('/external-entities?node=ada&node=bob', position)).toHaveLength(2); // which is no filter here
  });

  it('lists are read page by page, and know a cursor that is none of theirs', async () => {
    let position = 0;
    for (let n = 0; n < 7; n++) ({ position } = await answered(await register(`page-${n}`, bob, { kind: 'service' })));
    const pages: string[][] = [];
    let cursor: string | null = '';
    while (cursor !== null) {
      const query = `kind=service&limit=3&min_position=${position}${cursor && `&cursor=${cursor}`}`;
      const body: Record<string, unknown> = await answered(await ask('GET', `/entities?${query}`));
      pages.push((body.entities as Listed[]).map(({ entity_id }) => entity_id));
      cursor = body.next_cursor as string | null;
    }
    expect(pages).toEqual([['page-0', 'page-1', 'page-2'], ['page-3', 'page-4', 'page-5'], ['page-6']]);
    for (const path of ['/entities', '/external-entities', '/events/joins', '/access/blocked']) {
      expect((await ask('GET', `${path}?cursor=bm90aGluZyBoZXJl`)).body.code, path).toBe('cursor_invalid');
    }
  });

  it('the newest joins are told first, nodes and entities together', async () => {
    await join('latest-node');
    const { position } = await answered(await register('latest-entity', ada, { display_name: 'Late' }));
    const all: { kind: string; id: string; joined_at: string }[] = [];
    let cursor: string | null = '';
    while (cursor !== null) {
      const query = `limit=4&min_position=${position}${cursor && `&cursor=${cursor}`}`;
      const body: Record<string, unknown> = await answered(await ask('GET', `/events/joins?${query}`, bob));
      all.push(...(body.joins as typeof all));
      cursor = body.next_cursor as string | null;
    }
    expect(all.slice(0, 2)).toMatchObject([
      { kind: 'entity', id: 'latest-entity', node_id: 'ada', display_name: 'Late' },
      { kind: 'node', id: 'latest-node', node_id: 'latest-node' },
    ]);
    expect(all.map(({ joined_at }) => joined_at)).toEqual(
      all
        .map(({ joined_at }) => joined_at)
        .sort()
        .reverse(),
    );
    const names = all.map(({ kind, id }) => `${kind} ${id}`);
    expect(new Set(names).size).toBe(names.length);
    const { entities } = await answered(await ask('GET', '/entities?limit=500'));
    const { nodes } = await answered(await ask('GET', '/nodes?limit=500'));
    expect(names.length).toBe((entities as unknown[]).length + (nodes as unknown[]).length);
  });

  it('a node has a thousand entities at most; what is there may still be changed', async () => {
    const many = await join('many');
    for (let from = 0; from < 1_000; from += 50) {
      const some = Array.from({ length: 50 }, (_, n) => register(`m-${from + n}`, many));
      for (const { status } of await Promise.all(some)) expect(status).toBe(200);
    }
    expect((await register('one-too-many', many)).body.code).toBe('limit_reached');
    await answered(await register('m-0', many, { display_name: 'changed' }));
    await answered(await ask('DELETE', '/entities/m-1', many));
    await expect.poll(async () => (await register('one-too-many', many)).status).toBe(200);
  }, 60_000);

  it('the entities of a node go with it, and one of its name that joins later does not inherit them', async () => {
    const { position } = await answered(await ask('DELETE', '/nodes/many'));
    expect((await ask('GET', `/entities?node=many&min_position=${position}`)).status).toBe(200);
    await join('many');
    await expect.poll(async () => (await idsOf('/entities?node=many&limit=1', 0)).length, { timeout: 30_000 }).toBe(0);
    expect((await ask('GET', '/entities/m-0')).body.code).toBe('not_found');
    const again = await join('many-2');
    await answered(await register('m-0', again));
  }, 60_000);
});
