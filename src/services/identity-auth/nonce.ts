/**
 * Nonces that the hub need not remember: each carries its expiry and a MAC over whom and what it is for, so that any replica
 * can check it, and strangers asking for nonces use up no memory. Single use is not decided here: whoever accepts a proof
 * records its nonce in the log as the id of the command.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { bytesOfBase64url } from '../../ed25519.ts';
import { type Refusal, refuse } from '../../errors.ts';
import type { Kernel } from '../../kernel.ts';
import type { Purpose } from '../../protocol.ts';

const nonceLifetimeMs = 60_000;

/** What a nonce is bound to. */
export interface NonceScope {
  readonly nodeId: string;
  readonly purpose: Purpose;
  readonly federationId: string;
}

export interface Nonces {
  /** A fresh nonce: 72 characters of base64url. `expiresAtMs` is milliseconds since 1970. */
  issue(scope: NonceScope): { nonce: string; expiresAtMs: number };
  /** Refuses `nonce_invalid` (not issued by this federation for this scope) or `nonce_expired`. */
  check(nonce: string, scope: NonceScope): Refusal | undefined;
}

const headLength = 22; // expiry in milliseconds, 6 bytes, and 16 of chance
const macLength = 32;

/** @param secrets shared by all replicas, 32 bytes each: a nonce of one is good at another. The first makes them, all check them. */
export function createNonces(kernel: Kernel, secrets: () => readonly Uint8Array[]): Nonces {
  const macOf = (secret: Uint8Array, head: Uint8Array, { nodeId, purpose, federationId }: NonceScope) =>
    createHmac('sha256', secret)
      .update(head) // of fixed length, so that it cannot run over into the text
      .update(['federation-hub nonce v1', purpose, federationId, nodeId].join('\n'))
      .digest();
  return {
    issue(scope) {
      const expiresAtMs = Math.floor(kernel.now()) + nonceLifetimeMs;
      const head = Buffer.alloc(headLength);
      head.writeUIntBE(expiresAtMs, 0, 6);
      head.set(kernel.secretBytes(16), 6);
      return { nonce: Buffer.concat([head, macOf(secrets()[0]!, head, scope)]).toString('base64url'), expiresAtMs };
    },
    check(nonce, scope) {
      const bytes = bytesOfBase64url(nonce, headLength + macLength);
      const head = Buffer.from(bytes?.subarray(0, headLength) ?? []);
      const made = (secret: Uint8Array) => timingSafeEqual(bytes!.subarray(headLength), macOf(secret, head, scope));
      if (!bytes || !secrets().some(made)) {
        return refuse('nonce_invalid', 'The nonce was not issued here for this node and purpose');
      }
      if (head.readUIntBE(0, 6) <= kernel.now())
        return refuse('nonce_expired', 'Ask for a new challenge: the nonce has expired');
      return undefined;
    },
  };
}
