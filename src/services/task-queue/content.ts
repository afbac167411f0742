/** Payloads and results as they lie in the log: plain, or encrypted with the data key of whoever handed the task in. */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { type Refusal, refuse } from '../../errors.ts';
import type { Sealed } from '../../events/task.ts';
import type { Hub } from '../../hub.ts';

/** Of a payload or a result, as JSON. */
const mostBytes = 256 * 1024;

const nonceBytes = 12;
const tagBytes = 16;

export interface Content {
  readonly value?: unknown;
  readonly sealed?: Sealed;
}

export interface Opened {
  readonly value?: unknown;
  /** The key that sealed it was destroyed. */
  readonly erased?: true;
}

/** How it goes into the log. Refuses `payload_too_large`. `subject`: whose key seals it; undefined: it stays plain. */
export async function contentOf(
  { keyring, kernel }: Pick<Hub, 'keyring' | 'kernel'>,
  value: unknown,
  subject: string | undefined,
): Promise<Content | Refusal> {
  if (value === undefined) return {};
  const text = JSON.stringify(value);
  if (text.length > mostBytes || (text.length > mostBytes / 3 && Buffer.byteLength(text) > mostBytes)) {
    return refuse('payload_too_large', `a payload or result has ${mostBytes} bytes at most; larger ones go as a file`);
  }
  if (subject === undefined) return { value };
  const { keyId, key } = await keyring.dataKey(subject);
  const nonce = kernel.secretBytes(nonceBytes);
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(bound(subject, keyId));
  const bytes = [nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()];
  return { sealed: { subject, key_id: keyId, sealed: Buffer.concat(bytes).toString('base64url') } };
}

/** What was put in. Throws a `Fault` when the keyring cannot be reached. */
export async function openContent({ keyring }: Pick<Hub, 'keyring'>, { value, sealed }: Content): Promise<Opened> {
  if (!sealed) return value === undefined ? {} : { value };
  const { subject, key_id } = sealed;
  const found = await keyring.dataKeyById(subject, key_id);
  if (!found) return { erased: true };
  const bytes = Buffer.from(sealed.sealed, 'base64url');
  const decipher = createDecipheriv('aes-256-gcm', found.key, bytes.subarray(0, nonceBytes), {
    authTagLength: tagBytes,
  })
    .setAAD(bound(subject, key_id))
    .setAuthTag(bytes.subarray(-tagBytes));
  const text = Buffer.concat([decipher.update(bytes.subarray(nonceBytes, -tagBytes)), decipher.final()]);
  return { value: JSON.parse(text.toString()) };
}

/** What sealed bytes are bound to, so that they cannot be passed off as another subject's. */
function bound(subject: string, keyId: string): Buffer {
  return Buffer.from(['federation-hub task v1', subject, keyId].join('\n'));
}
