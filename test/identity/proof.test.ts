/** Nonces and proofs of possession: what is signed for one use at one place is worth nothing elsewhere. */
import { describe, expect, test } from 'vitest';
import { generateKey, type NodeKey } from '../../src/client/key-file.ts';
import { createKernel } from '../../src/kernel.ts';
import { proofText } from '../../src/protocol.ts';
import { createNonces } from '../../src/services/identity-auth/nonce.ts';
import { checkProof, type Proof } from '../../src/services/identity-auth/proof.ts';

let now = Date.parse('2026-01-01T00:00:00Z');
const kernel = createKernel({ logLevel: 'silent' }, { now: () => now });
const nonces = createNonces(kernel, () => [new Uint8Array(32).fill(1)]);
const federationId = 'fed-1';
const scope = { nodeId: 'alpha', purpose: 'register', federationId } as const;

describe('a nonce', () => {
  test('is good where it was issued for, for a minute', () => {
    const { nonce, expiresAtMs } = nonces.issue(scope);
    expect(nonce).toMatch(/^[A-Za-z0-9_-]{72}$/);
    expect(expiresAtMs).toBe(now + 60_000);
    now += 59_999;
    expect(nonces.check(nonce, scope)).toBeUndefined();
    now += 1;
    expect(nonces.check(nonce, scope)?.refused).toBe('nonce_expired');
  });

  test('is good at another replica that has the same secret, and nowhere else', () => {
    const { nonce } = nonces.issue(scope);
    expect(createNonces(kernel, () => [new Uint8Array(32).fill(1)]).check(nonce, scope)).toBeUndefined();
    expect(createNonces(kernel, () => [new Uint8Array(32).fill(2)]).check(nonce, scope)?.refused).toBe('nonce_invalid');
  });

  test('is refused for another node, purpose or federation', () => {
    const { nonce } = nonces.issue(scope);
    for (const other of [{ nodeId: 'beta' }, { purpose: 'session' as const }, { federationId: 'fed-2' }]) {
      expect(nonces.check(nonce, { ...scope, ...other })?.refused).toBe('nonce_invalid');
    }
  });

  test('is refused with any character changed, so that its life cannot be stretched', () => {
    const { nonce } = nonces.issue(scope);
    for (let at = 0; at < nonce.length; at++) {
      const changed = nonce.slice(0, at) + (nonce[at] === 'A' ? 'B' : 'A') + nonce.slice(at + 1);
      expect(nonces.check(changed, scope)?.refused).toBe('nonce_invalid');
    }
  });

  test('has one spelling only, so that it cannot be used twice by writing it differently', () => {
    let nonce = '';
    while (!/[-_]/.test(nonce)) nonce = nonces.issue(scope).nonce;
    const spellings = [
      nonce.replaceAll('-', '+').replaceAll('_', '/'),
      `${nonce}=`,
      ` ${nonce}`,
      nonce.slice(1),
      '',
      'x'.repeat(72),
    ];
    for (const other of spellings) expect(nonces.check(other, scope)?.refused).toBe('nonce_invalid');
  });

  test('is never issued twice', () => {
    const issued = Array.from({ length: 1000 }, () => nonces.issue(scope).nonce);
    expect(new Set(issued).size).toBe(1000);
  });
});

describe('a proof', () => {
  test('is taken when all it names is as it was signed', async () => {
    expect(checkProof(await prove(await generateKey()), federationId, nonces)).toBeUndefined();
  });

  test('is refused when anything it names is changed', async () => {
    const key = await generateKey();
    const proof = await prove(key);
    const other = await generateKey();
    const changed: [Partial<Proof>, string][] = [
      [{ nodeId: 'beta' }, 'nonce_invalid'],
      [{ purpose: 'session' }, 'nonce_invalid'],
      [{ nonce: nonces.issue({ ...scope, nodeId: 'beta' }).nonce }, 'nonce_invalid'],
      [{ nonce: nonces.issue(scope).nonce }, 'signature_invalid'],
      [{ profile: { ...proof.profile, owner: 'mallory' } }, 'signature_invalid'],
      [{ profile: {} }, 'signature_invalid'],
      [{ publicKey: other.publicKey }, 'signature_invalid'],
      [{ publicKey: 'A'.repeat(43) }, 'key_invalid'],
      [{ signature: 'A'.repeat(86) }, 'signature_invalid'],
      [{ signature: '' }, 'signature_invalid'],
    ];
    for (const [change, code] of changed) {
      expect(checkProof({ ...proof, ...change }, federationId, nonces)?.refused, JSON.stringify(change)).toBe(code);
    }
    expect(checkProof(proof, 'fed-2', nonces)?.refused).toBe('nonce_invalid');
  });

  test('made for another federation is refused, though its hub had the same secret', async () => {
    const key = await generateKey();
    const proof = await prove(key, 'fed-2');
    expect(checkProof({ ...proof, nonce: nonces.issue(scope).nonce }, federationId, nonces)?.refused).toBe(
      'signature_invalid',
    );
  });

  test('does not care in which order the members of the profile came', async () => {
    const proof = await prove(await generateKey());
    const { owner, capabilities, ...rest } = proof.profile;
    const profile = { ...rest, capabilities: capabilities!, owner: owner! };
    expect(checkProof({ ...proof, profile }, federationId, nonces)).toBeUndefined();
  });
});

async function prove(key: NodeKey, federation = federationId): Promise<Proof> {
  const { nonce } = nonces.issue({ ...scope, federationId: federation });
  const profile = { owner: 'ada', capabilities: ['chat', 'code'], hardware: { cpu_cores: 8, gpu: true } };
  const { nodeId, purpose } = scope;
  const text = proofText({ purpose, federationId: federation, nodeId, publicKey: key.publicKey, nonce, profile });
  const signature = Buffer.from(await key.sign(Buffer.from(text))).toString('base64url');
  return { purpose, nodeId, publicKey: key.publicKey, nonce, profile, signature };
}
