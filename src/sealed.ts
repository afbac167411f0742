/** Content at rest: AES-256-GCM under the data key of a subject, which can be destroyed, and with it all that was sealed for that subject. */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { Sealed } from './events/sealed.ts';
import type { Kernel } from './kernel.ts';
import type { DataKey } from './keyring/data-keys.ts';
import type { Keyring } from './keyring.ts';

const nonceBytes = 12;
/** Of base64url. */
const nonceLetters = 16;
const tagBytes = 16;

/** What was sealed is not what is there now. */
export class SealBroken extends Error {
  constructor(cause: unknown) {
    super('what is sealed was changed since, and cannot be opened', { cause });
  }
}

/** What bytes are of: they cannot be passed off as another kind's. */
export type SealedKind = 'task' | 'message' | 'memory';

/** The data key of a subject, at once when it is remembered: who seals many in order does not lose the order by waiting. */
export function sealingKey({ keyring }: { readonly keyring: Keyring }, subject: string): DataKey | Promise<DataKey> {
  return keyring.rememberedKey(subject) ?? keyring.dataKey(subject);
}

interface Sealing {
  readonly kernel: Pick<Kernel, 'secretBytes'>;
  readonly keyring: Pick<Keyring, 'openTexts'>;
}

/** Seals text with a key of the subject. */
export function seal(
  kind: SealedKind,
  subject: string,
  { keyId, key }: DataKey,
  text: string,
  { kernel, keyring }: Sealing,
): Sealed {
  const nonce = Buffer.from(kernel.secretBytes(nonceBytes));
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(bound(kind, subject, keyId));
  const bytes = [nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()];
  keyring.openTexts.remember(nonce.toString('base64url'), text);
  return { subject, key_id: keyId, sealed: Buffer.concat(bytes).toString('base64url') };
}

/** The text that was sealed; undefined when its key was destroyed. Throws `SealBroken`, and a `Fault` when the keyring cannot be reached. */
export async function unseal(
  kind: SealedKind,
  { keyring }: { readonly keyring: Keyring },
  { subject, key_id, sealed }: Sealed,
): Promise<string | undefined> {
  const remembered = keyring.rememberedKey(subject);
  const found = remembered?.keyId === key_id ? remembered : await keyring.dataKeyById(subject, key_id);
  if (!found) return undefined;
  const open = keyring.openTexts.find(sealed.slice(0, nonceLetters));
  if (open !== undefined) return open;
  try {
    return opened(Buffer.from(sealed, 'base64url'), found.key, bound(kind, subject, key_id));
  } catch (error) {
    throw new SealBroken(error);
  }
}

function opened(bytes: Buffer, key: Uint8Array, about: Buffer): string {
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, nonceBytes), { authTagLength: tagBytes })
    .setAAD(about)
    .setAuthTag(bytes.subarray(-tagBytes));
  return Buffer.concat([decipher.update(bytes.subarray(nonceBytes, -tagBytes)), decipher.final()]).toString();
}

function bound(kind: SealedKind, subject: string, keyId: string): Buffer {
  return Buffer.from([`federation-hub ${kind} v1`, subject, keyId].join('\n'));
}
