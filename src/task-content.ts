/** Payloads and results of tasks as they lie in the log: plain, or encrypted with the data key of whoever handed the task in. */
import { type Refusal, refuse } from './errors.ts';
import type { Sealed } from './events/sealed.ts';
import type { Hub } from './hub.ts';
import { seal, sealingKey, unseal } from './sealed.ts';

/** Of a payload or a result, as JSON. */
const mostBytes = 256 * 1024;

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
  return { sealed: seal('task', subject, await sealingKey({ keyring }, subject), text, { keyring, kernel }) };
}

/** What was put in. Throws a `Fault` when the keyring cannot be reached. */
export async function openContent({ keyring }: Pick<Hub, 'keyring'>, { value, sealed }: Content): Promise<Opened> {
  if (!sealed) return value === undefined ? {} : { value };
  const text = await unseal('task', { keyring }, sealed);
  return text === undefined ? { erased: true } : { value: JSON.parse(text) };
}
