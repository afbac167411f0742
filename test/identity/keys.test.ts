/** Public keys that are taken and refused, and the one rule by which signatures count. */
import { createHash } from 'node:crypto';
import { getPublicKeyAsync, Point, signAsync, utils, verifyAsync } from '@noble/ed25519';
import fc from 'fast-check';
import { calculateJwkThumbprint } from 'jose';
import { describe, expect, test } from 'vitest';
import { checkKey, keyThumbprint, verify } from '../../src/ed25519.ts';
import { addOrder, forge, littleEndian, smallOrderKeys, torsion, withSign } from './curve.ts';

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url');
const refused = (publicKey: string) => checkKey(publicKey)?.refused;
const { p: P, n: L } = Point.CURVE();

describe('a public key', () => {
  test('is taken when an honest program made it', async () => {
    for (let i = 0; i < 20; i++)
      expect(refused(text(await getPublicKeyAsync(utils.randomSecretKey())))).toBeUndefined();
  });

  test('is refused in every spelling of every point of small order', () => {
    expect(torsion.map((point) => point.isSmallOrder())).toEqual(Array(8).fill(true));
    const keys = smallOrderKeys();
    expect(keys.length).toBeGreaterThanOrEqual(14);
    for (const key of keys) expect(refused(text(key)), text(key)).toBe('key_invalid');
  });

  test('is refused when it is all zero, or all ones', () => {
    expect(refused(text(new Uint8Array(32)))).toBe('key_invalid');
    expect(refused(text(new Uint8Array(32).fill(255)))).toBe('key_invalid');
  });

  test('is refused when a part of it is of small order', () => {
    for (let twist = 1; twist < 8; twist++)
      expect(refused(text(forge(12345n, 1n, twist, 0, new Uint8Array()).publicKey))).toBe('key_invalid');
  });

  test('is refused when its y is not reduced', () => {
    const onCurve = [...Array(19).keys()]
      .map(BigInt)
      .filter((y) => decodes(littleEndian(y)) && !decodes(littleEndian(y + P)));
    expect(onCurve.length).toBeGreaterThan(2);
    for (const y of onCurve) {
      expect(refused(text(littleEndian(y + P)))).toBe('key_invalid');
      expect(refused(text(withSign(littleEndian(y + P))))).toBe('key_invalid');
    }
  });

  test('is refused when it is off the curve', () => {
    const off = [...Array(50).keys()].map(BigInt).filter((y) => !decodes(littleEndian(y)));
    expect(off.length).toBeGreaterThan(10);
    for (const y of off) expect(refused(text(littleEndian(y)))).toBe('key_invalid');
  });

  test('is refused in another length or another spelling of base64', async () => {
    const bytes = await getPublicKeyAsync(new Uint8Array(32).fill(7));
    const good = text(bytes);
    expect(refused(good)).toBeUndefined();
    const lastUp = good.slice(0, -1) + String.fromCharCode(good.charCodeAt(42) + 1); // the same bytes: two bits are spare
    expect(Buffer.from(lastUp, 'base64url')).toEqual(Buffer.from(bytes));
    for (const bad of [
      lastUp,
      `${good}=`,
      ` ${good}`,
      good.slice(1),
      `${good}A`,
      '',
      Buffer.from(bytes).toString('hex'),
    ]) {
      expect(refused(bad), bad).toBe('key_invalid');
    }
  });

  test('has the thumbprint of RFC 7638', async () => {
    const x = '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo'; // RFC 8037, appendix A.3
    expect(keyThumbprint(x)).toBe('kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k');
    const other = text(await getPublicKeyAsync(utils.randomSecretKey()));
    expect(keyThumbprint(other)).toBe(await calculateJwkThumbprint({ kty: 'OKP', crv: 'Ed25519', x: other }));
  });
});

