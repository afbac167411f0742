/** What webhooks are signed with (Standard Webhooks): one secret an owner, for callbacks of tasks and for subscriptions alike. */
import type { Hub } from './hub.ts';

/**
 * The secret of an owner (`node:<id>`, `operator:<prefix>`), `whsec_` and 32 bytes in base64: its data key, which lies in the keyring
 * alone. Erasing the subject makes another one. Rejects with a `Fault` when the keyring cannot be reached.
 */
export async function webhookSecret({ keyring }: Pick<Hub, 'keyring'>, owner: string): Promise<string> {
  const { key } = await keyring.dataKey(webhookSubject(owner));
  return `whsec_${Buffer.from(key).toString('base64')}`;
}

/** The subject of the key in the keyring. */
export function webhookSubject(owner: string): string {
  return `webhook:${owner}`;
}
