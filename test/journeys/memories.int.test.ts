/** What nodes do with memories over HTTP, against one hub on SQLite and against two replicas on one PostgreSQL. */
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { call, joinByHttp, type Response, type Visitor } from '../security/visitor.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

interface Memory {
  memory_id: string;
  version: string;
  author: string;
  title?: string;
  content?: unknown;
  content_state: string;
  deleted: boolean;
  concurrent: Memory[];
}
type Answer = Record<string, unknown> & { position: number; memory: Memory; memories: Memory[] };

describe.each(['one hub on SQLite', 'two replicas on PostgreSQL'] as const)('%s', (setting) => {
  let first: TestHub;
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
  const join = async (nodeId: string, profile: object = {}) => {
    const visitor = await joinByHttp(first, nodeId, profile);
    await vi.waitFor(async () => expect((await ask('GET', '/governance', visitor)).status).toBe(200), {
      timeout: 15_000,
    });
    return visitor;
  };
  /** Asks the second replica; as a node or, without one, as an operator. */
  const ask = (method: string, path: string, visitor?: Visitor, body?: unknown): Promise<Response> =>
    call(second, method, path, { token: visitor?.token ?? first.adminToken, body });
  const done = async (asked: Promise<Response>, status = 200) => {
    const { status: answered, body } = await asked;
    expect([answered, body.code, body.detail]).toEqual([status, undefined, undefined]);
    return body as unknown as Answer;
  };
  const refused = async (asked: Promise<Response>, code: string) => expect((await asked).body.code).toBe(code);
  const store = (visitor: Visitor | undefined, memory: object) =>
    done(ask('POST', '/memory/store', visitor, memory), 201);
  const read = async (visitor: Visitor | undefined, id: string, position = 0) =>
    (await done(ask('GET', `/memory/${id}?min_position=${position}`, visitor))).memory;

  it('a stored memory is read back as it was, with where it came from', async () => {
    const provenance = { source: 'a cookbook', derived_from: ['older'] };
    const { position, version } = await store(ada, {
      memory_id: 'bread',
      category: 'recipes/bread',
      tags: ['rye'],
      title: 'Rye bread',
      content: { text: 'knead the dough', minutes: 90 },
      provenance,
    });
    expect(await read(ada, 'bread', position)).toMatchObject({
      memory_id: 'bread',
      version,
      owner: 'node:ada',
      author: 'node:ada',
      category: 'recipes/bread',
      tags: ['rye'],
      title: 'Rye bread',
      content: { text: 'knead the dough', minutes: 90 },
      content_state: 'shown',
      provenance,
      deleted: false,
      concurrent: [],
    });
  });

  it('what no rule shares is told of to nobody', async () => {
    const { position } = await store(ada, { memory_id: 'secret', category: 'private', content: 'the needle word' });
    for (const [method, path, body] of [
      ['GET', `/memory/secret?min_position=${position}`, undefined],
      ['GET', '/memory/secret/versions', undefined],
      ['PUT', '/memory/secret', { category: 'private', content: 'mine' }],
      ['POST', '/memory/store', { memory_id: 'secret', category: 'private', content: 'mine' }],
      ['DELETE', '/memory/secret', undefined],
    ] as const) {
      await refused(ask(method, path, bob, body), 'not_found');
    }
    for (const query of ['', '&q=needle', '&owner=node:ada', '&category=private']) {
      const found = await done(ask('GET', `/memory/search?min_position=${position}${query}`, bob));
      expect(found, query).toMatchObject({ memories: [], next_cursor: null });
    }
    const own = await done(ask('GET', `/memory/search?q=needle&min_position=${position}`, ada));
    expect(own.memories).toMatchObject([{ memory_id: 'secret', content: 'the needle word' }]);
  });

  it('is found by its words, category, tags and owner, page by page', async () => {
    const carl = await join('carl');
    const kinds = ['notes', 'notes/deep', 'notesy', 'other'];
    let position = 0;
    for (const [at, category] of kinds.entries()) {
      const tags = at % 2 === 0 ? ['even', 'a "quoted" tag'] : ['odd', 'quoted'];
      const memory = { memory_id: `n${at}`, category, tags, content: `zebra number ${at}` };
      position = (await store(carl, memory)).position;
    }
    const idsOf = async (query: string) => {
      const path = `/memory/search?min_position=${position}${query}`;
      return (await done(ask('GET', path, carl))).memories.map(({ memory_id }) => memory_id).sort();
    };
    for (const words of ['', '&q=zebra']) {
      expect(await idsOf(words)).toEqual(['n0', 'n1', 'n2', 'n3']);
      expect(await idsOf(`${words}&category=notes`)).toEqual(['n0', 'n1']);
      expect(await idsOf(`${words}&category=notes/deep`)).toEqual(['n1']);
      expect(await idsOf(`${words}&tag=even`)).toEqual(['n0', 'n2']);
      expect(await idsOf(`${words}&tag=quoted`)).toEqual(['n1', 'n3']);
      expect(await idsOf(`${words}&tag=even&tag=odd`)).toEqual([]);
      expect(await idsOf(`${words}&tag=${encodeURIComponent('a "quoted" tag')}&category=notes`)).toEqual(['n0']);
      expect(await idsOf(`${words}&owner=node:carl`)).toHaveLength(4);
      expect(await idsOf(`${words}&owner=node:ada`)).toEqual([]);
      const paged: string[] = [];
      let cursor = '';
      do {
        const more = cursor && `&cursor=${cursor}`;
        const page = await done(ask('GET', `/memory/search?min_position=${position}${words}&limit=3${more}`, carl));
        paged.push(...page.memories.map(({ memory_id }) => memory_id));
        cursor = (page.next_cursor as string | null) ?? '';
      } while (cursor);
      expect(paged.sort()).toEqual(['n0', 'n1', 'n2', 'n3']);
    }
    expect(await idsOf('&q="zebra number" 2')).toEqual(['n2']);
    await refused(ask('GET', '/memory/search?cursor=nonsense', carl), 'cursor_invalid');
    await refused(ask('GET', '/memory/search?q=x&cursor=nonsense', carl), 'cursor_invalid');
  });

  it('a rule lets others read, then edit; two who did not know of each other are both kept', async () => {
    const [owner, friend, stranger] = [await join('owner'), await join('friend'), await join('stranger')];
    const policy = (more: object) => ({
      shares: [{ id: 'friends', categories: ['shared/*'], with: { nodes: ['friend'] }, ...more }],
      takes: [],
    });
    const declare = (body: object) => done(ask('PUT', '/knowledge/sovereignty/owner', owner, body));
    const first = await store(owner, { memory_id: 'plan', category: 'shared/plans', tags: ['x'], content: 'one' });
    await refused(ask('GET', `/memory/plan?min_position=${first.position}`, friend), 'not_found');
    expect(await declare(policy({}))).toMatchObject({ subject: 'owner', version: 1 });
    expect(await read(friend, 'plan')).toMatchObject({ content: 'one', owner: 'node:owner' });
    const found = await done(
      ask('GET', `/memory/search?q=one&owner=node:owner&min_position=${first.position}`, friend),
    );
    expect(found.memories).toMatchObject([{ memory_id: 'plan', content: 'one' }]);
    await refused(ask('GET', '/memory/plan', stranger), 'not_found');
    const edit = { category: 'shared/plans', tags: ['x'], content: 'friend was here', based_on: first.version };
    await refused(ask('PUT', '/memory/plan', friend, edit), 'sovereignty_refused');
    await declare(policy({ edit: true }));
    await refused(ask('PUT', '/memory/plan', friend, { ...edit, category: 'public' }), 'sovereignty_refused');
    const own = await done(ask('PUT', '/memory/plan', owner, { ...edit, content: 'two' }));
    const { position } = await done(ask('PUT', '/memory/plan', friend, edit));
    await refused(ask('DELETE', '/memory/plan', friend), 'sovereignty_refused');
    expect(await read(owner, 'plan', position)).toMatchObject({
      content: 'friend was here',
      author: 'node:friend',
      concurrent: [{ version: own.version, content: 'two', author: 'node:owner' }],
    });
    const merged = await done(ask('PUT', '/memory/plan', owner, { ...edit, content: 'both', based_on: undefined }));
    expect(await read(friend, 'plan', merged.position)).toMatchObject({ content: 'both', concurrent: [] });
    const { versions } = await done(ask('GET', '/memory/plan/versions', friend));
    expect((versions as Memory[]).map(({ content }) => content)).toEqual(['both', 'friend was here', 'two', 'one']);
    const past = await done(ask('GET', `/memory/plan?version=${own.version}`, friend));
    expect(past.memory).toMatchObject({ content: 'two', concurrent: [] });
    await refused(ask('GET', `/memory/plan?version=${own.version}`, stranger), 'not_found');
    await refused(ask('GET', `/memory/bread?version=${own.version}`, ada), 'not_found');
    await declare({ shares: [], takes: [] });
    await refused(ask('GET', '/memory/plan', friend), 'not_found');
    await refused(ask('GET', `/memory/plan?version=${own.version}`, friend), 'not_found');
    const gone = await done(ask('DELETE', '/memory/plan', owner));
    await refused(ask('GET', `/memory/plan?min_position=${gone.position}`, owner), 'not_found');
    await refused(ask('DELETE', '/memory/plan', owner), 'not_found');
  });

  it('what was deleted, or is in reach no more, is not read in what it said before, but by its owner', async () => {
    const [owner, friend] = [await join('author'), await join('former-reader')];
    const shares = [{ id: 'open', categories: ['open'], with: { everyone: true } }];
    await done(ask('PUT', '/knowledge/sovereignty/author', owner, { shares, takes: [] }));
    for (const [id, end] of [
      ['past-1', () => ask('PUT', '/memory/past-1', owner, { category: 'private', content: 'now private' })],
      ['past-2', () => ask('DELETE', '/memory/past-2', owner)],
    ] as const) {
      const { version, position } = await store(owner, { memory_id: id, category: 'open', content: 'was open' });
      expect(await read(friend, id, position)).toMatchObject({ content: 'was open' });
      const ended = await done(end());
      await refused(ask('GET', `/memory/${id}?version=${version}&min_position=${ended.position}`, friend), 'not_found');
      await refused(ask('GET', `/memory/${id}/versions`, friend), 'not_found');
      const { memory } = await done(ask('GET', `/memory/${id}?version=${version}`, owner));
      expect(memory).toMatchObject({ content: 'was open' });
    }
  });

  it('a policy is its subject’s and who governs’, whole, counted, and the same again changes nothing', async () => {
    const [paul, quinn] = [await join('paul'), await join('quinn')];
    const policy = { shares: [{ id: 'r', categories: ['*'], with: { everyone: true } }], takes: [] };
    const path = '/knowledge/sovereignty/paul';
    expect((await done(ask('GET', path, paul))).sovereignty).toMatchObject({ version: 0, shares: [], takes: [] });
    const first = await done(ask('PUT', path, paul, policy));
    const again = await done(ask('PUT', path, undefined, policy));
    expect([first.version, again.version, again.position]).toEqual([1, 1, first.position]);
    expect((await done(ask('GET', path))).sovereignty).toMatchObject({ version: 1, ...policy });
    for (const method of ['GET', 'PUT'])
      await refused(ask(method, path, quinn, method === 'PUT' ? policy : undefined), 'forbidden');
    await refused(ask('POST', `${path}/try`, quinn, policy), 'forbidden');
    await refused(ask('PUT', path, paul, { ...policy, shares: [policy.shares[0], policy.shares[0]] }), 'invalid_input');
    await refused(ask('PUT', path, paul, { ...policy, more: 1 }), 'invalid_input');
    await refused(ask('PUT', '/knowledge/sovereignty/nobody', undefined, policy), 'not_found');
    const entries = await done(ask('GET', `/audit?target=paul&min_position=${first.position}`));
    expect(JSON.stringify(entries)).toContain('sovereignty.declared');
  });

  it('a policy can be tried before it counts', async () => {
    const [rita, sam] = [await join('rita'), await join('sam')];
    let position = 0;
    for (const at of [1, 2, 3]) {
      position = (await store(rita, { memory_id: `r${at}`, category: at < 3 ? 'open' : 'shut', content: at })).position;
    }
    await done(
      ask('PUT', '/knowledge/sovereignty/sam', sam, {
        shares: [],
        takes: [{ id: 't', categories: ['*'], with: { nodes: ['rita'] } }],
      }),
    );
    await done(ask('GET', `/memory/r3?min_position=${position}`, rita));
    const policy = (categories: string[]) => ({
      shares: [{ id: 'r', categories, with: { nodes: ['sam'] } }],
      takes: [],
    });
    const tried = await done(ask('POST', '/knowledge/sovereignty/rita/try', rita, policy(['open'])));
    expect(tried).toMatchObject({ complete: true, effects: [{ receiver: 'sam', goes: 2, ceases: 0, newly_read: 2 }] });
    expect(tried.named).toEqual(['r1', 'r2'].map((memory_id) => ({ receiver: 'sam', memory_id, change: 'goes' })));
    await refused(ask('GET', '/memory/r1', sam), 'not_found'); // it was only tried
    await done(ask('PUT', '/knowledge/sovereignty/rita', rita, policy(['open'])));
    const back = await done(ask('POST', '/knowledge/sovereignty/rita/try', rita, policy(['shut'])));
    expect(back.effects).toMatchObject([{ receiver: 'sam', goes: 1, ceases: 2, newly_read: 1, no_longer_read: 2 }]);
  });

  it('what operators store is theirs together, under a policy of their own; who governs may delete all, and reads no more for that', async () => {
    const token = async (scope: string) =>
      String((await done(ask('POST', '/auth/tokens', undefined, { label: scope, scopes: [scope] }), 201)).token);
    const [one, other] = [await token('act'), await token('act')];
    const as = (bearer: string, method: string, path: string, body?: unknown) =>
      call(second, method, path, { token: bearer, body });
    const { position } = await done(
      as(one, 'POST', '/memory/store', { memory_id: 'rules', category: 'house', content: 'be kind' }),
      201,
    );
    expect((await done(as(other, 'GET', `/memory/rules?min_position=${position}`))).memory).toMatchObject({
      content: 'be kind',
    });
    await done(as(other, 'PUT', '/memory/rules', { category: 'house', content: 'be kinder' }));
    await refused(ask('GET', '/memory/rules', bob), 'not_found');
    await refused(as(one, 'PUT', '/knowledge/sovereignty/@federation', { shares: [], takes: [] }), 'forbidden');
    const shared = await done(
      ask('PUT', '/knowledge/sovereignty/@federation', undefined, {
        shares: [{ id: 'all', categories: ['house'], with: { everyone: true } }],
        takes: [],
      }),
    );
    expect(await read(bob, 'rules', shared.position)).toMatchObject({ content: 'be kinder' });

    const hidden = await store(ada, { memory_id: 'hidden', category: 'private', content: 'unread' });
    const seen = await read(undefined, 'hidden', hidden.position);
    expect([seen.content_state, seen.content]).toEqual(['withheld', undefined]);
    await refused(as(one, 'GET', '/memory/hidden'), 'not_found');
    await refused(as(one, 'DELETE', '/memory/hidden'), 'not_found');
    const deleted = await done(ask('DELETE', '/memory/hidden'));
    await refused(ask('GET', `/memory/hidden?min_position=${deleted.position}`, ada), 'not_found');
  });

  it('whoever has a name that another had owns nothing of what that one had, and shares none of it', async () => {
    const [former, reader] = [await join('name'), await join('reader')];
    const all = { shares: [{ id: 'all', categories: ['*'], with: { everyone: true } }], takes: [] };
    await store(former, { memory_id: 'legacy', category: 'a', content: 'old needle' });
    await done(ask('PUT', '/knowledge/sovereignty/name', former, all));
    await done(ask('DELETE', '/nodes/name'));
    const next = await vi.waitFor(() => join('name'), 10_000);
    expect((await done(ask('GET', '/knowledge/sovereignty/name', next))).sovereignty).toMatchObject({ version: 0 });
    expect(await done(ask('PUT', '/knowledge/sovereignty/name', next, all))).toMatchObject({ version: 2 });
    const { position } = await store(next, { memory_id: 'fresh', category: 'a', content: 'new needle' });
    for (const visitor of [next, reader]) {
      const found = await done(ask('GET', `/memory/search?q=needle&owner=node:name&min_position=${position}`, visitor));
      expect(found.memories.map(({ memory_id }) => memory_id)).toEqual(['fresh']);
      const listed = await done(ask('GET', `/memory/search?owner=node:name&min_position=${position}`, visitor));
      expect(listed.memories.map(({ memory_id }) => memory_id)).toEqual(['fresh']);
      await refused(ask('GET', '/memory/legacy', visitor), 'not_found');
    }
    await refused(ask('PUT', '/memory/legacy', next, { category: 'a', content: 'mine' }), 'not_found');
    await refused(ask('GET', '/memory/legacy/holders', next), 'not_found');
  });

  it('a node can have all it ever stored made unreadable; what it stores later can be read', async () => {
    const vera = await join('vera');
    await store(vera, { memory_id: 'v1', category: 'a', title: 'T', content: 'forgettable' });
    await done(ask('DELETE', '/memory', vera));
    const { position } = await store(vera, { memory_id: 'v2', category: 'a', content: 'kept' });
    const erased = await read(vera, 'v1', position);
    expect([erased.content_state, erased.content, erased.title]).toEqual(['erased', undefined, undefined]);
    expect(await read(vera, 'v2', position)).toMatchObject({ content_state: 'shown', content: 'kept' });
    await vi.waitFor(async () => {
      const found = await done(ask('GET', `/memory/search?q=forgettable&min_position=${position}`, vera));
      expect(found.memories).toEqual([]);
    }, 10_000);
  });

  it('a memory has a bound, and a name of its own federation; the same key is the same memory', async () => {
    const content = 'x'.repeat(255 * 1024);
    await store(ada, { category: 'a', content });
    await refused(
      ask('POST', '/memory/store', ada, { category: 'a', content: `${content}${content.slice(0, 2_000)}` }),
      'payload_too_large',
    );
    await refused(
      ask('POST', '/memory/store', ada, { memory_id: 'm@elsewhere', category: 'a', content: 1 }),
      'not_found',
    );
    await refused(ask('POST', '/memory/store', ada, { category: 'No Category', content: 1 }), 'invalid_input');
    const headers = { 'idempotency-key': 'once' };
    const twice = [1, 2].map(() =>
      call(second, 'POST', '/memory/store', { token: ada.token, headers, body: { category: 'a', content: 1 } }),
    );
    const [one, other] = await Promise.all(twice);
    expect(one!.body.memory_id).toEqual(other!.body.memory_id);
  });

  it('nothing that a memory says lies in the open in log or views', async () => {
    const { position } = await store(ada, { category: 'a', title: 'Sesame', content: 'openbarleysesame' });
    await done(ask('GET', `/memory/search?min_position=${position}`, ada));
    if (setting === 'one hub on SQLite') {
      const folder = path.join(first.folder, 'data');
      for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile() || entry.name.startsWith('search')) continue; // its rows are plain, and can be deleted
        const file = path.join(entry.parentPath, entry.name);
        expect((await readFile(file)).includes('openbarleysesame'), file).toBe(false);
      }
    }
  });
});
