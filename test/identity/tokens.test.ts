/** Session tokens and operator tokens: which are taken, for how long, and what they do not tell. */
import { generateKeyPairSync } from 'node:crypto';
import { type JWTPayload, SignJWT } from 'jose';
import { describe, expect, test } from 'vitest';
import { isRefusal } from '../../src/errors.ts';
import { createKernel } from '../../src/kernel.ts';
import { openKeyring } from '../../src/keyring.ts';
import { makeOperatorToken, parseOperatorToken, sameHash } from '../../src/operator-token.ts';
import { createSessionTokens } from '../../src/services/identity-auth/session-token.ts';
import { memoryKeyring } from './memory-keyring.ts';

let now = Date.parse('2026-01-01T00:00:00.400Z');
const kernel = createKernel({ logLevel: 'silent' }, { now: () => now });
const keyring = await openKeyring(memoryKeyring(), kernel);
const tokens = createSessionTokens(kernel, keyring, 'fed-1');
const session = { nodeId: 'alpha', sessionId: 's-1', epoch: 3, keyId: 'k'.repeat(43) };

describe('a session token', () => {
  test('tells whose session it is, for 15 minutes', async () => {
    const { token, expiresAtMs } = await tokens.issue(session);
    const issuedAtMs = Math.floor(now / 1000) * 1000;
    const claims = { ...session, authTimeMs: issuedAtMs, issuedAtMs, expiresAtMs };
    expect(expiresAtMs - issuedAtMs).toBe(900_000);
    expect(await tokens.verify(token)).toEqual(claims);
    expect(await tokens.verify(token)).toEqual(claims);
    now = expiresAtMs - 1;
    expect(await tokens.verify(token)).toEqual(claims);
    now = expiresAtMs;
    expect(await refusal(token)).toBe('token_expired');
    const fresh = createSessionTokens(kernel, keyring, 'fed-1'); // which has not seen it before
    expect(await fresh.verify(token)).toMatchObject({ refused: 'token_expired' });
  });

  test('keeps, when renewed, the time at which the key was proved', async () => {
    const authTimeMs = Math.floor(now / 1000) * 1000 - 5000;
    const { token } = await tokens.issue({ ...session, authTimeMs });
    expect(await tokens.verify(token)).toMatchObject({ authTimeMs });
  });

  test('is good at another replica of the same keys, but not in another federation or under other keys', async () => {
    const { token } = await tokens.issue(session);
    expect(await createSessionTokens(kernel, keyring, 'fed-1').verify(token)).toMatchObject(session);
    expect(await createSessionTokens(kernel, keyring, 'fed-2').verify(token)).toMatchObject({
      refused: 'unauthenticated',
    });
    const others = createSessionTokens(kernel, await openKeyring(memoryKeyring(), kernel), 'fed-1');
    expect(await others.verify(token)).toMatchObject({ refused: 'unauthenticated' });
  });

  test('is refused when its key was taken out of the keyring, though it was verified before', async () => {
    const keys = new Map(keyring.verifyKeys());
    const shrinking = createSessionTokens(
      kernel,
      { ...keyring, signingKey: () => keyring.signingKey(), reload: async () => {}, verifyKeys: () => keys },
      'fed-1',
    );
    const { token } = await shrinking.issue(session);
    expect(await shrinking.verify(token)).toMatchObject(session);
    keys.clear();
    expect(await shrinking.verify(token)).toMatchObject({ refused: 'unauthenticated' });
  });

  test('is refused when anyone else made it', async () => {
    const { kid, privateKey } = keyring.signingKey();
    const stranger = generateKeyPairSync('ed25519').privateKey;
    const header = { alg: 'EdDSA', typ: 'fedhub-session+jwt', kid };
    const good = {
      sid: 's-1',
      epoch: 1,
      auth_time: 1,
      cnf: { jkt: 'k' },
      sub: 'alpha',
      iss: 'fed-1',
      iat: seconds(),
      exp: seconds() + 60,
    };
    const { sid: _sid, ...lacking } = good;
    const { exp: _exp, ...endless } = good;
    expect(isRefusal(await tokens.verify(await sign(header, good, privateKey)))).toBe(false);
    for (const [why, token] of [
      ['signed by a stranger', await sign(header, good, stranger)],
      ['of an unknown key', await sign({ ...header, kid: 'other' }, good, privateKey)],
      ['of no key', await sign({ alg: 'EdDSA', typ: header.typ }, good, privateKey)],
      ['of another type', await sign({ ...header, typ: 'JWT' }, good, privateKey)],
      ['lacking a claim', await sign(header, lacking, privateKey)],
      ['without expiry', await sign(header, endless, privateKey)],
      ['not signed at all', `${part({ ...header, alg: 'none' })}.${part(good)}.`],
      ['signed with the public key as a secret', await confused(header, good)],
      ['with a payload of its own', withPayload(await sign(header, good, privateKey), { ...good, sub: 'beta' })],
      ['nothing', ''],
      ['rubbish', 'a.b.c'],
      ['huge', `a.${'b'.repeat(5000)}.c`],
    ] as const) {
      expect(await refusal(token), why).toBe('unauthenticated');
    }
  });
});

describe('an operator token', () => {
  test('is found by its prefix and known by its hash, and neither tells the secret', () => {
    const made = makeOperatorToken(kernel);
    expect(made.token).toMatch(/^fht_[a-z2-7]{8}_[A-Za-z0-9_-]{43}$/);
    const parsed = parseOperatorToken(made.token)!;
    expect(parsed).toEqual({ prefix: made.prefix, hash: made.hash });
    expect(sameHash(parsed.hash, made.hash)).toBe(true);
    expect(made.token).not.toContain(made.hash);
    const changed = made.token.slice(0, -1) + (made.token.endsWith('A') ? 'E' : 'A');
    expect(sameHash(parseOperatorToken(changed)!.hash, made.hash)).toBe(false);
  });

  test('is never made twice, and nothing else parses as one', () => {
    expect(new Set(Array.from({ length: 1000 }, () => makeOperatorToken(kernel).token)).size).toBe(1000);
    const { token } = makeOperatorToken(kernel);
    for (const other of [
      '',
      'fht_',
      token.slice(1),
      `${token}A`,
      `${token}\n`,
      token.toUpperCase(),
      token.replace('fht', 'ghp'),
    ]) {
      expect(parseOperatorToken(other), other).toBeUndefined();
    }
    expect(sameHash('ab', 'abc')).toBe(false);
  });
});

async function refusal(token: string): Promise<string> {
  const answer = await tokens.verify(token);
  return isRefusal(answer) ? answer.refused : 'taken';
}

const seconds = () => Math.floor(now / 1000);
const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');

function sign(header: object, payload: JWTPayload, key: Parameters<SignJWT['sign']>[0]): Promise<string> {
  return new SignJWT(payload).setProtectedHeader({ alg: 'EdDSA', ...header }).sign(key);
}

function confused(header: object, payload: JWTPayload): Promise<string> {
  const secret = Buffer.from(keyring.jwks().keys[0]!.x, 'base64url');
  return new SignJWT(payload).setProtectedHeader({ ...header, alg: 'HS256' }).sign(secret);
}

function withPayload(token: string, payload: object): string {
  const [header, , signature] = token.split('.');
  return [header, part(payload), signature].join('.');
}
