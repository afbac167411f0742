/** Keys and tokens as nodes and operators live with them, against one hub on SQLite and two replicas on one PostgreSQL. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { decodeProtectedHeader } from 'jose';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  FederationNode,
  type FederationNodeOptions,
  generateKey,
  type NodeKey,
  openKeyFile,
  signRequest,
} from '../../src/client/node.ts';
import { rotationText } from '../../src/protocol.ts';
import { smallOrderKeys } from '../identity/curve.ts';
import { call, defects, httpDoor, joinByHttp, joinBySocket, post, prove } from '../security/visitor.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

const program = process.env.FEDHUB_PROGRAM ?? join(import.meta.dirname, '../../dist/cli/fedhub.js');

describe.each(['one hub on SQLite', 'two replicas on PostgreSQL'] as const)('%s', (setting) => {
  let first: TestHub;
  /** Another replica of the same federation; the same hub where there is one only. */
  let second: TestHub;
  let folder: string;
  let names = 0;
  const nodes: FederationNode[] = [];
  const aName = () => `node-${++names}`;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'fedhub-identity-'));
    const replicas = setting === 'two replicas on PostgreSQL';
    first = await startTestHub({ database: replicas ? 'postgres' : 'sqlite' });
    second = replicas ? await startTestHub({ env: { DATABASE_URL: first.databaseUrl! } }) : first;
  });
  afterAll(async () => {
    for (const node of nodes) node.close();
    for (const hub of new Set([first, second])) expect(defects(hub?.stderr() ?? '')).toEqual([]);
    if (second !== first) await second?.stop();
    await first?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const newNode = (hub: TestHub, nodeId: string, options: Partial<FederationNodeOptions> = {}) => {
    const keyFile = join(folder, `${nodeId}.json`);
    const made = new FederationNode({ url: hub.url, nodeId, ...(options.key ? {} : { keyFile }), ...options });
    made.on('error', () => {});
    nodes.push(made);
    return made;
  };
  /** Who a token is at a replica: `somebody`, or the code of the refusal. */
  const whoAmI = async (hub: TestHub, token: string) => {
    const { status, body } = await call(hub, 'GET', '/nodes?limit=1', { token });
    return status === 200 ? 'somebody' : body.code;
  };
  const admin = (hub: TestHub, method: string, path: string, body?: unknown, headers = {}) =>
    call(hub, method, path, { token: first.adminToken, body, headers });

  /** What a node sends to change its key; any part may be another. */
  async function rotation(
    nodeId: string,
    key: NodeKey,
    next: NodeKey,
    change: { signer?: NodeKey; nonce?: string } = {},
  ) {
    const nonce = change.nonce ?? String((await httpDoor(first).challenge(nodeId, 'rotate')).nonce);
    const parts = {
      federationId: first.federationId,
      nodeId,
      publicKey: key.publicKey,
      newPublicKey: next.publicKey,
      nonce,
    };
    const text = Buffer.from(rotationText(parts));
    const by = async (signer: NodeKey) => Buffer.from(await signer.sign(text)).toString('base64url');
    return {
      public_key: next.publicKey,
      nonce,
      signature: await by(change.signer ?? key),
      new_signature: await by(next),
    };
  }

  it('a token is good at every replica in the moment it was issued', async () => {
    for (let round = 0; round < 10; round++) {
      const { token } = await joinByHttp(first, aName());
      expect(await whoAmI(second, token)).toBe('somebody');
    }
    if (second === first) return;
    // The other replica stands still, and then cannot read the log for a moment: it has the request before it knows the node.
    const client = new pg.Client({ connectionString: first.databaseUrl! });
    await client.connect();
    process.kill(second.pid, 'SIGSTOP');
    const { token, key } = await joinByHttp(first, aName());
    await client.query('BEGIN; LOCK TABLE federation_log IN ACCESS EXCLUSIVE MODE');
    process.kill(second.pid, 'SIGCONT');
    const signing = { method: 'GET', url: `${second.url}/api/federation/nodes?limit=1` };
    const headers = await signRequest(signing, { key, federationId: first.federationId });
    const asked = [whoAmI(second, token), fetch(signing.url, { headers }).then(({ status }) => status)];
    await sleep(150);
    await client.query('COMMIT');
    expect(await Promise.all(asked)).toEqual(['somebody', 200]);
    await client.end();
  });

  describe('a node that changes its key', () => {
    it('goes on in its session; the old key and all other sessions are worth nothing', async () => {
      const { nodeId, key, token, socket } = await joinBySocket(first, aName());
      const elsewhere = await joinByHttp(second, nodeId, {}, key);
      const next = await generateKey();
      const rotated = await socket.ask('federation:rotate', await rotation(nodeId, key, next));
      expect(rotated).toMatchObject({ ok: true, node: { node_id: nodeId, public_key: next.publicKey } });
      expect((await socket.ask('federation:heartbeat', { node_id: nodeId })).ok).toBe(true);
      for (const hub of [first, second]) {
        await expect.poll(() => whoAmI(hub, token)).toBe('session_superseded');
        expect(await whoAmI(hub, elsewhere.token)).toBe('session_superseded');
        expect(await whoAmI(hub, String(rotated.token))).toBe('somebody');
      }
      await sleep(700); // longer than the hub takes to cut a socket
      expect((await socket.ask('federation:heartbeat', { node_id: nodeId })).ok).toBe(true);
      for (const name of [nodeId, aName()])
        await expect(joinByHttp(second, name, {}, key)).rejects.toThrow('key_revoked');
      expect((await joinByHttp(second, nodeId, {}, next)).token).toBeTruthy();
      socket.close();
    });

    it('does so by HTTP as well, once for each nonce', async () => {
      const { nodeId, key, token } = await joinByHttp(first, aName());
      const next = await generateKey();
      const packet = await rotation(nodeId, key, next);
      const { status, body } = await post(second, '/auth/rotate', packet, token);
      expect([status, body.node]).toEqual([200, { node_id: nodeId, public_key: next.publicKey, role: 'member' }]);
      expect(await whoAmI(first, String(body.token))).toBe('somebody');
      expect((await post(first, '/auth/rotate', packet, String(body.token))).body.code).not.toBeUndefined();
      await expect.poll(() => whoAmI(first, token)).toBe('session_superseded');
    });

    it('is one of many that ask with the same packet', async () => {
      const { nodeId, key, token } = await joinByHttp(first, aName());
      const packet = await rotation(nodeId, key, await generateKey());
      const asked = Array.from({ length: 8 }, (_, n) => post(n % 2 ? first : second, '/auth/rotate', packet, token));
      const answers = await Promise.all(asked);
      const good = answers.filter(({ status }) => status === 200);
      expect(good, JSON.stringify(answers.map(({ body }) => body.code))).toHaveLength(1);
      for (const { body, status } of answers)
        if (status !== 200)
          expect([
            'nonce_used',
            'conflict',
            'session_superseded',
            'signature_invalid',
            'key_taken',
            'key_revoked',
            'unauthenticated',
          ]).toContain(body.code);
      expect(await whoAmI(second, String(good[0]!.body.token))).toBe('somebody');
    });

    it('is refused without both signatures, a nonce of its own, and a sound key that is nobody’s', async () => {
      const { nodeId, key, token } = await joinByHttp(first, aName());
      const other = await joinByHttp(first, aName());
      const [next, stranger] = [await generateKey(), await generateKey()];
      const codeOf = async (packet: object) => (await post(second, '/auth/rotate', packet, token)).body.code ?? 'ok';
      const good = await rotation(nodeId, key, next);
      expect(await codeOf(await rotation(nodeId, key, next, { signer: stranger }))).toBe('signature_invalid');
      expect(await codeOf(await rotation(nodeId, key, next, { signer: next }))).toBe('signature_invalid');
      expect(await codeOf({ ...good, new_signature: good.signature })).toBe('signature_invalid');
      expect(await codeOf({ ...good, public_key: stranger.publicKey })).toBe('signature_invalid');
      const nonceOf = async (name: string, purpose: 'register' | 'rotate') =>
        String((await httpDoor(first).challenge(name, purpose)).nonce);
      for (const nonce of [await nonceOf(nodeId, 'register'), await nonceOf(other.nodeId, 'rotate'), 'A'.repeat(72)])
        expect(await codeOf(await rotation(nodeId, key, next, { nonce }))).toBe('nonce_invalid');
      for (const weak of smallOrderKeys())
        expect(await codeOf({ ...good, public_key: Buffer.from(weak).toString('base64url') })).toBe('key_invalid');
      expect(await codeOf(await rotation(nodeId, key, other.key))).toBe('key_taken');
      expect(await codeOf(await rotation(nodeId, key, key))).toBe('key_taken');
      expect((await post(first, '/auth/rotate', good)).body.code).toBe('unauthenticated');
      expect((await post(first, '/auth/rotate', good, other.token)).body.code).toBe('nonce_invalid');
      expect((await post(first, '/auth/rotate', good, first.adminToken)).body.code).toBe('forbidden');
      expect(await codeOf(good)).toBe('ok'); // nothing of all that used up the nonce
    });

    it('by the SDK keeps the new key in its file, and comes back with it', async () => {
      const nodeId = aName();
      const node = newNode(first, nodeId);
      await node.connect();
      const file = join(folder, `${nodeId}.json`);
      const old = await openKeyFile(file);
      await node.rotateKey();
      const key = await openKeyFile(file);
      expect(key.publicKey).not.toBe(old.publicKey);
      expect((await readdir(folder)).filter((name) => name.startsWith(nodeId))).toEqual([`${nodeId}.json`]);
      expect(await whoAmI(second, node.token!)).toBe('somebody');
      await node.rotateKey();
      node.close();
      const again = newNode(second, nodeId);
      await again.connect();
      expect((await openKeyFile(file)).publicKey).not.toBe(key.publicKey);
    });

    it('by the SDK finds out that the hub took the new key when nobody told it', async () => {
      const nodeId = aName();
      const file = join(folder, `${nodeId}.json`);
      const { key, token } = await joinByHttp(first, nodeId, {}, await openKeyFile(file));
      const next = await openKeyFile(`${file}.next`); // as a process leaves it that died before it heard the answer
      expect((await post(first, '/auth/rotate', await rotation(nodeId, key, next), token)).status).toBe(200);
      const node = newNode(second, nodeId);
      await node.connect({ timeoutMs: 15_000 });
      expect((await openKeyFile(file)).publicKey).toBe(next.publicKey);
    });
  });

  describe('what was given is taken back', () => {
    it('from all sessions of a node, at every replica; it may come back', async () => {
      const { nodeId, key, token, socket } = await joinBySocket(second, aName());
      const older = await joinByHttp(first, nodeId, {}, key);
      const what = { what: 'sessions', reason: 'lost a laptop' };
      expect((await admin(first, 'POST', `/auth/revoke/${nodeId}`, what)).status).toBe(200);
      for (const hub of [first, second])
        for (const old of [token, older.token]) await expect.poll(() => whoAmI(hub, old)).toBe('session_superseded');
      await expect.poll(() => socket.ended, { timeout: 2_000 }).toBe(true);
      const { token: again } = await joinByHttp(second, nodeId, {}, key);
      for (const hub of [first, second]) expect(await whoAmI(hub, again)).toBe('somebody');
      expect((await post(second, '/auth/revoke/nobody', what, first.adminToken)).body.code).toBe('not_found');
    });

    it('from its key for ever: the node must be removed and join with another', async () => {
      const { nodeId, key, token } = await joinByHttp(first, aName());
      const what = { what: 'key', reason: 'stolen' };
      expect((await post(second, `/auth/revoke/${nodeId}`, what, token)).status).toBe(200); // by the node itself
      for (const hub of [first, second]) {
        await expect.poll(() => whoAmI(hub, token)).toBe('session_superseded');
        await expect(joinByHttp(hub, nodeId, {}, key)).rejects.toThrow('key_revoked');
        await expect(joinByHttp(hub, aName(), {}, key)).rejects.toThrow('key_revoked');
        const session = await prove(hub, httpDoor(hub), { nodeId, key, purpose: 'session' });
        expect((await httpDoor(hub).register(session)).error?.code).toBe('key_revoked');
      }
      await expect(joinByHttp(first, nodeId)).rejects.toThrow('node_id_taken');
      expect((await admin(first, 'DELETE', `/nodes/${nodeId}`)).status).toBe(200);
      await expect(joinByHttp(second, nodeId, {}, key)).rejects.toThrow('key_revoked');
      await expect.poll(() => joinByHttp(second, nodeId).then(() => 'in', String)).toBe('in');
      for (const hub of [first, second]) expect(await whoAmI(hub, token)).toBe('session_superseded');
    });

    it('by nobody but admins and the node itself', async () => {
      const [ada, bob] = [await joinByHttp(first, aName()), await joinByHttp(first, aName())];
      const what = { what: 'sessions', reason: 'x' };
      expect((await post(first, `/auth/revoke/${ada.nodeId}`, what, bob.token)).body.code).toBe('forbidden');
      expect((await call(first, 'DELETE', `/auth/data-keys/node:${ada.nodeId}`, { token: bob.token })).body.code).toBe(
        'forbidden',
      );
      expect((await call(first, 'DELETE', `/auth/data-keys/${bob.nodeId}`, { token: bob.token })).body.code).toBe(
        'invalid_input',
      );
      const own = await call(first, 'DELETE', `/auth/data-keys/node:${bob.nodeId}`, { token: bob.token });
      expect([own.status, own.body.keys]).toEqual([200, 0]);
      expect((await post(first, '/auth/keys/rotate', undefined, bob.token)).body.code).toBe('forbidden');
    });

    it('a name that another node has now lends nothing to tokens of the one before', async () => {
      const { nodeId, token } = await joinByHttp(first, aName());
      expect((await admin(first, 'DELETE', `/nodes/${nodeId}`)).status).toBe(200);
      await expect.poll(() => joinByHttp(second, nodeId).then(() => 'in', String)).toBe('in');
      for (const hub of [first, second]) await expect.poll(() => whoAmI(hub, token)).toBe('session_superseded');
    });
  });

  describe('tokens of operators', () => {
    const wanted = (scopes: string[], more = {}) => ({ label: 'test', scopes, ...more });
    const create = async (scopes: string[], more = {}) =>
      (await admin(first, 'POST', '/auth/tokens', wanted(scopes, more))).body as unknown as {
        token: string;
        prefix: string;
        position: number;
      };

    it('do what their scopes let them, at every replica at once', async () => {
      const { token, prefix } = await create(['govern']);
      expect(await whoAmI(second, token)).toBe('somebody');
      expect((await call(second, 'POST', '/governance/mode', { token, body: { mode: 'open' } })).status).toBe(200);
      for (const [method, path] of [
        ['GET', '/auth/tokens'],
        ['DELETE', `/auth/tokens/${prefix}`],
        ['POST', '/auth/keys/rotate'],
      ] as const)
        expect((await call(second, method, path, { token })).body.code, path).toBe('forbidden');
      expect((await post(second, '/auth/tokens', wanted(['read']), token)).body.code).toBe('forbidden');
    });

    it('are shown once, listed without what makes them work, and revoked everywhere at once', async () => {
      const headers = { 'idempotency-key': aName() };
      const made = await admin(first, 'POST', '/auth/tokens', wanted(['read']), headers);
      expect(made.status).toBe(201);
      expect((await admin(second, 'POST', '/auth/tokens', wanted(['read']), headers)).body.code).toBe('already_done');
      const { token, prefix, position } = made.body as unknown as Awaited<ReturnType<typeof create>>;
      expect(await whoAmI(second, token)).toBe('somebody');
      const listed = async () => {
        const { body } = await admin(second, 'GET', `/auth/tokens?limit=500&min_position=${position}`);
        expect(JSON.stringify(body)).not.toContain(token.slice(13));
        return (body.tokens as { prefix: string }[]).find((row) => row.prefix === prefix);
      };
      await expect
        .poll(listed)
        .toMatchObject({ label: 'test', scopes: ['read'], revoked_at: null, last_address: '127.0.0.1' });
      expect((await admin(first, 'DELETE', `/auth/tokens/${prefix}`)).status).toBe(200);
      for (const hub of [first, second]) await expect.poll(() => whoAmI(hub, token)).toBe('unauthenticated');
      expect((await admin(first, 'DELETE', '/auth/tokens/aaaaaaaa')).body.code).toBe('not_found');
    });

    it('end when their time is over', async () => {
      const { token } = await create(['read'], { expires_in_days: 2 / 86_400 });
      expect(await whoAmI(first, token)).toBe('somebody');
      await sleep(2_100);
      for (const hub of [first, second]) expect(await whoAmI(hub, token)).toBe('token_expired');
    });

    it('are refused when they ask for what there is not', async () => {
      for (const bad of [
        { label: 'x', scopes: [] },
        { label: 'x', scopes: ['root'] },
        { label: 'x', scopes: ['read', 'read'] },
        { label: '', scopes: ['read'] },
        { label: 'x', scopes: ['read'], expires_in_days: 0 },
        { label: 'x', scopes: ['read'], prefix: 'aaaaaaaa' },
      ])
        expect((await admin(first, 'POST', '/auth/tokens', bad)).body.code, JSON.stringify(bad)).toBe('invalid_input');
    });

    it('leave at least one that administers', async () => {
      const own = first.adminToken.slice(4, 12);
      await create(['admin'], { expires_in_days: 1 }); // one that lapses does not count
      expect((await admin(second, 'DELETE', `/auth/tokens/${own}`)).body.code).toBe('last_admin');
      const other = await create(['admin']);
      const revoked = await Promise.all([
        call(first, 'DELETE', `/auth/tokens/${other.prefix}`, { token: other.token }),
        call(second, 'DELETE', `/auth/tokens/${own}`, { token: other.token }),
      ]);
      const codes = revoked.map(({ status, body }) => (status === 200 ? 'ok' : body.code));
      // Whoever is asked first ends it, and the other is the last, or was revoked before it could ask.
      expect(codes.filter((code) => code === 'ok')).toHaveLength(1);
      if (codes[0] === 'ok') return;
      // The first token is gone: the other one takes its place for what follows.
      Object.assign(first, { adminToken: other.token });
    });

    it('and keys are in the hands of the command line', async () => {
      const fedhub = async (...args: string[]) => {
        const child = spawn(
          process.execPath,
          [program, '--url', second.url, '--token', first.adminToken, '--json', ...args],
          {
            env: { PATH: process.env.PATH },
          },
        );
        let [out, err] = ['', ''];
        child.stdout.on('data', (text) => (out += text));
        child.stderr.on('data', (text) => (err += text));
        const [code] = await once(child, 'close');
        return { code, out, err };
      };
      const made = await fedhub(
        'token',
        'create',
        '--scope',
        'read',
        'audit',
        '--label',
        'by hand',
        '--expires-days',
        '3',
      );
      expect(made.code, made.err).toBe(0);
      const { token, prefix } = JSON.parse(made.out) as { token: string; prefix: string };
      expect(await whoAmI(first, token)).toBe('somebody');
      await expect.poll(async () => (await fedhub('token', 'list')).out).toContain(prefix);
      expect((await fedhub('token', 'revoke', token)).code).toBe(0);
      await expect.poll(() => whoAmI(first, token)).toBe('unauthenticated');
      expect(JSON.parse((await fedhub('erase', 'node:nobody')).out)).toMatchObject({ subject: 'node:nobody', keys: 0 });
      expect((await fedhub('token', 'create', '--scope', 'root', '--label', 'x')).code).toBe(1);
      expect((await fedhub('token', 'create', '--scope', 'read')).code).toBe(2);
    });
  });

  it('the hub changes its own key under load, and refuses not one token for it', { timeout: 90_000 }, async () => {
    const kidOf = (token: string) => decodeProtectedHeader(token).kid;
    const { token, nodeId, key } = await joinByHttp(first, aName());
    const old = kidOf(token);
    const refused: unknown[] = [];
    let tokens = [token];
    let going = true;
    const use = async (hub: TestHub) => {
      while (going) {
        const { status, body } = await call(hub, 'GET', '/nodes?limit=1', { token: tokens.at(-1)! });
        if (status !== 200) refused.push(body.code);
        await sleep(15);
      }
    };
    const renew = async () => {
      while (going) {
        const { status, body } = await call(second, 'POST', '/auth/renew', { token: tokens.at(-1)! });
        if (status === 200) tokens = [...tokens, String(body.token)];
        else refused.push(body.code);
        await sleep(100);
      }
    };
    const load = [use(first), use(second), use(first), use(second), renew()];
    const rotated = await admin(first, 'POST', '/auth/keys/rotate');
    expect(rotated.status).toBe(200);
    const { kid } = rotated.body as unknown as { kid: string };
    for (const hub of [first, second]) {
      await expect
        .poll(async () => ((await call(hub, 'GET', '/auth/jwks')).body.keys as { kid: string }[]).map((one) => one.kid))
        .toEqual(expect.arrayContaining([old, kid]));
    }
    await expect.poll(() => kidOf(tokens.at(-1)!), { timeout: 45_000, interval: 250 }).toBe(kid);
    await sleep(1_000);
    going = false;
    await Promise.all(load);
    expect(refused).toEqual([]);
    for (const hub of [first, second]) expect(await whoAmI(hub, token)).toBe('somebody'); // signed by the old key
    expect((await joinByHttp(first, nodeId, {}, key)).token).toBeTruthy();
  });
});
