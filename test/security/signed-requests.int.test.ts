/** Requests that are signed instead of carrying a token: everything that may be wrong with one, at a running hub and at two. */
import { createHash, randomBytes } from 'node:crypto';
import type { SignatureParameters } from 'http-message-signatures';
import { signMessage } from 'http-message-signatures/lib/httpbis/index.js';
import { calculateJwkThumbprint } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { generateKey, type NodeKey } from '../../src/client/key-file.ts';
import { type RequestToSign, signRequest } from '../../src/client/signed-request.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';
import { call, defects, joinByHttp } from './visitor.ts';

let hub: TestHub;
let second: TestHub;
let key: NodeKey;
let names = 0;
const aName = () => `signer-${++names}`;
/** Of both replicas, as if a proxy stood before them. */
const publicUrl = 'https://fed.example';
const path = '/api/federation/nodes?limit=1';

beforeAll(async () => {
  const env = { FEDERATION_PUBLIC_URL: publicUrl };
  hub = await startTestHub({ database: 'postgres', env });
  second = await startTestHub({ env: { ...env, DATABASE_URL: hub.databaseUrl! } });
  ({ key } = await joinByHttp(hub, 'ada'));
});
afterAll(async () => {
  for (const replica of [hub, second]) expect(defects(replica?.stderr() ?? '')).toEqual([]);
  await second?.stop();
  await hub?.stop();
});

type Headers = Record<string, string>;

/** Sends a request with these headers; answers its code, or `ok`. */
async function send(
  { method = 'GET', body }: Partial<RequestToSign>,
  headers: Headers,
  at: { url?: string; hub?: TestHub } = {},
): Promise<string> {
  const url = `${(at.hub ?? hub).url}${at.url ?? path}`;
  const response = await fetch(url, {
    method,
    headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
    ...(body !== undefined && { body: body as string }),
  });
  if (response.ok) return 'ok';
  expect(response.headers.get('content-type')).toContain('application/problem+json');
  return ((await response.json()) as { code: string }).code;
}

const signed = (request: Partial<RequestToSign> & { at?: string } = {}, by: { key?: NodeKey; now?: number } = {}) =>
  signRequest(
    { method: 'GET', url: `${hub.url}${request.at ?? path}`, ...request },
    { key: by.key ?? key, federationId: hub.federationId, ...(by.now !== undefined && { now: by.now }) },
  );

interface Odd {
  readonly fields?: string[];
  readonly params?: string[];
  readonly values?: Record<string, unknown>;
  readonly alg?: string;
  readonly name?: string;
}

/** A signature by the book over whatever it is told to cover. */
async function odd(given: Odd = {}, headers: Headers = {}, method = 'GET'): Promise<Headers> {
  const message = await signMessage(
    {
      key: {
        id: await calculateJwkThumbprint({ kty: 'OKP', crv: 'Ed25519', x: key.publicKey }),
        alg: given.alg ?? 'ed25519',
        sign: async (data) => Buffer.from(await key.sign(data)),
      },
      name: given.name ?? 'sig1',
      fields: given.fields ?? ['@method', '@target-uri'],
      params: given.params ?? ['created', 'nonce', 'keyid', 'alg', 'tag'],
      paramValues: {
        nonce: randomBytes(24).toString('base64url'),
        tag: `federation-hub;${hub.federationId}`,
        ...given.values,
      } as SignatureParameters,
    },
    { method, url: `${hub.url}${path}`, headers },
  );
  return message.headers as Headers; // texts went in, and texts were added
}

const digestOf = (text: string, algorithm = 'sha256') => createHash(algorithm).update(text).digest('base64');

