/** Operator tokens: `fht_<prefix>_<secret>`, shown once; the hub keeps the prefix to find one by and the hash to know it by. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { Kernel } from './kernel.ts';

/** Not secret: what is stored, listed and logged of a token. */
export interface OperatorTokenName {
  /** 8 characters of `a-z2-7`, public. */
  readonly prefix: string;
  /** SHA-256 of the whole token, hex. The secret has 256 bits of chance, so a fast hash is enough. */
  readonly hash: string;
}

/** A new token; `token` is shown to its owner and kept nowhere. */
export function makeOperatorToken(kernel: Kernel): OperatorTokenName & { readonly token: string } {
  const prefix = Array.from(kernel.secretBytes(8), (byte) => alphabet[byte % alphabet.length]).join('');
  const token = `fht_${prefix}_${Buffer.from(kernel.secretBytes(32)).toString('base64url')}`;
  return { token, prefix, hash: hashOf(token) };
}

/** What to look a shown token up by; undefined when it has not the shape of one. */
export function parseOperatorToken(token: string): OperatorTokenName | undefined {
  const prefix = /^fht_([a-z2-7]{8})_[A-Za-z0-9_-]{43}$/.exec(token)?.[1];
  return prefix === undefined ? undefined : { prefix, hash: hashOf(token) };
}

/** Whether two hashes of `OperatorTokenName` are the same, in a time that does not tell where they differ. */
export function sameHash(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

const alphabet = 'abcdefghijklmnopqrstuvwxyz234567'; // 32 letters divide 256, so that each is as likely

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}
