/**
 * Secrets that are shown once: operator tokens `fht_<name>_<secret>` and invites `fhi_<name>_<secret>`. The hub keeps the name
 * to find one by and the hash to know it by.
 */
import { hash, timingSafeEqual } from 'node:crypto';
import type { Kernel } from './kernel.ts';

/** What a secret is for; its first four characters say so. */
export type SecretKind = 'fht' | 'fhi';

/** Not secret: what is stored, listed and logged. */
export interface SecretName {
  /** 8 characters of `a-z2-7`, public. */
  readonly name: string;
  /** SHA-256 of the whole secret, hex. It has 256 bits of chance, so a fast hash is enough. */
  readonly hash: string;
}

/** A new one; `shown` goes to its owner and is kept nowhere. */
export function makeSecret(kernel: Kernel, kind: SecretKind): SecretName & { readonly shown: string } {
  const name = Array.from(kernel.secretBytes(8), (byte) => alphabet[byte % alphabet.length]).join('');
  const shown = `${kind}_${name}_${Buffer.from(kernel.secretBytes(32)).toString('base64url')}`;
  return { shown, name, hash: hashOf(shown) };
}

/** What to look a shown secret up by; undefined when it has not the shape of one of this kind. */
export function parseSecret(kind: SecretKind, shown: string): SecretName | undefined {
  const found = /^(fh[ti])_([a-z2-7]{8})_[A-Za-z0-9_-]{43}$/.exec(shown);
  return found?.[1] === kind ? { name: found[2]!, hash: hashOf(shown) } : undefined;
}

/** Whether two hashes of `SecretName` are the same, in a time that does not tell where they differ. */
export function sameHash(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

const alphabet = 'abcdefghijklmnopqrstuvwxyz234567'; // 32 letters divide 256, so that each is as likely

function hashOf(shown: string): string {
  return hash('sha256', shown);
}
