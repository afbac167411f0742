/** What a signed request must cover and when it counts; the vector of the standard; how many nonces are remembered. */
import { describe, expect, test } from 'vitest';
import { generateKey } from '../../src/client/key-file.ts';
import { signRequest } from '../../src/client/signed-request.ts';
import type { Credentials } from '../../src/doors.ts';
import { isRefusal } from '../../src/errors.ts';
import { createKernel } from '../../src/kernel.ts';
import { createNonceMemory } from '../../src/services/identity-auth/nonce-memory.ts';
import { isGood, readClaims, targetsOf } from '../../src/services/identity-auth/signed-request.ts';

const key = await generateKey();
const now = Date.parse('2026-03-01T10:00:00Z');
const config = { tls: undefined, publicUrl: undefined, trustedProxies: [] };

async function shown(change: { url?: string; method?: string; signedAt?: number } = {}): Promise<Credentials> {
  const url = change.url ?? 'http://hub.example:3002/api/federation/nodes?limit=1';
  const method = change.method ?? 'GET';
  const signed = await signRequest({ method, url }, { key, federationId: 'fed-1', now: change.signedAt ?? now });
  const { pathname, search, host } = new URL(url);
  const headers = Object.fromEntries(Object.entries(signed).map(([name, value]) => [name.toLowerCase(), value]));
  return { method, url: pathname + search, headers: { ...headers, host } };
}

const codeOf = (credentials: Credentials, at = now) => {
  const claimed = readClaims(credentials, 'fed-1', at);
  return isRefusal(claimed) ? claimed.refused : 'ok';
};

describe('a signed request', () => {
  test('verifies as RFC 9421 B.2.6 says', async () => {
    const vector: Credentials = {
      method: 'POST',
      url: '/foo?param=Value&Pet=dog',
      headers: {
        host: 'example.com',
        date: 'Tue, 20 Apr 2021 02:07:55 GMT',
        'content-type': 'application/json',
        'content-length': '18',
        'signature-input':
          'sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"',
        signature: 'sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:',
      },
    };
    const publicKey = 'JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs';
    const targets = targetsOf(config, 'example.com');
    expect(await isGood(vector, targets, publicKey)).toBe(true);
    expect(await isGood(vector, targetsOf(config, 'example.org'), publicKey)).toBe(false);
    expect(await isGood({ ...vector, url: '/foo/?param=Value' }, targets, publicKey)).toBe(false);
    expect(await isGood({ ...vector, method: 'PUT' }, targets, publicKey)).toBe(false);
    expect(await isGood(vector, targets, key.publicKey)).toBe(false);
    expect(codeOf(vector)).toBe('signature_invalid'); // it covers too little for a hub
  });

  test('counts for a minute, with half a minute of difference between the clocks', async () => {
    const credentials = await shown();
    for (const [at, code] of [
      [-31_000, 'signature_expired'],
      [-30_000, 'ok'],
      [0, 'ok'],
      [90_000, 'ok'],
      [90_001, 'signature_expired'],
    ] as const) {
      expect(codeOf(credentials, now + at), `${at}`).toBe(code);
    }
  });

  test('counts for the address it was sent to, in whichever spelling of it, and for the public URL', async () => {
    const here = await shown();
    expect(await isGood(here, targetsOf(config, 'HUB.example:3002'), key.publicKey)).toBe(true);
    expect(await isGood(here, targetsOf(config, 'hub.example'), key.publicKey)).toBe(false);
    const outside = await shown({ url: 'https://fed.example/hub/api/federation/nodes?limit=1' });
    const arrived = { ...outside, url: '/api/federation/nodes?limit=1' }; // the proxy takes its own path away
    const published = { ...config, publicUrl: 'https://fed.example:443/hub/' };
    expect(await isGood(arrived, targetsOf(published, '127.0.0.1:3002'), key.publicKey)).toBe(true);
    expect(await isGood(arrived, targetsOf(config, '127.0.0.1:3002'), key.publicKey)).toBe(false);
    const proxied = await shown({ url: 'https://hub.example/api/federation/nodes' });
    expect(await isGood(proxied, targetsOf(config, 'hub.example'), key.publicKey)).toBe(false);
    const behind = { ...config, trustedProxies: ['10.0.0.1'] };
    expect(await isGood(proxied, targetsOf(behind, 'hub.example'), key.publicKey)).toBe(true);
  });

  test('of two spellings of one path is two requests', async () => {
    const credentials = await shown({ url: 'http://hub.example/api/federation/nodes/b' });
    const targets = targetsOf(config, 'hub.example');
    expect(await isGood(credentials, targets, key.publicKey)).toBe(true);
    for (const url of [
      '/api/federation/nodes/a/../b',
      '/api/federation/nodes/%62',
      '//api/federation/nodes/b',
      '/api/federation/nodes/b?',
      '/api/federation/nodes/b#',
    ]) {
      expect(await isGood({ ...credentials, url }, targets, key.publicKey), url).toBe(false);
    }
  });
});

describe('the nonces of signed requests', () => {
  let clock = 0;
  const kernel = createKernel({ logLevel: 'silent' }, { monotonicMs: () => clock });

  test('are good once, for each key', () => {
    const nonces = createNonceMemory(kernel, 1_000);
    expect(nonces.use('k', 'a')).toBeUndefined();
    expect(nonces.use('k', 'a')?.refused).toBe('nonce_used');
    expect(nonces.use('l', 'a')).toBeUndefined();
  });

  test('are remembered to the last, and no more of them than there is room for', () => {
    const nonces = createNonceMemory(kernel, 1_000, 3);
    for (const nonce of ['a', 'b', 'c']) expect(nonces.use('k', nonce)).toBeUndefined();
    expect(nonces.use('k', 'd')?.refused).toBe('overloaded');
    clock += 999;
    expect(nonces.use('k', 'a')?.refused).toBe('nonce_used');
    expect(nonces.use('k', 'd')?.refused).toBe('overloaded');
    clock += 1;
    expect(nonces.use('k', 'd')).toBeUndefined();
  });
});
