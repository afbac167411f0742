/**
 * The port of the master key, shaped as key management services are: it wraps and unwraps small keys and is never given away. The
 * adapter here holds the key in this process.
 */
import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto';
import type { Kernel } from '../../kernel.ts';

export interface MasterKey {
  /** Names the key wherever it lies, and tells nothing of it. */
  readonly id: string;
  /** The wrapped key as text. `context` is needed to unwrap it, and is no secret. Rejects when the key cannot be used now. */
  wrap(key: Uint8Array, context: string): Promise<string>;
  /** Rejects when another master key or another context wrapped it, or it was changed. */
  unwrap(wrapped: string, context: string): Promise<Uint8Array>;
}

const nonceBytes = 12;
const tagBytes = 16;

/** A master key of 32 bytes: AES-256-GCM, `nonce ‖ ciphertext ‖ tag` in base64url. Its id is a MAC of a fixed text. */
export function localMasterKey(secret: Uint8Array, kernel: Pick<Kernel, 'secretBytes'>): MasterKey {
  const id = createHmac('sha256', secret).update('federation-hub vault key id v1').digest('base64url').slice(0, 16);
  return {
    id,
    async wrap(key, context) {
      const nonce = kernel.secretBytes(nonceBytes);
      const cipher = createCipheriv('aes-256-gcm', secret, nonce).setAAD(Buffer.from(context));
      return Buffer.concat([nonce, cipher.update(key), cipher.final(), cipher.getAuthTag()]).toString('base64url');
    },
    async unwrap(wrapped, context) {
      const bytes = Buffer.from(wrapped, 'base64url');
      const decipher = createDecipheriv('aes-256-gcm', secret, bytes.subarray(0, nonceBytes), {
        authTagLength: tagBytes,
      })
        .setAAD(Buffer.from(context))
        .setAuthTag(bytes.subarray(-tagBytes));
      return Buffer.concat([decipher.update(bytes.subarray(nonceBytes, -tagBytes)), decipher.final()]);
    },
  };
}
