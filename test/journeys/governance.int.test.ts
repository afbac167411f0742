/** Who gets in, as what, and who is shown out, against one hub on SQLite and against two replicas on one PostgreSQL. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FederationNode, type FederationNodeOptions, generateKey, type HubPacket } from '../../src/client/node.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

interface Problem {
  readonly code: string;
}
interface Listed {
  readonly node_id: string;
  readonly status: string;
}

describe.each(['one hub on SQLite', 'two replicas on PostgreSQL'] as const)('%s', (setting) => {
  let first: TestHub;
  /** Another replica of the same federation; the same hub where there is one only. */
  let second: TestHub;
  const nodes: FederationNode[] = [];

  beforeAll(async () => {
    const replicas = setting === 'two replicas on PostgreSQL';
    first = await startTestHub({ database: replicas ? 'postgres' : 'sqlite' });
    second = replicas ? await startTestHub({ env: { DATABASE_URL: first.databaseUrl! } }) : first;
  });

  afterAll(async () => {
    for (const node of nodes) node.close();
    if (second !== first) await second.stop();
    await first.stop();
  });

  const newNode = async (nodeId: string, hub = first, options: Partial<FederationNodeOptions> = {}) => {
    const made = new FederationNode({ url: hub.url, nodeId, key: options.key ?? (await generateKey()), ...options });
    made.on('error', () => {});
    nodes.push(made);
    return made;
  };
  const call = (hub: TestHub, method: string, path: string, body?: object, token = first.adminToken) =>
    fetch(`${hub.url}/api/federation${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, ...(body && { 'content-type': 'application/json' }) },
      ...(body && { body: JSON.stringify(body) }),
    });
  const post = async <T = Problem>(hub: TestHub, path: string, body?: object) =>
    (await (await call(hub, 'POST', `/governance${path}`, body)).json()) as T;
  /** Reads what every replica had written by now, whichever it asks. */
  const get = async <T>(hub: TestHub, path: string) => {
    const { views } = (await (await call(first, 'GET', '/status')).json()) as { views: { head: number } };
    const asksItself = path === '/status' || path.includes('min_position');
    const fresh = asksItself ? path : `${path}${path.includes('?') ? '&' : '?'}min_position=${views.head}`;
    return (await (await call(hub, 'GET', fresh)).json()) as T;
  };
  const setMode = async (mode: string) => {
    await post(first, '/mode', { mode });
    for (const hub of [first, second]) await expect.poll(() => get(hub, '/status')).toMatchObject({ mode });
  };
  /** A node that asked to join, at the moment when it waits. */
  const waitingNode = async (nodeId: string, hub = first, options: Partial<FederationNodeOptions> = {}) => {
    const node = await newNode(nodeId, hub, options);
    const waits = new Promise((resolve) => node.once('waiting', resolve));
    const connected = node.connect();
    connected.catch(() => {});
    await waits;
    return { node, connected };
  };
  const event = <T>(node: FederationNode, name: 'revoked' | 'announcement' | 'role-changed' | 'rejected') =>
    new Promise<T>((resolve) => node.once(name, resolve as never)); // the packet of that event

  const publicKeyOf = async (nodeId: string) =>
    (await get<{ node: { public_key: string } }>(first, `/nodes/${nodeId}`)).node.public_key;

  it('a node that waits is let in over its socket by an approval at another replica', async () => {
    await setMode('approval');
    const { node, connected } = await waitingNode('ada', first, { capabilities: ['gpu'] });
    await expect
      .poll(() => get<{ requests: Listed[] }>(second, '/governance/requests?status=pending'))
      .toMatchObject({ requests: [{ node_id: 'ada', status: 'pending', profile: { capabilities: ['gpu'] } }] });
    expect(await get(second, '/governance')).toMatchObject({ mode: 'approval', pending_requests: 1 });
    const began = performance.now();
    expect(await post(second, '/requests/ada/approve', { role: 'observer' })).toMatchObject({ role: 'observer' });
    await connected;
    expect(performance.now() - began).toBeLessThan(1_000);
    const { token } = node;
    const shown = async () => (await call(second, 'GET', '/nodes/ada', undefined, token)).json();
    await expect.poll(shown).toMatchObject({ node: { role: 'observer', status: 'online' } });
    expect(await post(first, '/requests/ada/approve')).toMatchObject({ code: 'conflict' });
    expect(await post(first, '/requests/nobody/approve')).toMatchObject({ code: 'not_found' });
  });

  it('a node that waits over HTTP is told so each time, and gets in once approved', async () => {
    const key = await generateKey();
    const { register } = await visitor(first, 'poller', key);
    const one = (await register(first)) as object;
    expect(one).toMatchObject({ code: 'approval_required', waiting: true, expires_at: expect.any(String) });
    const again = { ...one, instance: expect.any(String), position: expect.any(Number) };
    expect(await register(second)).toEqual(again);
    await expect.poll(() => post(second, '/requests/poller/approve')).toMatchObject({ node_id: 'poller' });
    expect(await register(second)).toMatchObject({ token: expect.any(String), node: { node_id: 'poller' } });
  });

  it('a second key cannot ask under an id that waits', async () => {
    await waitingNode('squatted', first);
    const other = await newNode('squatted', second);
    await expect(other.connect()).rejects.toMatchObject({ code: 'node_id_taken' });
  });

  it('a rejected node is told why, and not heard again', async () => {
    const key = await generateKey();
    const { node, connected } = await waitingNode('bob', first, { key });
    const told = event<HubPacket<'federation:rejected'>>(node, 'rejected');
    await post(second, '/requests/bob/reject', { reason: 'unknown owner' });
    expect(await told).toEqual({ code: 'join_rejected', reason: 'unknown owner' });
    await expect(connected).rejects.toMatchObject({ code: 'join_rejected' });
    await expect((await newNode('bob', second, { key })).connect()).rejects.toMatchObject({ code: 'join_rejected' });
  });

  it('a node that waits gets in by itself when it asks again after the mode changed', async () => {
    const key = await generateKey();
    await waitingNode('patient', first, { key });
    await setMode('open');
    await (await newNode('patient', second, { key })).connect();
    await expect
      .poll(() => get<{ requests: object[] }>(first, '/governance/requests?status=approved'))
      .toMatchObject({ requests: expect.arrayContaining([expect.objectContaining({ node_id: 'patient' })]) });
    await setMode('approval');
  });

  it('a newer connection of a node that waits takes the place of the older', async () => {
    const key = await generateKey();
    const older = await waitingNode('two', first, { key });
    const revoked = event(older.node, 'revoked');
    const newer = await waitingNode('two', first, { key });
    expect(await revoked).toMatchObject({ reason: 'superseded' });
    await post(second, '/requests/two/approve');
    await newer.connected;
  });

  it('an invite lets a node in whatever the mode, with the role that it gives', async () => {
    for (const mode of ['invite', 'approval', 'open']) {
      await setMode(mode);
      const { invite, invite_id } = await post<{ invite: string; invite_id: string }>(second, '/invites', {
        role: 'observer',
        label: 'for tests',
      });
      const guest = await newNode(`guest-${mode}`, first, { invite });
      await guest.connect();
      await expect.poll(() => get(first, `/nodes/guest-${mode}`)).toMatchObject({ node: { role: 'observer' } });
      const { invites } = await get<{ invites: { invite_id: string }[] }>(first, '/governance/invites');
      expect(invites.find((shown) => shown.invite_id === invite_id)).toMatchObject({ label: 'for tests' });
      expect(JSON.stringify(invites)).not.toMatch(/hash|fhi_/);
      await expect((await newNode(`late-${mode}`, second, { invite })).connect()).rejects.toMatchObject({
        code: 'invite_invalid',
      });
    }
  });

  it('an invite that is unknown, revoked, lapsed or for another gives the same answer', async () => {
    await setMode('invite');
    const key = await generateKey();
    const make = async (wish: object) => (await post<{ invite: string; invite_id: string }>(first, '/invites', wish))!;
    const revoked = await make({});
    await call(second, 'DELETE', `/governance/invites/${revoked.invite_id}`);
    const lapsed = await make({ expires_in_hours: 0.001 });
    await new Promise((resolve) => setTimeout(resolve, 3_700));
    const invites = [
      revoked.invite,
      lapsed.invite,
      (await make({ node_id: 'someone-else' })).invite,
      (await make({ public_key: (await generateKey()).publicKey })).invite,
      `${(await make({})).invite.slice(0, -4)}AAAA`,
      `fhi_aaaaaaaa_${'A'.repeat(43)}`,
    ];
    const answers = [];
    for (const invite of invites) {
      const { register } = await visitor(second, 'thief', key, invite);
      const { instance, ...answer } = (await register(second)) as Record<string, unknown>;
      answers.push(answer);
    }
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect(answers[0]).toMatchObject({ code: 'invite_invalid' });
    const bound = await make({ node_id: 'bound', public_key: key.publicKey });
    await expect((await newNode('bound', second, { invite: bound.invite, key })).connect()).resolves.toBeDefined();
    for (const hub of [first, second]) for (const invite of invites) expect(hub.stderr()).not.toContain(invite);
  });

  it('of two nodes that race for the last use of an invite, one gets in', async () => {
    await setMode('invite');
    for (let round = 0; round < 20; round++) {
      const uses = 1 + (round % 3);
      const { invite, invite_id } = await post<{ invite: string; invite_id: string }>(first, '/invites', { uses });
      const racers = Array.from({ length: uses + 2 }, async (_, at) => {
        const hub = at % 2 ? first : second;
        const { register } = await visitor(hub, `racer-${round}-${at}`, await generateKey(), invite);
        return (await register(hub)) as { token?: string; code?: string };
      });
      const answers = await Promise.all(racers);
      expect(answers.filter(({ token }) => token)).toHaveLength(uses);
      expect(answers.filter(({ code }) => code === 'invite_invalid')).toHaveLength(2);
      await expect
        .poll(async () => {
          const page = await get<{ invites: { invite_id: string }[] }>(second, '/governance/invites?limit=500');
          return page.invites.find((shown) => shown.invite_id === invite_id);
        })
        .toMatchObject({ uses_left: 0, used_by: Array.from({ length: uses }, () => ({ status: 'used' })) });
    }
  });

  it('a banned node is cut on every replica within a second, and neither its id nor its key comes back', async () => {
    await setMode('open');
    const key = await generateKey();
    const banned = await newNode('mallory', second, { key });
    await banned.connect();
    const { token } = banned;
    const revoked = event(banned, 'revoked');
    const began = performance.now();
    await post(first, '/bans/mallory', { reason: 'spam' });
    expect(await revoked).toMatchObject({ reason: 'banned', detail: 'spam' });
    expect(performance.now() - began).toBeLessThan(1_000);
    for (const hub of [first, second]) {
      await expect
        .poll(async () => (await call(hub, 'GET', '/nodes', undefined, token)).json())
        .toMatchObject({ code: 'banned' });
    }
    await expect((await newNode('mallory', second, { key })).connect()).rejects.toMatchObject({ code: 'banned' });
    await expect((await newNode('other-name', first, { key })).connect()).rejects.toMatchObject({ code: 'banned' });
    await expect((await newNode('mallory', first)).connect()).rejects.toMatchObject({ code: 'node_id_taken' });
    expect(await get(second, '/governance/bans')).toMatchObject({ bans: [{ node_id: 'mallory', reason: 'spam' }] });
    expect((await call(second, 'DELETE', '/governance/bans/mallory')).status).toBe(200);
    await expect
      .poll(() =>
        newNode('mallory', first, { key })
          .then((node) => node.connect())
          .then(
            () => 'in',
            () => 'out',
          ),
      )
      .toBe('in');
  });

  it('a node that waits and is banned is sent away', async () => {
    await setMode('approval');
    const { node, connected } = await waitingNode('nuisance', second);
    const told = event(node, 'rejected');
    await post(first, '/bans/nuisance', { reason: 'asks too much' });
    expect(await told).toMatchObject({ code: expect.stringMatching(/banned|join_rejected/) });
    await expect(connected).rejects.toBeDefined();
    await expect
      .poll(() => get<{ requests: object[] }>(first, '/governance/requests?status=rejected'))
      .toMatchObject({ requests: expect.arrayContaining([expect.objectContaining({ node_id: 'nuisance' })]) });
    await setMode('open');
  });

  it('a role counts at once on every replica, and members hear of it', async () => {
    const deputy = await newNode('deputy', first);
    await deputy.connect();
    const heard = event(deputy, 'role-changed');
    const overview = () => call(second, 'POST', '/governance/announce', { message: 'hello' }, deputy.token!);
    expect((await overview()).status).toBe(403);
    expect(await post(second, '/roles/deputy', { role: 'admin' })).toMatchObject({ role: 'admin', previous: 'member' });
    expect(await heard).toMatchObject({ node_id: 'deputy', role: 'admin', previous: 'member' });
    await expect.poll(async () => (await overview()).status, { timeout: 1_000 }).toBe(201);
    await post(first, '/roles/deputy', { role: 'observer' });
    await expect.poll(async () => (await overview()).status, { timeout: 1_000 }).toBe(403);
    expect(await post(first, '/roles/nobody', { role: 'admin' })).toMatchObject({ code: 'not_found' });
  });

  it('who may govern makes no administrator, and decides on none', async () => {
    await setMode('open');
    const [chief, plain] = [await newNode('chief'), await newNode('plain')];
    await chief.connect();
    await plain.connect();
    await post(first, '/roles/chief', { role: 'admin' });
    const made = await call(first, 'POST', '/auth/tokens', { label: 'governor', scopes: ['govern'] });
    const { token } = (await made.json()) as { token: string };
    const govern = async (method: string, path: string, body?: object) =>
      ((await (await call(second, method, path, body, token)).json()) as Partial<Problem>).code;
    await expect.poll(() => govern('GET', '/governance/bans')).toBeUndefined();
    const why = { reason: 'no reason' };
    const publicKey = await publicKeyOf('chief');
    for (const [method, path, body] of [
      ['POST', '/governance/roles/plain', { role: 'admin' }],
      ['POST', '/governance/invites', { role: 'admin' }],
      ['POST', '/governance/requests/nobody/approve', { role: 'admin' }],
      ['POST', '/governance/roles/chief', { role: 'member' }],
      ['POST', '/governance/bans/chief', why],
      ['POST', '/access/block/chief', why],
      ['POST', `/access/block/${publicKey}`, why],
      ['POST', '/auth/revoke/chief', { what: 'key', ...why }],
      ['DELETE', '/nodes/chief'],
    ] as const)
      expect(await govern(method, path, body), path).toBe('forbidden');
    expect(await govern('POST', '/governance/roles/plain', { role: 'observer' })).toBeUndefined();
    expect(await govern('POST', '/governance/bans/plain', why)).toBeUndefined();
    await post(first, '/roles/chief', { role: 'member' });
  });

  it('an administrator who is blocked or has no key counts as none, and nobody makes one of it', async () => {
    const [solo, keyless] = [await newNode('solo'), await newNode('keyless')];
    await solo.connect();
    await keyless.connect();
    await post(first, '/roles/solo', { role: 'admin' });
    const ask = async (hub: TestHub, method: string, path: string, body?: object, token?: string) =>
      (await (await call(hub, method, path, body, token)).json()) as Partial<Problem>;
    const why = { reason: 'for now' };
    await expect.poll(() => get(first, '/nodes/solo')).toHaveProperty('node.public_key');
    const publicKey = await publicKeyOf('solo');
    // Besides `solo` there is one token: while `solo` counts as none, that is the last.
    await expect.poll(() => ask(second, 'GET', '/auth/tokens', undefined, solo.token!)).not.toHaveProperty('code');
    for (const subject of ['solo', publicKey]) {
      expect(await ask(first, 'POST', `/access/block/${subject}`, why)).not.toHaveProperty('code');
      expect(await ask(second, 'POST', '/governance/roles/solo', { role: 'admin' })).toMatchObject({
        code: 'conflict',
      });
      const own = first.adminToken.split('_')[1];
      expect(await ask(first, 'DELETE', `/auth/tokens/${own}`)).toMatchObject({ code: 'last_admin' });
      expect(await ask(first, 'POST', `/access/unblock/${subject}`)).not.toHaveProperty('code');
    }
    await ask(first, 'POST', '/auth/revoke/keyless', { what: 'key', ...why });
    expect(await ask(second, 'POST', '/governance/roles/keyless', { role: 'admin' })).toMatchObject({
      code: 'conflict',
    });
    // Counted in again, so the token could go now; and the revoked key of the one that is left could not.
    const other = (await ask(first, 'POST', '/auth/tokens', { label: 'other', scopes: ['admin'] })) as {
      token: string;
    };
    const [mine, theirs] = [first.adminToken.split('_')[1], other.token.split('_')[1]];
    expect(await ask(first, 'DELETE', `/auth/tokens/${theirs}`)).not.toHaveProperty('code');
    expect(await ask(first, 'POST', '/auth/revoke/solo', { what: 'key', ...why })).not.toHaveProperty('code');
    expect(await ask(first, 'DELETE', `/auth/tokens/${mine}`)).toMatchObject({ code: 'last_admin' });
    await ask(first, 'DELETE', '/nodes/solo');
  });

  it('a command that is sent again does not take what came after it', async () => {
    const again = async (method: string, path: string, body: object | undefined, key: string) =>
      fetch(`${first.url}/api/federation${path}`, {
        method,
        headers: {
          authorization: `Bearer ${first.adminToken}`,
          'idempotency-key': key,
          ...(body && { 'content-type': 'application/json' }),
        },
        ...(body && { body: JSON.stringify(body) }),
      }).then((answer) => answer.json() as Promise<object>);
    await setMode('open');
    const key = await generateKey();
    await (await newNode('phoenix', first, { key })).connect();
    const removed = await again('DELETE', '/nodes/phoenix', undefined, 'remove-1');
    await expect.poll(async () => (await call(first, 'GET', '/nodes/phoenix')).status).toBe(404);
    await (await newNode('phoenix', first, { key })).connect();
    expect(await again('DELETE', '/nodes/phoenix', undefined, 'remove-1')).toEqual(removed);
    await expect((await newNode('thief', first, { key })).connect()).rejects.toMatchObject({ code: 'key_taken' });
    const taken = { what: 'key', reason: 'stolen' };
    const revoked = await again('POST', '/auth/revoke/phoenix', taken, 'revoke-1');
    await call(first, 'DELETE', '/nodes/phoenix');
    const fresh = await generateKey();
    await expect
      .poll(() => newNode('phoenix', first, { key: fresh }).then((node) => node.connect().then(() => 'in', String)))
      .toBe('in');
    expect(await again('POST', '/auth/revoke/phoenix', taken, 'revoke-1')).toEqual(revoked);
    await (await newNode('phoenix', first, { key: fresh })).connect();
  });

  it('one address has twenty requests waiting at most', async () => {
    await setMode('approval');
    const answers = [];
    for (let at = 0; at < 21; at++) {
      const { register } = await visitor(first, `crowd-${at}`, await generateKey());
      answers.push(((await register(first)) as Problem).code);
    }
    expect(answers).toContain('approval_required');
    expect(answers.at(-1)).toBe('overloaded');
    const { requests } = await get<{ requests: Listed[] }>(first, '/governance/requests?status=pending&limit=500');
    expect(requests.length).toBeLessThanOrEqual(20);
    for (const { node_id } of requests) await post(first, `/requests/${node_id}/reject`, { reason: 'a crowd' });
    await setMode('open');
  });

  it('an announcement reaches every member, also one that comes back later', async () => {
    const key = await generateKey();
    const listener = await newNode('listener', second);
    await listener.connect();
    const away = await newNode('away', first, { key });
    await away.connect();
    const { position } = away;
    away.close();
    const heard = event(listener, 'announcement');
    const said = await post<{ announcement_id: string; position: number }>(first, '/announce', {
      message: 'maintenance at noon',
      level: 'warning',
    });
    expect(await heard).toMatchObject({ message: 'maintenance at noon', level: 'warning', position: said.position });
    const back = await newNode('away', second, { key, position: position! });
    const missed = event(back, 'announcement');
    await back.connect();
    expect(await missed).toMatchObject({ announcement_id: said.announcement_id });
    const page = await get<{ announcements: object[]; next_cursor: string }>(
      second,
      `/governance/announcements?limit=1&min_position=${said.position}`,
    );
    expect(page.announcements).toMatchObject([{ message: 'maintenance at noon' }]);
    const older = await get<{ announcements: { position: number }[] }>(
      second,
      `/governance/announcements?limit=1&cursor=${page.next_cursor}`,
    );
    expect(older.announcements[0]!.position).toBeLessThan(said.position);
  });

  it('a removed node does not come back by the approval that let it in', async () => {
    await setMode('approval');
    const key = await generateKey();
    const { connected, node } = await waitingNode('brief', first, { key });
    await post(second, '/requests/brief/approve');
    await connected;
    await call(second, 'DELETE', '/nodes/brief');
    await new Promise((resolve) => (node.position === undefined ? resolve(0) : setTimeout(resolve, 300)));
    await waitingNode('brief', second, { key });
    await setMode('open');
  });
});

/** A visitor that registers over HTTP, with a fresh proof each time. */
async function visitor(_hub: TestHub, nodeId: string, key: Awaited<ReturnType<typeof generateKey>>, invite?: string) {
  const { proofText } = await import('../../src/protocol.ts');
  const register = async (hub: TestHub): Promise<unknown> => {
    const ask = async (path: string, body: object) =>
      (
        await fetch(`${hub.url}/api/federation${path}`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(body),
        })
      ).json() as Promise<Record<string, string>>;
    const purpose = 'register' as const;
    const challenge = await ask('/auth/challenge', { node_id: nodeId, purpose });
    const { publicKey } = key;
    const proof = { purpose, federationId: challenge.federation_id!, nodeId, publicKey, nonce: challenge.nonce! };
    const signature = await key.sign(Buffer.from(proofText({ ...proof, profile: {} })));
    return ask('/nodes/register', {
      protocol_version: 1,
      node_id: nodeId,
      public_key: publicKey,
      nonce: challenge.nonce,
      signature: Buffer.from(signature).toString('base64url'),
      ...(invite && { invite }),
    });
  };
  return { register };
}
