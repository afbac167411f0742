/** Proofs that were used, altered or meant for others; tokens that are worth nothing; sessions that others took over. */
import { createPublicKey, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { exportJWK, generateKeyPair, importJWK, type JWK, SignJWT } from 'jose';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { generateKey } from '../../src/client/key-file.ts';
import { keyThumbprint } from '../../src/ed25519.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { RawSocket } from './raw-socket.ts';
import {
  call,
  defects,
  httpDoor,
  joinByHttp,
  joinBySocket,
  post,
  prove,
  type Registration,
  socketDoor,
} from './visitor.ts';

let hub: TestHub;
let names = 0;
const open: RawSocket[] = [];
const aName = () => `node-${++names}`;

beforeAll(async () => {
  hub = await startTestHub();
});
afterAll(() => hub?.stop());
afterEach(() => {
  for (const socket of open.splice(0)) socket.close();
  expect(defects(hub.stderr())).toEqual([]);
});

async function stranger(headers: Record<string, string> = {}): Promise<RawSocket> {
  const socket = await RawSocket.open(hub.url, headers);
  open.push(socket);
  return socket;
}

async function member(nodeId = aName()) {
  const joined = await joinBySocket(hub, nodeId);
  open.push(joined.socket);
  return joined;
}

const whoAmI = async (token: string) => {
  const { status, body } = await call(hub, 'GET', '/nodes?limit=1', { token });
  return status === 200 ? 'somebody' : body.code;
};

/** Events of one type that the log holds of a node, read past the hub. */
function recorded(type: string, nodeId: string): Record<string, unknown>[] {
  const file = new Database(`${hub.folder}/data/log.db`, { readonly: true });
  try {
    const rows = file.prepare('SELECT data FROM federation_log WHERE type = ? ORDER BY position').all(type);
    return rows
      .map((row) => JSON.parse((row as { data: string }).data) as Record<string, unknown>) // the hub writes JSON there
      .filter(({ node_id }) => node_id === nodeId);
  } finally {
    file.close();
  }
}

describe.each(['socket', 'http'])('a proof over %s', (transport) => {
  const door = async () => (transport === 'http' ? httpDoor(hub) : socketDoor(await stranger()));
  const codeOf = async (registration: Registration) =>
    (await (await door()).register(registration)).error?.code ?? 'ok';

  async function aProof(change: Partial<Registration> = {}, purpose?: 'session') {
    const [at, nodeId, key] = [await door(), aName(), await generateKey()];
    const profile = purpose ? {} : { capabilities: ['a', 'b'], owner: 'me' };
    return { ...(await prove(hub, at, { nodeId, key, profile, ...(purpose && { purpose }) })), ...change };
  }

  test('is good once', async () => {
    const proof = await aProof();
    expect(await codeOf(proof)).toBe('ok');
    expect(await codeOf(proof)).toBe('nonce_used');
    const other = transport === 'http' ? socketDoor(await stranger()) : httpDoor(hub);
    expect((await other.register(proof)).error?.code).toBe('nonce_used');
  });

  test('is good once, also for many who show it at the same moment', async () => {
    const proof = await aProof();
    const doors = await Promise.all(Array.from({ length: 12 }, door));
    const codes = (await Promise.all(doors.map((at) => at.register(proof)))).map(({ error }) => error?.code ?? 'ok');
    expect(codes.sort()).toEqual([...Array(11).fill('nonce_used'), 'ok']);
    expect(recorded('session.opened', proof.node_id)).toHaveLength(1);
  });

  test('is worth nothing when anything it is about was changed', async () => {
    const other = await generateKey();
    expect(await codeOf(await aProof({ capabilities: ['a', 'b', 'admin'] }))).toBe('signature_invalid');
    expect(await codeOf(await aProof({ capabilities: ['b', 'a'] }))).toBe('signature_invalid');
    expect(await codeOf(await aProof({ display_name: 'someone else' }))).toBe('signature_invalid');
    expect(await codeOf(await aProof({ public_key: other.publicKey }))).toBe('signature_invalid');
    expect(await codeOf(await aProof({ node_id: aName() }))).toBe('nonce_invalid');
    expect(await codeOf(await aProof({ purpose: 'session' }))).toBe('nonce_invalid');
    const { nonce } = await (await door()).challenge(aName(), 'register');
    expect(await codeOf(await aProof({ nonce: String(nonce) }))).toBe('nonce_invalid');
    expect(await codeOf(await aProof({ nonce: 'A'.repeat(72) }))).toBe('nonce_invalid');
    expect(await codeOf(await aProof({ protocol_version: 2 }))).toBe('protocol_unsupported');
    expect(await codeOf(await aProof({ public_key: 'A'.repeat(43) }))).toBe('key_invalid');
  });

  test('for a session opens none for who is no member, or for a key that is not the member’s', async () => {
    expect(await codeOf(await aProof({}, 'session'))).toBe('not_found');
    const { nodeId } = await member();
    const proof = await prove(hub, await door(), { nodeId, key: await generateKey(), purpose: 'session' });
    expect(await codeOf(proof)).toBe('signature_invalid');
  });

  test('makes nobody a node that another key already is, and gives no key to a second node', async () => {
    const { nodeId, key } = await member();
    expect(await codeOf(await prove(hub, await door(), { nodeId, key: await generateKey() }))).toBe('node_id_taken');
    expect(await codeOf(await prove(hub, await door(), { nodeId: aName(), key }))).toBe('key_taken');
    expect(recorded('node.registered', nodeId)).toHaveLength(1);
  });

  test('that names where it comes from in headers is not believed', async () => {
    const nodeId = aName();
    const headers = {
      'X-Forwarded-For': '203.0.113.9',
      Forwarded: 'for=203.0.113.9',
      'X-Real-IP': '203.0.113.9',
      'X-Node-Id': 'node-1',
    };
    const key = await generateKey();
    if (transport === 'socket') {
      const at = socketDoor(await stranger(headers));
      expect((await at.register(await prove(hub, at, { nodeId, key }))).ok).toBe(true);
    } else {
      const body = await prove(hub, httpDoor(hub), { nodeId, key });
      expect((await call(hub, 'POST', '/nodes/register', { body, headers })).status).toBe(200);
    }
    expect(recorded('session.opened', nodeId)).toMatchObject([{ address: '127.0.0.1' }]);
  });
});

describe('a socket', () => {
  test('says nothing for a node before it proved its key', async () => {
    const { nodeId } = await member();
    const socket = await stranger();
    for (const name of ['federation:heartbeat', 'federation:renew', 'federation:leave', 'federation:resume']) {
      expect((await socket.ask(name, { node_id: nodeId, position: 0 })).error?.code, name).toBe('unauthenticated');
    }
  });

  test('hears nothing of the federation before it proved its key', async () => {
    const socket = await stranger();
    const { socket: listener } = await member();
    await member();
    expect(await listener.until(() => listener.of('federation:node-joined').length > 0)).toBe(true);
    await sleep(100);
    expect(socket.pushed.map(({ name }) => name)).toEqual(['federation:connected']);
  });

  test('speaks for its own node only', async () => {
    const [{ socket }, other] = [await member(), await member()];
    expect((await socket.ask('federation:heartbeat', { node_id: other.nodeId })).error?.code).toBe('forbidden');
    const beat = await call(hub, 'POST', `/nodes/${other.nodeId}/heartbeat`, {
      token: (await member()).token,
      body: {},
    });
    expect(beat.body.code).toBe('forbidden');
  });

  test('that another took over from is told, and its goodbye does not end the new session', async () => {
    const first = await member();
    const second = await joinBySocket(hub, first.nodeId, {}, first.key);
    open.push(second.socket);
    expect(await first.socket.until(() => first.socket.ended)).toBe(true);
    expect(first.socket.of('federation:revoked')).toMatchObject([{ reason: 'superseded' }]);
    await sleep(200);
    expect((await second.socket.ask('federation:heartbeat', { node_id: first.nodeId })).ok).toBe(true);
    expect(await whoAmI(second.token)).toBe('somebody');
    expect(await whoAmI(first.token)).toBe('session_superseded');
    expect(recorded('session.ended', first.nodeId)).toEqual([]);
  });

  test('that becomes another node is the first no more', async () => {
    const first = await member();
    const at = socketDoor(first.socket);
    const nodeId = aName();
    expect((await at.register(await prove(hub, at, { nodeId, key: await generateKey() }))).ok).toBe(true);
    expect((await first.socket.ask('federation:heartbeat', { node_id: first.nodeId })).error?.code).toBe('forbidden');
    expect(await first.socket.until(() => recorded('session.ended', first.nodeId).length === 1)).toBe(true);
    first.socket.close();
    expect(await first.socket.until(() => recorded('session.ended', nodeId).length === 1)).toBe(true);
  });

  test('that goes while it registers leaves no session behind', async () => {
    const socket = await stranger();
    const at = socketDoor(socket);
    const [nodeId, key] = [aName(), await generateKey()];
    const proof = await prove(hub, at, { nodeId, key });
    socket.send(`42${JSON.stringify(['federation:register', proof])}`);
    socket.tcp.end();
    const other = await stranger();
    expect(await other.until(() => recorded('session.opened', nodeId).length === 1)).toBe(true);
    expect(await other.until(() => recorded('session.ended', nodeId).length === 1)).toBe(true);
  });
});

describe('a token', () => {
  const claims = { sid: `http.${randomUUID()}`, epoch: 0, auth_time: Math.floor(Date.now() / 1000) };
  const typ = 'fedhub-session+jwt';
  const jwt = (iss = hub.federationId) =>
    new SignJWT(claims).setIssuer(iss).setSubject('node-1').setIssuedAt().setExpirationTime('10m');

  async function hubKey(): Promise<JWK & { kid: string }> {
    const { body } = await call(hub, 'GET', '/auth/jwks');
    return (body.keys as unknown as (JWK & { kid: string })[])[0]!; // the hub has one signing key from its first start
  }

  test('without a signature, or signed with what everybody knows, is refused', async () => {
    const { kid, ...jwk } = await hubKey();
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const payload = (await jwt().setProtectedHeader({ alg: 'HS256' }).sign(Buffer.alloc(32))).split('.')[1];
    for (const alg of ['none', 'None', 'NONE', '']) {
      expect(await whoAmI(`${encode({ alg, typ, kid })}.${payload}.`)).toBe('unauthenticated');
      expect(await whoAmI(`${encode({ alg, typ, kid })}.${payload}.AAAA`)).toBe('unauthenticated');
    }
    const pem = createPublicKey({ key: { ...jwk } as never, format: 'jwk' }).export({ type: 'spki', format: 'pem' });
    for (const secret of [Buffer.from(jwk.x!, 'base64url'), Buffer.from(jwk.x!), Buffer.from(pem)]) {
      const token = await jwt().setProtectedHeader({ alg: 'HS256', typ, kid }).sign(secret);
      expect(await whoAmI(token)).toBe('unauthenticated');
    }
  });

  test('of another federation, or that brings its own key, is refused', async () => {
    const { kid } = await hubKey();
    const { privateKey, publicKey } = await generateKeyPair('EdDSA', { extractable: true });
    const jwk = await exportJWK(publicKey);
    for (const header of [
      { kid },
      { kid: 'other' },
      { jwk },
      { kid: '../../dev/null' },
      { jku: 'http://127.0.0.1/', kid },
    ]) {
      const token = await jwt()
        .setProtectedHeader({ alg: 'EdDSA', typ, ...header })
        .sign(privateKey);
      expect(await whoAmI(token), JSON.stringify(header)).toBe('unauthenticated');
    }
    const elsewhere = await startTestHub();
    try {
      const { token } = await joinByHttp(elsewhere, 'node-1');
      expect(await whoAmI(token)).toBe('unauthenticated');
      expect(await whoAmI(elsewhere.adminToken)).toBe('unauthenticated');
    } finally {
      await elsewhere.kill();
    }
  });

  test('signed by the hub itself, but too old, of another kind or about another, is refused', async () => {
    const file = new Database(`${hub.folder}/data/keyring.db`, { readonly: true }); // the hub's own file
    const d = file.prepare("SELECT secret FROM federation_keyring WHERE purpose = 'sign'").pluck().get() as string;
    file.close();
    const { kid, x } = await hubKey();
    const privateKey = await importJWK({ kty: 'OKP', crv: 'Ed25519', x: x!, d }, 'EdDSA');
    const { answer, key } = await joinByHttp(hub, aName());
    const header = { alg: 'EdDSA', typ, kid };
    const cnf = { jkt: keyThumbprint(key.publicKey) };
    const about = { ...claims, cnf, sid: String(answer.session_id) };
    const sub = (answer.node as { node_id: string }).node_id;
    const signed = (change: { iss?: string; typ?: string; exp?: string; sub?: string }) =>
      new SignJWT(about)
        .setIssuer(change.iss ?? hub.federationId)
        .setSubject(change.sub ?? sub)
        .setIssuedAt()
        .setExpirationTime(change.exp ?? '10m')
        .setProtectedHeader({ ...header, typ: change.typ ?? typ })
        .sign(privateKey);
    expect(await whoAmI(await signed({}))).toBe('somebody'); // so the rest is refused for what was changed
    expect(await whoAmI(await signed({ exp: '-1s' }))).toBe('token_expired');
    expect(await whoAmI(await signed({ iss: 'other' }))).toBe('unauthenticated');
    expect(await whoAmI(await signed({ typ: 'JWT' }))).toBe('unauthenticated');
    expect(await whoAmI(await signed({ sub: 'nobody' }))).toBe('unauthenticated');
  });

  test.each([
    '',
    ' ',
    'x',
    'a.b.c',
    '....',
    'fht_',
    'fht_aaaaaaaa_',
    `fht_aaaaaaaa_${'A'.repeat(43)}`,
    `fht___proto___${'A'.repeat(43)}`,
    'x'.repeat(8_000),
  ])('that is none is refused: %.20s', async (token) => {
    expect(await whoAmI(token)).toBe('unauthenticated');
  });

  test('of an operator with one letter changed is refused', async () => {
    const { adminToken } = hub;
    expect(await whoAmI(adminToken)).toBe('somebody');
    expect(await whoAmI(`${adminToken.slice(0, -1)}${adminToken.endsWith('A') ? 'B' : 'A'}`)).toBe('unauthenticated');
    expect(await whoAmI(adminToken.toUpperCase())).toBe('unauthenticated');
    for (const authorization of [
      adminToken,
      `Basic ${btoa(`admin:${adminToken}`)}`,
      `Bearer ${adminToken} x`,
      'Bearer',
    ]) {
      const { body } = await call(hub, 'GET', '/nodes', { headers: { authorization } });
      expect(body.code).toBe('unauthenticated');
    }
  });

  test('of a node opens nothing that is for admins', async () => {
    const { token } = await joinByHttp(hub, aName());
    for (const [method, path, body] of [
      ['GET', '/auth/tokens'],
      ['POST', '/governance/mode', { mode: 'open' }],
      ['GET', '/views'],
      ['POST', '/views/rebuild'],
      ['GET', '/views/dead-letters'],
      ['DELETE', '/nodes/node-1'],
      ['PATCH', '/nodes/node-1', { owner: 'x' }],
    ] as const) {
      expect((await call(hub, method, path, { token, body })).body.code, path).toBe('forbidden');
      expect((await call(hub, method, path, { body })).body.code, path).toBe('unauthenticated');
    }
  });

  test('of an operator speaks for no node', async () => {
    const { nodeId } = await joinByHttp(hub, aName());
    const beat = await call(hub, 'POST', `/nodes/${nodeId}/heartbeat`, { token: hub.adminToken, body: {} });
    expect(beat.body.code).toBe('forbidden');
    const renewed = await post(hub, '/auth/renew', undefined, hub.adminToken);
    expect(renewed.body.code).toBe('forbidden');
  });
});

describe('a node that is removed', () => {
  test('has no socket and no token any more, within a second', async () => {
    const { socket, nodeId, token, key } = await member();
    const byHttp = await joinByHttp(hub, nodeId, {}, key);
    expect(await whoAmI(byHttp.token)).toBe('somebody');
    const removed = await call(hub, 'DELETE', `/nodes/${nodeId}`, { token: hub.adminToken });
    expect(removed.status).toBe(200);
    expect(await socket.until(() => socket.ended, 1_000)).toBe(true);
    expect(socket.of('federation:revoked')).toMatchObject([{ reason: 'removed' }]);
    for (const one of [token, byHttp.token]) expect(await whoAmI(one)).toBe('unauthenticated');
    expect((await post(hub, `/nodes/${nodeId}/heartbeat`, {}, token)).status).toBe(401);
  });
});