describe('a signed request', () => {
  test('is as good as one with a session token, at every replica', async () => {
    expect(await send({}, await signed())).toBe('ok');
    const there = await signRequest(
      { method: 'GET', url: `${second.url}${path}` },
      { key, federationId: hub.federationId },
    );
    expect(await send({}, there, { hub: second })).toBe('ok');
    expect(await send({}, await odd())).toBe('ok');
    expect(await send({}, await odd({ fields: ['@method', '@authority', '@path', '@query'] }))).toBe('ok');
  });

  test('is good once, also for many who show it at the same moment', async () => {
    const headers = await signed();
    const codes = await Promise.all(Array.from({ length: 12 }, () => send({}, headers)));
    expect(codes.sort()).toEqual([...Array(11).fill('nonce_used'), 'ok']);
    expect(await send({}, headers)).toBe('nonce_used');
  });

  test('is good for the method, path, query and hub that were signed', async () => {
    expect(await send({ method: 'HEAD' }, await signed()).catch(() => 'no body')).not.toBe('ok');
    for (const url of [
      '/api/federation/nodes?limit=2',
      '/api/federation/nodes',
      '/api/federation/nodes?limit=1&status=online',
      '/api/federation/nodes/ada',
      '/api/federation/nodes?limit=%31',
    ]) {
      expect(await send({}, await signed(), { url }), url).toBe('signature_invalid');
    }
    expect(await send({}, await signed(), { hub: second })).toBe('signature_invalid'); // another authority
  });

  test('is worth nothing when its signature, or what it says of itself, was changed', async () => {
    const good = await signed();
    const [input, signature] = [good['Signature-Input']!, good.Signature!];
    const changed = (from: RegExp | string, to: string) => ({ ...good, 'Signature-Input': input.replace(from, to) });
    const other = await generateKey();
    const thumbprint = await calculateJwkThumbprint({ kty: 'OKP', crv: 'Ed25519', x: other.publicKey });
    for (const [headers, code] of [
      [{ ...good, Signature: signature.replace(/:(.)/, (_, at) => `:${at === 'A' ? 'B' : 'A'}`) }, 'signature_invalid'],
      [changed(/nonce="."?/, 'nonce="x'), 'signature_invalid'],
      [changed(/created=(\d+)/, `created=${Math.floor(Date.now() / 1000) - 5}`), 'signature_invalid'],
      [changed(/keyid="[^"]+"/, `keyid="${thumbprint}"`), 'unauthenticated'],
      [changed('"@method" ', ''), 'signature_invalid'],
      [changed('sig1', 'sig2'), 'signature_invalid'],
      [{ 'Signature-Input': input }, 'signature_invalid'],
      [{ 'Signature-Input': input, Signature: 'sig1=:AAAA:' }, 'signature_invalid'],
      [{ 'Signature-Input': input, Signature: 'sig1="text"' }, 'signature_invalid'],
      [{ 'Signature-Input': input, Signature: `sig1=:${Buffer.alloc(64).toString('base64')}:` }, 'signature_invalid'],
    ] as const) {
      expect(await send({}, headers as Headers), JSON.stringify(headers)).toBe(code);
    }
    expect(await send({}, good)).toBe('ok'); // strangers who tried did not use up its nonce
  });

  test('must cover enough, and say enough of itself', async () => {
    for (const given of [
      { fields: ['@method'] },
      { fields: ['@target-uri'] },
      { fields: ['@method', '@path', '@query'] },
      { fields: ['@method', '@authority', '@path'] },
      { params: ['nonce', 'keyid', 'alg', 'tag'] },
      { params: ['created', 'keyid', 'alg', 'tag'] },
      { params: ['created', 'nonce', 'alg', 'tag'] },
      { params: ['created', 'nonce', 'keyid', 'tag'] },
      { params: ['created', 'nonce', 'keyid', 'alg'] },
      { alg: 'hmac-sha256' },
      { values: { nonce: 'short' } },
      { values: { nonce: 'x'.repeat(65) } },
      { values: { nonce: 'sixteen letters!' } },
      { values: { tag: 'federation-hub;another' } },
      { values: { tag: 'federation-hub' } },
      { values: { keyid: 'ada' } },
    ]) {
      expect(await send({}, await odd(given)), JSON.stringify(given)).toBe('signature_invalid');
    }
    const twice = await odd({ name: 'sig2' }, await odd());
    expect(await send({}, twice)).toBe('signature_invalid');
  });

  test('is refused when it is too old, has expired or is of the future', async () => {
    const seconds = (n: number) => Date.now() + n * 1000;
    for (const at of [-95, -3600, 45, 3600])
      expect(await send({}, await signed({}, { now: seconds(at) })), `${at}`).toBe('signature_expired');
    for (const at of [-80, 20]) expect(await send({}, await signed({}, { now: seconds(at) })), `${at}`).toBe('ok');
    const params = ['created', 'expires', 'nonce', 'keyid', 'alg', 'tag'];
    expect(await send({}, await odd({ params, values: { expires: new Date(seconds(-35)) } }))).toBe(
      'signature_expired',
    );
    expect(await send({}, await odd({ params, values: { expires: new Date(seconds(60)) } }))).toBe('ok');
  });

  test.each([
    '',
    'x',
    'sig1',
    'sig1=()',
    'sig1=("@method" "@target-uri")',
    'sig1=("@method";req "@target-uri")',
    'sig1=("@method" "@method" "@target-uri")',
    'sig1=("@status" "@method" "@target-uri")',
    'sig1=(@method)',
    '=;',
    `sig1=(${'"a" '.repeat(2_000)})`,
    `sig1=("@method" "@target-uri");created=${'9'.repeat(15)};nonce="${'a'.repeat(16)}";keyid="${'a'.repeat(43)}";alg="ed25519"`,
  ])('that is none is refused: %.40s', async (input) => {
    const headers = { 'signature-input': input, signature: `sig1=:${Buffer.alloc(64).toString('base64')}:` };
    expect(['signature_invalid', 'unauthenticated']).toContain(await send({}, headers));
  });

  test('beside a token counts as the token: a signature lends it nothing', async () => {
    expect(await send({}, { ...(await signed()), authorization: 'Bearer x' })).toBe('unauthenticated');
  });
});

describe('a signed body', () => {
  const at = '/api/federation/nodes/ada';
  const body = JSON.stringify({ owner: 'lovelace' });
  const patch = (headers: Headers, sent = body, where?: TestHub) =>
    send({ method: 'PATCH', body: sent }, headers, { url: at, ...(where && { hub: where }) });

  test('is the one that is taken', async () => {
    expect(await patch(await signed({ method: 'PATCH', body, at }))).toBe('ok');
    for (const sent of [`${body} `, body.replace('lovelace', 'byron'), '{}'])
      expect(await patch(await signed({ method: 'PATCH', body, at }), sent), sent).toBe('digest_mismatch');
  });

  test('must have a digest, which the hub can compute, and all of which are right', async () => {
    const withDigest = async (digest: string) => {
      const headers = { 'content-digest': digest };
      const url = `${hub.url}${at}`;
      return signRequest({ method: 'PATCH', url, headers }, { key, federationId: hub.federationId });
    };
    const [short, long] = [`sha-256=:${digestOf(body)}:`, `sha-512=:${digestOf(body, 'sha512')}:`];
    expect(await patch(await withDigest(long))).toBe('ok');
    expect(await patch(await withDigest(`${short}, ${long}, md5=:AAAA:`))).toBe('ok');
    for (const digest of [
      `${short}, sha-512=:${digestOf('x', 'sha512')}:`,
      `md5=:${digestOf(body, 'md5')}:`,
      'sha-256=:AAAA:',
      'sha-256="text"',
      'x',
    ]) {
      expect(await patch(await withDigest(digest)), digest).toBe('digest_mismatch');
    }
    const headers = await signed({ method: 'PATCH', at }); // covers no digest
    expect(await patch(headers)).toBe('signature_invalid');
    const covered = await signed({ method: 'PATCH', body, at });
    const other = `sha-256=:${digestOf('{}')}:`;
    expect(await patch({ ...covered, 'content-digest': other }, '{}')).toBe('signature_invalid');
  });

  test('is not acted on twice, when it is replayed at another replica', async () => {
    const beat = `${at}/heartbeat`;
    const outside = { method: 'POST', url: `${publicUrl}${beat}`, body: '{}' };
    const headers = await signRequest(outside, { key, federationId: hub.federationId });
    const positions: number[] = [];
    for (const { url } of [hub, second]) {
      const json = { ...headers, 'content-type': 'application/json' };
      const response = await fetch(`${url}${beat}`, { method: 'POST', headers: json, body: '{}' });
      positions.push(((await response.json()) as { position: number }).position);
    }
    expect(positions[0]).toBeGreaterThan(0);
    expect(positions[1]).toBe(positions[0]); // the answer of the first, not a second deed
    expect(await send({ method: 'POST', body: '{}' }, headers, { url: beat })).toBe('nonce_used');
  });

  test('with an idempotency key must cover it', async () => {
    const idempotent = { 'idempotency-key': 'once' };
    const headers = await signed({ method: 'PATCH', body, at, headers: idempotent });
    expect(await patch({ ...headers, 'idempotency-key': 'twice' })).toBe('signature_invalid');
    const { 'idempotency-key': _, ...without } = headers;
    expect(await patch(without)).toBe('signature_invalid');
    expect(await patch(headers)).toBe('ok');
    expect(await patch({ ...(await signed({ method: 'PATCH', body, at })), ...idempotent })).toBe('signature_invalid');
  });
});

describe('the node behind a signature', () => {
  test('may do what its role lets it, and no more', async () => {
    const at = '/api/federation/governance/mode';
    const body = JSON.stringify({ mode: 'open' });
    expect(await send({ method: 'POST', body }, await signed({ method: 'POST', body, at }), { url: at })).toBe(
      'forbidden',
    );
  });

  test('is a member, not banned, with this key', async () => {
    const stranger = await generateKey();
    expect(await send({}, await signed({}, { key: stranger }))).toBe('unauthenticated');
    const nodeId = aName();
    const joined = await joinByHttp(second, nodeId); // known here too, at once
    expect(await send({}, await signed({}, { key: joined.key }))).toBe('ok');
    const token = hub.adminToken;
    await call(hub, 'POST', `/governance/bans/${nodeId}`, { token, body: { reason: 'test' } });
    expect(await send({}, await signed({}, { key: joined.key }))).not.toBe('ok');
    const gone = await joinByHttp(hub, aName());
    await call(hub, 'DELETE', `/nodes/${gone.nodeId}`, { token });
    expect(await send({}, await signed({}, { key: gone.key }))).toBe('unauthenticated');
  });
});
