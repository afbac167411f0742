/** What secrets live through, and those whom they are for and not for, at one hub on SQLite and at two replicas on one PostgreSQL and Redis. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { FederationNode, generateKey } from '../../src/client/node.ts';
import { call, joinByHttp, joinBySocket, type Response, type Visitor } from '../security/visitor.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

interface Listed {
  secret_id: string;
  newest: number;
  versions: { version: number; stored_by: string }[];
  may: string[];
  readers?: object;
  used_at: string | null;
}

describe.each(['one hub on SQLite', 'two replicas on PostgreSQL'] as const)('%s', (setting) => {
  let folder: string;
  let first: TestHub;
  /** Another replica of the same federation; the same hub where there is one only. */
  let second: TestHub;
  let ada: Visitor;
  let bob: Visitor;
  let eve: Visitor;

  beforeAll(async () => {
    const replicas = setting === 'two replicas on PostgreSQL';
    folder = await mkdtemp(path.join(tmpdir(), 'fedhub-vault-'));
    const env = { FEDERATION_VAULT_KEY_FILE: path.join(folder, 'vault.key') };
    first = await startTestHub({ database: replicas ? 'postgres' : 'sqlite', redis: replicas, env });
    second = replicas ? await startTestHub({ redis: true, env: { ...env, DATABASE_URL: first.databaseUrl! } }) : first;
    [ada, bob, eve] = [await join('ada'), await join('bob'), await join('eve')];
  });
  afterAll(async () => {
    if (second !== first) await second?.stop();
    await first?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const join = async (nodeId: string) => {
    const visitor = await joinByHttp(first, nodeId);
    await vi.waitFor(async () => expect((await ask('GET', '/governance', visitor)).status).toBe(200), 10_000);
    return visitor;
  };
  const at = (hub: TestHub, method: string, route: string, visitor?: Visitor, body?: unknown, key?: string) =>
    call(hub, method, route, {
      token: visitor?.token ?? first.adminToken,
      body,
      ...(key !== undefined && { headers: { 'idempotency-key': key } }),
    });
  /** Asks the second replica; as a node or, without one, as an operator. */
  const ask = (method: string, route: string, visitor?: Visitor, body?: unknown, key?: string): Promise<Response> =>
    at(second, method, route, visitor, body, key);
  const answered = async (response: Promise<Response>, status = 200) => {
    const { body, ...rest } = await response;
    expect([rest.status, body.code, body.detail]).toEqual([status, undefined, undefined]);
    return body;
  };
  /** Stores at the first replica. */
  const store = (id: string, value: string, visitor?: Visitor, more: object = {}) =>
    answered(at(first, 'PUT', `/secrets/${id}`, visitor, { value, ...more }));
  const read = async (id: string, visitor?: Visitor) => (await answered(ask('GET', `/secrets/${id}`, visitor))).value;
  const refused = async (id: string, visitor?: Visitor) => {
    const { status, body } = await ask('GET', `/secrets/${id}`, visitor);
    return [status, body.code];
  };
  const notThere = [404, 'not_found'];
  const share = (id: string, readers: object, visitor?: Visitor, writers: object = {}) =>
    answered(at(first, 'PUT', `/secrets/${id}/access`, visitor, { readers, writers }));
  const listed = async (visitor?: Visitor) =>
    (await answered(ask('GET', '/secrets', visitor))).secrets as unknown as Listed[];
  const usesOf = async (id: string) => {
    const { body } = await ask('GET', '/status');
    const { head } = body.views as { head: number };
    const { entries } = await answered(ask('GET', `/audit?target=${id}&action=secret.used&min_position=${head}`));
    return (entries as { actor: string }[]).map(({ actor }) => actor);
  };

  it('a node stores a secret, reads it at any replica at once, and stores another version of it', async () => {
    expect(await store('ada:openai', 'first value', ada)).toMatchObject({ version: 1, created: true });
    expect(await read('ada:openai', ada)).toBe('first value');
    expect(await store('ada:openai', 'second value', ada)).toMatchObject({ version: 2, created: false });
    expect(await read('ada:openai', ada)).toBe('second value');
    expect(await read('ada:openai?version=1', ada)).toBe('first value');
    expect(await refused('ada:openai?version=3', ada)).toEqual(notThere);
    const [mine] = await listed(ada);
    expect(mine).toMatchObject({ secret_id: 'ada:openai', newest: 2, may: ['manage', 'write', 'read'], readers: {} });
    expect(mine?.versions).toMatchObject([
      { version: 1, stored_by: 'node:ada' },
      { version: 2, stored_by: 'node:ada' },
    ]);
    expect(JSON.stringify(mine)).not.toMatch(/value|sealed|key_id/);
  });

  it('every use is in the log before the answer leaves, by whom and which version, and so are those that were refused', async () => {
    await store('@federation:used', 'x');
    const given = await answered(ask('GET', '/secrets/@federation:used'));
    const { entries } = await answered(ask('GET', `/audit?action=secret.used&target=@federation:used`));
    await vi.waitFor(async () => expect(await usesOf('@federation:used')).toHaveLength(1), 5_000);
    expect(given.position).toBeGreaterThan(0);
    expect(entries).toBeDefined();
    expect(await refused('@federation:used', eve)).toEqual(notThere);
    await vi.waitFor(async () => {
      const found = await answered(ask('GET', '/audit?outcome=refused&target=@federation:used'));
      expect(found.entries).toMatchObject([{ actor: 'node:eve', code: 'not_found' }]);
    }, 10_000);
  });

  it('strangers cannot tell a secret that is not for them from one that is not there', async () => {
    await store('ada:hidden', 'x', ada);
    for (const [method, rest, body] of [
      ['GET', ''],
      ['PUT', '', { value: 'y' }],
      ['PUT', '/access', { readers: { nodes: ['eve'] }, writers: {} }],
      ['DELETE', ''],
      ['DELETE', '/versions/1'],
    ] as const) {
      const told = async (id: string) => {
        const { status, body: problem } = await ask(method, `/secrets/${id}${rest}`, eve, body);
        return JSON.stringify({ status, ...problem, instance: '' }).replaceAll(id, 'ID');
      };
      expect(await told('ada:hidden')).toBe(await told('ada:nothing'));
      expect(await told('ada:hidden')).toContain('not_found');
    }
    const made = await ask('POST', '/secrets', eve, { secret_id: 'ada:hidden', value: 'y' });
    expect([made.status, made.body.code]).toEqual(notThere);
    expect(await listed(eve)).toEqual([]);
    expect(await read('ada:hidden', ada)).toBe('x');
  });

  it('is for the nodes, entities and roles that its owner names, from then on and until then', async () => {
    await store('ada:shared', 'x', ada);
    await answered(at(first, 'POST', '/entities', bob, { entity_id: 'robot', kind: 'ai' }));
    for (const readers of [{ nodes: ['bob'] }, { entities: ['robot'] }, { roles: ['member'] }]) {
      expect(await refused('ada:shared', bob)).toEqual(notThere);
      await share('ada:shared', readers, ada);
      expect(await read('ada:shared', bob)).toBe('x');
      expect(await listed(bob)).toMatchObject([{ secret_id: 'ada:shared', may: ['read'] }]);
      expect((await listed(bob))[0]).not.toHaveProperty('readers');
      await share('ada:shared', {}, ada);
    }
    expect(await refused('ada:shared', bob)).toEqual(notThere);
    await share('ada:shared', { entities: ['robot'] }, ada);
    await answered(at(first, 'POST', '/access/block/robot', undefined, { reason: 'wild' }));
    expect(await refused('ada:shared', bob)).toEqual(notThere);
    await answered(at(first, 'POST', '/access/unblock/robot'));
    expect(await read('ada:shared', bob)).toBe('x');
  });

  it('a grant to a node or an entity of a node that is not there is refused, and changes nothing', async () => {
    await answered(at(first, 'POST', '/entities', undefined, { entity_id: 'ownerless', kind: 'ai' }));
    await store('ada:strict', 'x', ada, { readers: { nodes: ['bob'] } });
    for (const [parties, status, code, named] of [
      [{ nodes: ['bob', 'nobody'] }, 404, 'not_found', 'node nobody'],
      [{ entities: ['nothing'] }, 404, 'not_found', 'entity nothing'],
      [{ entities: ['ownerless'] }, 404, 'not_found', 'entity ownerless'],
      [{ roles: ['owner'] }, 400, 'invalid_input', 'roles'],
    ] as const) {
      for (const access of [
        { readers: parties, writers: {} },
        { readers: {}, writers: parties },
      ]) {
        const told = [
          await ask('PUT', '/secrets/ada:strict/access', ada, access),
          await ask('PUT', '/secrets/ada:unmade', ada, { value: 'x', ...access }),
          await ask('POST', '/secrets', ada, { secret_id: 'ada:unmade', value: 'x', ...access }),
        ];
        const expected = [status, code, expect.stringContaining(named)];
        expect(told.map(({ status, body }) => [status, body.code, body.detail])).toEqual(told.map(() => expected));
      }
    }
    expect(await refused('ada:unmade', ada)).toEqual(notThere);
    expect(await read('ada:strict', bob)).toBe('x');
  });

  it('a grant that was made is answered as before when it is asked for again, though who it was for is gone', async () => {
    await join('ivan');
    await store('ada:again', 'x', ada);
    const grant = () =>
      at(second, 'PUT', '/secrets/ada:again/access', ada, { readers: { nodes: ['ivan'] }, writers: {} }, 'grant');
    const make = () =>
      at(second, 'PUT', '/secrets/ada:anew', ada, { value: 'x', readers: { nodes: ['ivan'] } }, 'make');
    const before = [await answered(grant()), await answered(make())];
    await answered(at(first, 'DELETE', '/nodes/ivan'));
    expect([await answered(grant()), await answered(make())]).toEqual(before);
  });

  it('access is said whole: what leaves readers or writers out is refused, and takes nothing away', async () => {
    await store('ada:whole', 'x', ada, { readers: { nodes: ['bob'] }, writers: { nodes: ['bob'] } });
    for (const access of [{ readers: {} }, { writers: {} }, {}]) {
      const answer = await ask('PUT', '/secrets/ada:whole/access', ada, access);
      expect([answer.status, answer.body.code]).toEqual([400, 'invalid_input']);
    }
    expect(await store('ada:whole', 'of bob', bob)).toMatchObject({ version: 2 });
    expect(await read('ada:whole', bob)).toBe('of bob');
  });

  it('what was granted or taken back at one replica counts in the next question at another', async () => {
    await store('ada:flicker', 'x', ada);
    for (let times = 0; times < 20; times++) {
      await share('ada:flicker', { nodes: ['bob'] }, ada);
      expect(await read('ada:flicker', bob)).toBe('x');
      await share('ada:flicker', {}, ada);
      expect(await refused('ada:flicker', bob)).toEqual(notThere);
    }
  });

  it('those who may write need not be able to read, nor those who read to write', async () => {
    await store('ada:dropbox', 'x', ada);
    await share('ada:dropbox', { nodes: ['bob'] }, ada, { nodes: ['eve'] });
    expect(await store('ada:dropbox', 'of eve', eve)).toMatchObject({ version: 2 });
    expect(await refused('ada:dropbox', eve)).toEqual([403, 'forbidden']);
    expect(await read('ada:dropbox', bob)).toBe('of eve');
    const written = await ask('PUT', '/secrets/ada:dropbox', bob, { value: 'of bob' });
    expect([written.status, written.body.code]).toEqual([403, 'forbidden']);
    expect((await ask('DELETE', '/secrets/ada:dropbox', eve)).body.code).toBe('forbidden');
  });

  it('operators read their own and what is shared with them; they manage all', async () => {
    await store('@federation:smtp', 'operators only');
    expect(await read('@federation:smtp')).toBe('operators only');
    await store('ada:own', 'x', ada);
    expect(await refused('ada:own')).toEqual([403, 'forbidden']);
    await share('ada:own', { operators: true }, ada);
    expect(await read('ada:own')).toBe('x');
    const { token } = await answered(ask('POST', '/auth/tokens', undefined, { label: 'a', scopes: ['act'] }), 201);
    const acting = { ...ada, token: String(token) };
    expect(await refused('@federation:smtp', acting)).toEqual(notThere);
    await answered(ask('DELETE', '/secrets/ada:own'));
    expect(await refused('ada:own', ada)).toEqual(notThere);
  });

  it('a ban, a role that was taken and a removal at another replica count at once', async () => {
    const [carl, dora, fred] = [await join('carl'), await join('dora'), await join('fred')];
    await store('ada:care', 'x', ada);
    await answered(at(first, 'POST', '/governance/roles/dora', undefined, { role: 'admin' }));
    await share('ada:care', { nodes: ['carl', 'fred'], roles: ['admin'] }, ada);
    for (const one of [carl, dora, fred]) expect(await read('ada:care', one)).toBe('x');
    await answered(at(first, 'POST', '/governance/bans/carl', undefined, { reason: 'told on' }));
    expect((await refused('ada:care', carl))[0]).toBe(403);
    await answered(at(first, 'POST', '/governance/roles/dora', undefined, { role: 'member' }));
    expect(await refused('ada:care', dora)).toEqual(notThere);
    await answered(at(first, 'DELETE', '/nodes/fred'));
    expect((await ask('GET', '/secrets/ada:care', fred)).status).toBeGreaterThanOrEqual(401);
  });

  it('a token that was revoked and sessions that were ended at another replica count at once', async () => {
    await store('@federation:spare', 'x', undefined, { readers: { roles: ['member'] } });
    const visitor = await join('hugo');
    for (let times = 0; times < 30; times++) {
      const made = await answered(
        at(first, 'POST', '/auth/tokens', undefined, { label: 'a', scopes: ['govern'] }),
        201,
      );
      const operator = { ...ada, token: String(made.token) };
      expect(await read('@federation:spare', operator)).toBe('x');
      await answered(at(first, 'DELETE', `/auth/tokens/${made.prefix}`));
      expect((await refused('@federation:spare', operator))[0]).toBe(401);
    }
    expect(await read('@federation:spare', visitor)).toBe('x');
    await answered(at(first, 'POST', '/auth/revoke/hugo', undefined, { what: 'sessions', reason: 'told on' }));
    expect((await refused('@federation:spare', visitor))[0]).toBeOneOf([401, 403]);
    await answered(at(first, 'DELETE', '/secrets/@federation:spare')); // it was for all members
  });

  it('whoever takes the name of a removed node gets none of its secrets, and nothing that was granted to it', async () => {
    const gina = await join('gina');
    await store('gina:diary', 'mine', gina);
    await store('ada:forgina', 'x', ada, { readers: { nodes: ['gina'] } });
    expect(await read('ada:forgina', gina)).toBe('x');
    await answered(at(first, 'DELETE', '/nodes/gina'));
    const other = await join('gina');
    expect(await refused('gina:diary', other)).toEqual(notThere);
    expect(await refused('ada:forgina', other)).toEqual(notThere);
    expect((await listed(ada)).find(({ secret_id }) => secret_id === 'ada:forgina')?.readers).toEqual({});
    expect(await store('gina:diary', 'another', other)).toMatchObject({ version: 1, created: true });
    expect(await read('gina:diary', other)).toBe('another');
    await answered(at(first, 'DELETE', '/nodes/gina'));
    await vi.waitFor(async () => {
      expect((await listed()).map(({ secret_id }) => secret_id)).not.toContain('gina:diary');
    }, 10_000);
  });

  it('a node that may read hears of a new version, without what it says; others hear nothing', async () => {
    const reader = await joinBySocket(second, 'hearer');
    const other = await joinBySocket(second, 'outsider');
    await store('ada:told', 'canary-one', ada, { readers: { nodes: ['hearer'] } });
    await store('ada:told', 'canary-two', ada);
    const told = () => reader.socket.pushed.filter(({ name }) => name === 'federation:secret-changed');
    await vi.waitFor(() => expect(told()).toHaveLength(2), 5_000);
    expect(told()[1]?.packet).toMatchObject({ secret_id: 'ada:told', version: 2, change: 'stored' });
    expect(JSON.stringify(reader.socket.pushed)).not.toContain('canary');
    expect(JSON.stringify(other.socket.pushed)).not.toContain('ada:told');
    reader.socket.close();
    other.socket.close();
  });

  it('a version that is destroyed is lost, and is not replaced by an older one', async () => {
    await store('ada:leak', 'one', ada);
    await store('ada:leak', 'two', ada);
    await answered(ask('DELETE', '/secrets/ada:leak/versions/2', ada));
    expect(await refused('ada:leak', ada)).toEqual([410, 'secret_lost']);
    expect(await read('ada:leak?version=1', ada)).toBe('one');
    expect(await store('ada:leak', 'three', ada)).toMatchObject({ version: 3 });
    expect(await read('ada:leak', ada)).toBe('three');
  });

  it('ten versions are kept', async () => {
    for (let at = 1; at <= 11; at++) await store('ada:many', `v${at}`, ada);
    expect(await refused('ada:many?version=1', ada)).toEqual([410, 'secret_lost']);
    expect(await read('ada:many?version=2', ada)).toBe('v2');
    expect(await read('ada:many', ada)).toBe('v11');
  });

  it('two who store at the same moment both get a version', async () => {
    const versions = await Promise.all(
      Array.from({ length: 6 }, async (_, index) => {
        const replica = index % 2 === 0 ? first : second;
        return (await answered(at(replica, 'PUT', '/secrets/ada:race', ada, { value: `v${index}` }))).version;
      }),
    );
    expect(versions.sort()).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('the same request again is done once, and another under its key is refused', async () => {
    const put = (value: string) => at(first, 'PUT', '/secrets/ada:once', ada, { value }, 'k1');
    const one = await answered(put('x'));
    expect(await answered(put('x'))).toEqual(one);
    expect((await put('y')).body.code).toBe('idempotency_mismatch');
    expect((await listed(ada)).find(({ secret_id }) => secret_id === 'ada:once')?.newest).toBe(1);
    const remove = () => at(second, 'DELETE', '/secrets/ada:once', ada, undefined, 'k2');
    expect(await answered(remove())).toEqual(await answered(remove()));
    const make = () => at(first, 'POST', '/secrets', ada, { secret_id: 'ada:made', value: 'z' }, 'k3');
    expect(await answered(make(), 201)).toEqual(await answered(make(), 201));
    expect((await at(first, 'POST', '/secrets', ada, { secret_id: 'ada:made', value: 'z' })).body.code).toBe(
      'secret_id_taken',
    );
  });

  it('takes any text and bytes up to 64 KiB, as they are, and says what is wrong without quoting it', async () => {
    for (const value of ['\u0000', '\u202e💩 \ud83d\ude00', `'; DROP TABLE x; --`, '\r\n', 'x'.repeat(65_536)]) {
      await store('ada:text', value, ada);
      expect(await read('ada:text', ada)).toBe(value);
    }
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)).toString('base64');
    await store('ada:text', bytes, ada, { encoding: 'base64' });
    expect(await answered(ask('GET', '/secrets/ada:text', ada))).toMatchObject({ value: bytes, encoding: 'base64' });
    for (const [body, status] of [
      [{ value: 'quotable'.repeat(8_193) }, 413],
      [{ value: 'quotable\ud800' }, 400],
      [{ value: 'quotable!', encoding: 'base64' }, 400],
      [{ value: 'quotable', encoding: 'rot13' }, 400],
      [{ value: ['quotable'] }, 400],
      ['{"value": "quotable" quotable', 400],
      ['"quotable"', 400],
    ] as const) {
      const answer = await ask('PUT', '/secrets/ada:text', ada, body);
      expect([answer.status, JSON.stringify(answer.body)]).toEqual([status, expect.not.stringContaining('quotable')]);
    }
    for (const id of ['ada', 'ada:', ':x', 'ada:a:b', 'ada:-', '@operators:x', 'ada:x%2Fy', 'ada:%00']) {
      expect((await ask('PUT', `/secrets/${id}`, ada, { value: 'x' })).status, id).toBe(400);
    }
    for (const version of ['0', '-1', '1.5', 'x', '1e99', '99999999999999999999']) {
      expect((await ask('GET', `/secrets/ada:text?version=${version}`, ada)).status, version).toBeOneOf([400, 404]);
      expect((await ask('DELETE', `/secrets/ada:text/versions/${version}`, ada)).status, version).toBeOneOf([400, 404]);
    }
  });

  it('no answer about secrets may be kept by a cache', async () => {
    for (const route of ['/secrets', '/secrets/ada:openai', '/secrets/ada:nothing', '/secrets/master']) {
      const headers = { authorization: `Bearer ${first.adminToken}` };
      const response = await fetch(`${second.url}/api/federation${route}`, { headers });
      expect([route, response.headers.get('cache-control')]).toEqual([route, 'no-store']);
    }
  });

  it('pages through the list', async () => {
    const ids: string[] = [];
    let cursor = '';
    do {
      const page = await answered(ask('GET', `/secrets?limit=2${cursor && `&cursor=${cursor}`}`, ada));
      ids.push(...(page.secrets as unknown as Listed[]).map(({ secret_id }) => secret_id));
      cursor = String(page.next_cursor ?? '');
    } while (cursor);
    expect(ids).toEqual((await listed(ada)).map(({ secret_id }) => secret_id));
    expect(new Set(ids).size).toBe(ids.length);
    expect((await ask('GET', '/secrets?cursor=xyz', ada)).body.code).toBe('cursor_invalid');
  });

  it('the SDK stores, reads, shares, lists and destroys, and hears of changes', async () => {
    const [jane, kurt] = await Promise.all(
      ['jane', 'kurt'].map(async (nodeId) =>
        new FederationNode({ url: second.url, nodeId, key: await generateKey() }).connect(),
      ),
    );
    try {
      const told: string[] = [];
      kurt!.on('secret-changed', ({ secret_id, version }) => told.push(`${secret_id} ${version}`));
      expect(await jane!.secrets.put('token', 'abc')).toEqual({ secretId: 'jane:token', version: 1, created: true });
      await expect(kurt!.secrets.get('jane:token')).rejects.toMatchObject({ code: 'not_found' });
      await jane!.secrets.grant('token', { readers: { nodes: ['kurt'] }, writers: {} });
      await jane!.secrets.put('token', new Uint8Array([0, 255, 1]));
      expect(await kurt!.secrets.get('jane:token')).toEqual({
        secretId: 'jane:token',
        version: 2,
        value: new Uint8Array([0, 255, 1]),
      });
      expect((await kurt!.secrets.get('jane:token', { version: 1 })).value).toBe('abc');
      expect(await kurt!.secrets.list()).toMatchObject([{ secretId: 'jane:token', newest: 2, may: ['read'] }]);
      await vi.waitFor(() => expect(told).toEqual(['jane:token 1', 'jane:token 2']), 5_000);
      await jane!.secrets.remove('token', { version: 2 });
      await expect(jane!.secrets.get('token')).rejects.toMatchObject({ code: 'secret_lost' });
      await jane!.secrets.remove('token');
      expect(await jane!.secrets.list()).toEqual([]);
    } finally {
      for (const node of [jane, kurt]) node?.close();
    }
  });

  it('the master key is rotated while secrets are read and written at all replicas, and the old one is gone', async () => {
    const before = await answered(ask('GET', '/secrets/master'));
    const [, oldKey] = /^current (.+)$/m.exec(await readFile(path.join(folder, 'vault.key'), 'utf8'))!;
    let reads = 0;
    let stopped = false;
    const busy = [first, second].map(async (hub, index) => {
      for (; !stopped; reads++) {
        const { version } = await answered(at(hub, 'PUT', `/secrets/ada:busy${index}`, ada, { value: `v${reads}` }));
        expect(await answered(at(hub, 'GET', `/secrets/ada:busy${index}`, ada))).toMatchObject({ version });
      }
    });
    await answered(ask('POST', '/secrets/master/rotate'), 202);
    await vi.waitFor(async () => {
      const status = await answered(ask('GET', '/secrets/master'));
      expect(status).toMatchObject({ rotating: false, remaining: 0, source: 'file' });
      expect(status.master).not.toBe(before.master);
    }, 15_000);
    stopped = true;
    await Promise.all(busy);
    expect(reads).toBeGreaterThan(0);
    expect(await readFile(path.join(folder, 'vault.key'), 'utf8')).not.toContain(oldKey);
    for (const hub of [first, second])
      expect((await answered(at(hub, 'GET', '/secrets/ada:openai', ada))).value).toBe('second value');
  });

  it('a replica that had nothing to do while the master key changed reads and takes values afterwards', async () => {
    const keyFile = () => readFile(path.join(folder, 'vault.key'), 'utf8');
    for (const hub of [first, second]) await answered(at(hub, 'PUT', '/secrets/ada:idle', ada, { value: 'before' }));
    const before = await keyFile();
    await answered(ask('POST', '/secrets/master/rotate'), 202);
    await vi.waitFor(async () => {
      const now = await keyFile();
      expect([now === before, now.includes('previous')]).toEqual([false, false]);
    }, 15_000);
    await sleep(300); // by now both have heard that the old key is gone
    for (const hub of [first, second]) {
      expect((await answered(at(hub, 'GET', '/secrets/ada:idle', ada))).value).toBe('before');
      await answered(at(hub, 'PUT', '/secrets/ada:after', ada, { value: 'x' }));
    }
  });
});
