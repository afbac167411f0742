/** Which nonces of signed requests were shown at this replica, for as long as their signatures count. */
import { type Refusal, refuse } from '../../errors.ts';
import type { Kernel } from '../../kernel.ts';

/** Remembered at once; beyond it no signed request is taken, so that none is forgotten too early. */
const mostNonces = 100_000;

export interface NonceMemory {
  /** Remembers a nonce of a key. Refuses `nonce_used` for one that is remembered, and `overloaded` when there is no room. */
  use(keyId: string, nonce: string): Refusal | undefined;
}

/** @param lifetimeMs how long each is remembered: not less than a signature may be old, clocks that differ included. */
export function createNonceMemory(kernel: Kernel, lifetimeMs: number, most = mostNonces): NonceMemory {
  /** In the order in which they came, so that those that are over stand first. */
  const used = new Map<string, number>();
  const dropOld = (now: number): void => {
    for (const [known, until] of used) {
      if (until > now) return;
      used.delete(known);
    }
  };
  return {
    use(keyId, nonce) {
      const now = kernel.monotonicMs();
      dropOld(now);
      const name = `${keyId}/${nonce}`;
      if (used.has(name)) return refuse('nonce_used', 'this nonce came before: sign again with another one');
      if (used.size >= most) return refuse('overloaded', 'too many signed requests came in the last two minutes');
      used.set(name, now + lifetimeMs);
      return undefined;
    },
  };
}