describe('a signature', () => {
  test('counts when noble made it, and not for another message, key, or in another spelling', async () => {
    const [secret, other] = [utils.randomSecretKey(), utils.randomSecretKey()];
    const [key, stranger] = [text(await getPublicKeyAsync(secret)), text(await getPublicKeyAsync(other))];
    const message = Buffer.from('hello');
    const signature = text(await signAsync(message, secret));
    expect(verify(key, message, signature)).toBe(true);
    expect(verify(key, Buffer.from('hello!'), signature)).toBe(false);
    expect(verify(stranger, message, signature)).toBe(false);
    for (const bad of ['', signature.slice(1), `${signature}AA`, `${signature}==`])
      expect(verify(key, message, bad)).toBe(false);
  });

  test('under a key of small order counts for nothing, though the equation holds for it', () => {
    const identity = torsion[0]!.toBytes();
    const signature = text(Buffer.concat([identity, littleEndian(0n)])); // S·B = 0 = R + k·A for every message
    expect(verify(text(identity), Buffer.from('anything'), signature)).toBe(false);
  });

  test('is judged alike by node:crypto under our rule and by noble without the cofactor slack, whatever is presented', async () => {
    const scalar = fc.bigInt({ min: 0n, max: L - 1n });
    const twist = fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 7 }));
    const damage = fc.oneof(
      fc.constant('none' as const),
      fc.constant('order added' as const),
      fc.record({
        part: fc.constantFrom('publicKey' as const, 'signature' as const, 'message' as const),
        bit: fc.nat(511),
      }),
      fc.record({ smallKey: fc.nat(31) }),
      fc.record({ smallR: fc.nat(31) }),
    );
    const seen = { good: 0, bad: 0 };
    const small = smallOrderKeys();
    const property = fc.asyncProperty(
      scalar,
      fc.oneof({ weight: 5, arbitrary: scalar }, fc.constant(0n)),
      twist,
      twist,
      fc.uint8Array({ minLength: 1, maxLength: 64 }),
      damage,
      async (a, r, keyTwist, rTwist, message, how) => {
        const it = forge(a, r, keyTwist, rTwist, message);
        if (how === 'order added') it.signature = addOrder(it.signature);
        else if (typeof how === 'object' && 'part' in how) it[how.part] = flipped(it[how.part], how.bit);
        else if (typeof how === 'object' && 'smallKey' in how) it.publicKey = small[how.smallKey % small.length]!;
        else if (typeof how === 'object')
          it.signature = Buffer.concat([small[how.smallR % small.length]!, it.signature.subarray(32)]);
        const ours = verify(text(it.publicKey), it.message, text(it.signature));
        expect(ours).toBe(await reference(it.publicKey, it.message, it.signature));
        seen[ours ? 'good' : 'bad']++;
      },
    );
    await fc.assert(property, { numRuns: 400 });
    expect(Math.min(seen.good, seen.bad)).toBeGreaterThan(20);
  });
});

/** noble's strict branch, which multiplies by the cofactor: equal to ours exactly where A and R are of the prime order. */
async function reference(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): Promise<boolean> {
  const sound = decodes(publicKey)?.isTorsionFree() && decodes(signature.subarray(0, 32))?.isTorsionFree();
  return (
    Boolean(sound) && verifyAsync(Uint8Array.from(signature), Uint8Array.from(message), publicKey, { zip215: false })
  );
}

function decodes(bytes: Uint8Array): Point | undefined {
  try {
    return Point.fromBytes(Uint8Array.from(bytes));
  } catch {
    return undefined;
  }
}

function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[(bit >> 3) % copy.length]! ^= 1 << (bit & 7);
  return copy;
}

test('without twists the forge makes the key that noble makes of the same seed', async () => {
  const secret = new Uint8Array(32).fill(3);
  const seed = createHash('sha512').update(secret).digest();
  seed[0]! &= 248;
  seed[31] = (seed[31]! & 127) | 64;
  const a = BigInt(`0x${Buffer.from(seed.subarray(0, 32)).reverse().toString('hex')}`);
  const { publicKey } = forge(a, 99n, 0, 0, new Uint8Array([1]));
  expect(text(publicKey)).toBe(text(await getPublicKeyAsync(secret)));
});
