/**
 * The envelope of one version: AES-256-GCM under a key of its own. The seal is bound to the federation, the secret, the version and the
 * key, so that none can be passed off as another. Values are padded: the length of a short one is not told.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';

/** What a seal is of. */
export interface Sealing {
  readonly federationId: string;
  readonly secretId: string;
  readonly version: number;
  readonly keyId: string;
}

/** A value as it was given: text, or bytes in base64. */
export interface SecretValue {
  readonly encoding: 'text' | 'base64';
  readonly bytes: Uint8Array;
}

export const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;
/** Encoding, and length of the value. */
const headBytes = 5;
/** What is sealed is as long as a multiple of this. */
const blockBytes = 256;

/** `nonce ‖ ciphertext ‖ tag` in base64url. `nonce`: 12 bytes that were never used with this key. */
export function sealValue(key: Uint8Array, nonce: Uint8Array, about: Sealing, value: SecretValue): string {
  const framed = Buffer.alloc(Math.ceil((headBytes + value.bytes.length) / blockBytes) * blockBytes);
  framed.writeUInt8(value.encoding === 'text' ? 0 : 1, 0);
  framed.writeUInt32BE(value.bytes.length, 1);
  framed.set(value.bytes, headBytes);
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(bound(about));
  const sealed = Buffer.concat([nonce, cipher.update(framed), cipher.final(), cipher.getAuthTag()]);
  framed.fill(0);
  return sealed.toString('base64url');
}

/** Throws when it was changed, or is of another secret, version, key or federation. */
export function openValue(key: Uint8Array, sealed: string, about: Sealing): SecretValue {
  const bytes = Buffer.from(sealed, 'base64url');
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, nonceBytes), { authTagLength: tagBytes })
    .setAAD(bound(about))
    .setAuthTag(bytes.subarray(-tagBytes));
  const framed = Buffer.concat([decipher.update(bytes.subarray(nonceBytes, -tagBytes)), decipher.final()]);
  const value = framed.subarray(headBytes, headBytes + framed.readUInt32BE(1));
  return { encoding: framed.readUInt8(0) === 0 ? 'text' : 'base64', bytes: value };
}

/** None of these holds a line end. */
function bound({ federationId, secretId, version, keyId }: Sealing): Buffer {
  return Buffer.from(['federation-hub secret v1', federationId, secretId, version, keyId].join('\n'));
}
