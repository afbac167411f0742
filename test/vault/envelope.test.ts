/** Seals of versions, and wrapped keys: what was put in comes out, and nothing that was changed or is another's does. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createKernel } from '../../src/kernel.ts';
import { openValue, type Sealing, type SecretValue, sealValue } from '../../src/services/secrets-vault/envelope.ts';
import { localMasterKey } from '../../src/services/secrets-vault/master-key.ts';

const kernel = createKernel({ logLevel: 'silent' });
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const value: fc.Arbitrary<SecretValue> = fc.record({
  encoding: fc.constantFrom('text' as const, 'base64' as const),
  bytes: fc.uint8Array({ minLength: 1, maxLength: 2_000 }),
});
const about: fc.Arbitrary<Sealing> = fc.record({
  federationId: fc.constantFrom('f', 'g'),
  secretId: fc.constantFrom('ada:s', 'ada:t', '@federation:s'),
  version: fc.integer({ min: 1, max: 3 }),
  keyId: fc.constantFrom('k', 'l'),
});

describe('a sealed version', () => {
  test('opens to the same value', () => {
    fc.assert(
      fc.property(bytes(32), bytes(12), about, value, (key, nonce, what, given) => {
        const opened = openValue(key, sealValue(key, nonce, what, given), what);
        expect(opened.encoding).toBe(given.encoding);
        expect(Buffer.from(opened.bytes)).toEqual(Buffer.from(given.bytes));
      }),
    );
  });

  test('does not open when any bit of it was turned', () => {
    fc.assert(
      fc.property(bytes(32), bytes(12), about, value, fc.nat(), (key, nonce, what, given, at) => {
        const sealed = Buffer.from(sealValue(key, nonce, what, given), 'base64url');
        const bit = at % (sealed.length * 8);
        sealed[bit >> 3]! ^= 1 << (bit & 7);
        expect(() => openValue(key, sealed.toString('base64url'), what)).toThrow();
      }),
    );
  });

  test('does not open cut short', () => {
    fc.assert(
      fc.property(bytes(32), bytes(12), about, value, fc.nat(), (key, nonce, what, given, at) => {
        const sealed = sealValue(key, nonce, what, given);
        expect(() => openValue(key, sealed.slice(0, at % sealed.length), what)).toThrow();
      }),
    );
  });

  test('does not open as another secret, version, key or federation, or with another key', () => {
    fc.assert(
      fc.property(bytes(32), bytes(32), bytes(12), about, about, value, (key, other, nonce, what, wrong, given) => {
        fc.pre(JSON.stringify(what) !== JSON.stringify(wrong) && !Buffer.from(key).equals(Buffer.from(other)));
        const sealed = sealValue(key, nonce, what, given);
        expect(() => openValue(key, sealed, wrong)).toThrow();
        expect(() => openValue(other, sealed, what)).toThrow();
      }),
    );
  });

  test('does not tell how long a short value is', () => {
    const length = (text: string) =>
      sealValue(
        new Uint8Array(32),
        new Uint8Array(12),
        { federationId: 'f', secretId: 'a:s', version: 1, keyId: 'k' },
        { encoding: 'text', bytes: Buffer.from(text) },
      ).length;
    expect(length('x')).toBe(length('x'.repeat(251)));
    expect(length('x'.repeat(252))).toBeGreaterThan(length('x'));
  });
});

describe('a wrapped key', () => {
  test('unwraps to the same key under the same context, and under no other key, context or bits', async () => {
    await fc.assert(
      fc.asyncProperty(
        bytes(32),
        bytes(32),
        bytes(32),
        fc.string(),
        fc.string(),
        fc.nat(),
        async (secret, other, key, context, wrong, at) => {
          fc.pre(context !== wrong && !Buffer.from(secret).equals(Buffer.from(other)));
          const master = localMasterKey(secret, kernel);
          const wrapped = await master.wrap(key, context);
          expect(Buffer.from(await master.unwrap(wrapped, context))).toEqual(Buffer.from(key));
          await expect(master.unwrap(wrapped, wrong)).rejects.toThrow();
          await expect(localMasterKey(other, kernel).unwrap(wrapped, context)).rejects.toThrow();
          const turned = Buffer.from(wrapped, 'base64url');
          const bit = at % (turned.length * 8);
          turned[bit >> 3]! ^= 1 << (bit & 7);
          await expect(master.unwrap(turned.toString('base64url'), context)).rejects.toThrow();
        },
      ),
    );
  });

  test('names its master key without telling it, alike wherever it lies', () => {
    const secret = kernel.secretBytes(32);
    const { id } = localMasterKey(secret, kernel);
    expect(localMasterKey(Uint8Array.from(secret), kernel).id).toBe(id);
    expect(localMasterKey(kernel.secretBytes(32), kernel).id).not.toBe(id);
    expect(id).toMatch(/^[A-Za-z0-9_-]{16}$/);
  });
});
