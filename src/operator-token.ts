/** Operator tokens: `fht_<prefix>_<secret>`, shown once; see shown-once.ts. */
import type { Kernel } from './kernel.ts';
import { makeSecret, parseSecret } from './shown-once.ts';

export { sameHash } from './shown-once.ts';

/** Not secret: what is stored, listed and logged of a token. */
export interface OperatorTokenName {
  /** 8 characters of `a-z2-7`, public. */
  readonly prefix: string;
  /** SHA-256 of the whole token, hex. */
  readonly hash: string;
}

/** A new token; `token` is shown to its owner and kept nowhere. */
export function makeOperatorToken(kernel: Kernel): OperatorTokenName & { readonly token: string } {
  const { shown: token, name: prefix, hash } = makeSecret(kernel, 'fht');
  return { token, prefix, hash };
}

/** What to look a shown token up by; undefined when it has not the shape of one. */
export function parseOperatorToken(token: string): OperatorTokenName | undefined {
  const found = parseSecret('fht', token);
  return found && { prefix: found.name, hash: found.hash };
}
