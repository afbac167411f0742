/** Which public keys the hub takes, and the one strict rule by which it verifies what they signed. */
import { createPublicKey, verify as cryptoVerify, hash, type KeyObject } from 'node:crypto';
import { Point } from '@noble/ed25519';
import { LRUCache } from 'lru-cache';
import { type Refusal, refuse } from './errors.ts';

/** Keys that passed, ready to verify with; only accepted keys get in, so strangers cannot fill it with rubbish. */
const accepted = new LRUCache<string, KeyObject>({ max: 10_000 });

/**
 * Refuses (`key_invalid`) what is not a sound Ed25519 public key in canonical base64url: 32 bytes, canonical y, on the curve,
 * of the prime order. Keys of small order would verify signatures that no one made; keys with a part of small order
 * make verifiers disagree.
 */
export function checkKey(publicKey: string): Refusal | undefined {
  return keyObject(publicKey)
    ? undefined
    : refuse('key_invalid', 'The public key is not a sound Ed25519 key in base64url');
}

/**
 * Whether `signature` (64 bytes in canonical base64url) is good for `message` under `publicKey`.
 *
 * The rule: A sound as in `checkKey`, R canonical, S below the group order, and S·B = R + k·A without the cofactor. node:crypto
 * does this for sound keys, fifteen times faster than @noble/ed25519; a property test holds the two together.
 * False, never thrown, for anything malformed.
 */
export function verify(publicKey: string, message: Uint8Array, signature: string): boolean {
  const key = keyObject(publicKey);
  const bytes = bytesOfBase64url(signature, 64);
  return key !== undefined && bytes !== undefined && cryptoVerify(null, message, key, bytes);
}

/** Thumbprints asked for lately: each request asks for that of the node it comes from. */
const thumbprints = new LRUCache<string, string>({ max: 10_000 });

/** RFC 7638 thumbprint of the key as a JWK, base64url: the name of the key, as in the stream `key-<thumbprint>`. */
export function keyThumbprint(publicKey: string): string {
  let thumbprint = thumbprints.get(publicKey);
  if (thumbprint === undefined) {
    thumbprint = hash('sha256', `{"crv":"Ed25519","kty":"OKP","x":"${publicKey}"}`, 'base64url');
    thumbprints.set(publicKey, thumbprint);
  }
  return thumbprint;
}

/** The bytes of a base64url text without padding; undefined when it is another length or one of the other spellings. */
export function bytesOfBase64url(text: string, length: number): Uint8Array | undefined {
  const bytes = Buffer.from(text, 'base64url');
  return bytes.length === length && bytes.toString('base64url') === text ? bytes : undefined;
}

function keyObject(publicKey: string): KeyObject | undefined {
  const known = accepted.get(publicKey);
  if (known) return known;
  const bytes = bytesOfBase64url(publicKey, 32);
  if (!bytes || !isSound(bytes)) return undefined;
  const key = createPublicKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x: publicKey } });
  accepted.set(publicKey, key);
  return key;
}

function isSound(bytes: Uint8Array): boolean {
  try {
    const point = Point.fromBytes(bytes); // strict: throws for y ≥ p, for x = 0 with its sign bit set, and off the curve
    return !point.isSmallOrder() && point.isTorsionFree();
  } catch {
    return false;
  }
}
