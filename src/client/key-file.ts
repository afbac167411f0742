/** The key of a node: made at first use, kept in a file that only its owner reads. */
import { getPublicKeyAsync, signAsync, utils } from '@noble/ed25519';
import { createPrivateFile, readPrivateFile, replacePrivateFile } from '../private-file.ts';

/** A key that can prove itself. Bring your own to keep the secret half in hardware. */
export interface NodeKey {
  /** Ed25519 public key, 32 bytes in base64url without padding. */
  readonly publicKey: string;
  /** Ed25519 signature (RFC 8032), 64 bytes. */
  sign(message: Uint8Array): Promise<Uint8Array>;
  /**
   * The secret that this key, in its X25519 form, and another X25519 key agree on (RFC 7748), 32 bytes. Only nodes that talk to
   * others without the hub need it: it opens what is sealed for them.
   */
  agree?(publicKey: Uint8Array): Promise<Uint8Array>;
}

/**
 * The key in this file, a JWK (RFC 8037). Makes the file, mode 0600, when it is not there; of two processes that do so at
 * once, both get the same key. Throws when others may read it, or when it holds something else.
 */
export async function openKeyFile(path: string): Promise<NodeKey> {
  let text = await readPrivateFile(path);
  if (text === undefined) {
    const secret = utils.randomSecretKey();
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: base64url(await getPublicKeyAsync(secret)), d: base64url(secret) };
    await createPrivateFile(path, `${JSON.stringify(jwk, null, 2)}\n`);
    text = await readPrivateFile(path);
  }
  return keyOf(text ?? '', path);
}

/** Where the key lies that is to replace the one in a file, until the hub has taken it. */
export function nextKeyFile(path: string): string {
  return `${path}.next`;
}

/** The key in a file; undefined when it is not there. Throws as `openKeyFile` does. */
export async function readKeyFile(path: string): Promise<NodeKey | undefined> {
  const text = await readPrivateFile(path);
  return text === undefined ? undefined : keyOf(text, path);
}

/** The next key becomes the key: its file takes the place of the old one. */
export function promoteNextKey(path: string): Promise<void> {
  return replacePrivateFile(nextKeyFile(path), path);
}

/** A key that lives as long as the process does. */
export function generateKey(): Promise<NodeKey> {
  return keyFrom(utils.randomSecretKey());
}

async function keyOf(text: string, path: string): Promise<NodeKey> {
  const secret = secretOf(text);
  const key = secret && (await keyFrom(secret.d));
  if (key?.publicKey !== secret?.x || !key) throw new Error(`${path} is not an Ed25519 private key as a JWK`);
  return key;
}

async function keyFrom(secret: Uint8Array): Promise<NodeKey> {
  const publicKey = base64url(await getPublicKeyAsync(secret));
  return {
    publicKey,
    sign: (message) => signAsync(message, secret),
    async agree(other) {
      const { agreeWith } = await import('../p2p/seal.ts'); // few nodes need it
      return agreeWith(secret)(other);
    },
  };
}

/** The halves of a JWK, as far as they are there; what is wrong with a secret is never quoted. */
function secretOf(text: string): { d: Uint8Array; x: string } | undefined {
  try {
    const jwk: unknown = JSON.parse(text);
    if (typeof jwk !== 'object' || jwk === null || !('crv' in jwk) || jwk.crv !== 'Ed25519') return undefined;
    if (!('d' in jwk) || typeof jwk.d !== 'string' || !('x' in jwk) || typeof jwk.x !== 'string') return undefined;
    const d = Buffer.from(jwk.d, 'base64url');
    return d.length === 32 ? { d, x: jwk.x } : undefined;
  } catch {
    return undefined;
  }
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url');
}
