/**
 * What one node alone may read: sealed with a key that its Ed25519 key and a key made for this once agree on. X25519 of the
 * Montgomery forms, HKDF-SHA256, AES-256-GCM.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { ed25519, x25519 } from '@noble/curves/ed25519.js';

/** The secret that this node's key and another's agree on: X25519, 32 bytes. `publicKey`: X25519, 32 bytes. */
export type Agree = (publicKey: Uint8Array) => Promise<Uint8Array>;

/** What is sealed: for whom, and in which entry. It opens nowhere else. */
export interface SealedFor {
  readonly recipient: string;
  /** Ed25519, base64url. */
  readonly publicKey: string;
  readonly entry: string;
}

const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;

/** Base64url of the public half of the key made for this, then nonce, ciphertext and tag. */
export function seal(text: string, about: SealedFor): string {
  const once = x25519.utils.randomSecretKey();
  const publicHalf = x25519.getPublicKey(once);
  const shared = x25519.getSharedSecret(once, montgomery(about.publicKey));
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv('aes-256-gcm', derive(shared, publicHalf, about), nonce).setAAD(aboutText(about));
  return Buffer.concat([publicHalf, nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]).toString(
    'base64url',
  );
}

/** What was sealed for this node. Throws when it was sealed for another, in another entry, or was changed since. */
export async function open(sealed: string, about: SealedFor, agree: Agree): Promise<string> {
  const bytes = Buffer.from(sealed, 'base64url');
  if (bytes.length < keyBytes + nonceBytes + tagBytes) throw new Error('nothing is sealed here');
  const publicHalf = bytes.subarray(0, keyBytes);
  const key = derive(await agree(publicHalf), publicHalf, about);
  const nonce = bytes.subarray(keyBytes, keyBytes + nonceBytes);
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: tagBytes })
    .setAAD(aboutText(about))
    .setAuthTag(bytes.subarray(-tagBytes));
  const body = bytes.subarray(keyBytes + nonceBytes, -tagBytes);
  return Buffer.concat([decipher.update(body), decipher.final()]).toString();
}

/** How an Ed25519 secret of 32 bytes agrees on a key. */
export function agreeWith(secret: Uint8Array): Agree {
  return async (publicKey) => x25519.getSharedSecret(ed25519.utils.toMontgomerySecret(secret), publicKey);
}

function montgomery(publicKey: string): Uint8Array {
  return ed25519.utils.toMontgomery(Buffer.from(publicKey, 'base64url'));
}

function derive(shared: Uint8Array, publicHalf: Uint8Array, about: SealedFor): Uint8Array {
  const salt = Buffer.concat([publicHalf, Buffer.from(about.publicKey, 'base64url')]);
  return new Uint8Array(hkdfSync('sha256', shared, salt, aboutText(about), 32));
}

function aboutText({ recipient, entry }: SealedFor): Buffer {
  return Buffer.from(['federation-hub p2p seal v1', recipient, entry].join('\n'));
}
