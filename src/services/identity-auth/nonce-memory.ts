/** Which nonces of signed requests were shown at this replica, for as long as their signatures count. */
import { type Refusal, refuse } from '../../errors.ts';
import type { Kernel } from '../../kernel.ts';

/** Remembered at once; beyond it no signed request is taken, so that none is forgotten too early. */
const mostNonces = 100_000;
/** Of one key: nobody fills the memory for all. */
const mostOfKey = 10_000;

export interface NonceMemory {
  /** Remembers a nonce of a key. Refuses `nonce_used` for one that is remembered, and `overloaded` when there is no room. */
  use(keyId: string, nonce: string): Refusal | undefined;
}

/** @param lifetimeMs how long each is remembered: not less than a signature may be old, clocks that differ included. */
export function createNonceMemory(kernel: Kernel, lifetimeMs: number, most = mostNonces): NonceMemory {
  /** In the order in which they came, so that those that are over stand first. */
  const used = new Map<string, { readonly keyId: string; readonly until: number }>();
  const counts = new Map<string, number>();
  const dropOld = (now: number): void => {
    for (const [known, { keyId, until }] of used) {
      if (until > now) return;
      used.delete(known);
      const left = counts.get(keyId)! - 1; // it was counted when it was remembered
      if (left > 0) counts.set(keyId, left);
      else counts.delete(keyId);
    }
  };
  return {
    use(keyId, nonce) {
      const now = kernel.monotonicMs();
      dropOld(now);
      const name = `${keyId}/${nonce}`;
      if (used.has(name)) return refuse('nonce_used', 'this nonce came before: sign again with another one');
      const count = counts.get(keyId) ?? 0;
      if (used.size >= most || count >= mostOfKey)
        return refuse('overloaded', 'too many signed requests came in the last two minutes');
      used.set(name, { keyId, until: now + lifetimeMs });
      counts.set(keyId, count + 1);
      return undefined;
    },
  };
}
