/** What webhooks are signed with (Standard Webhooks): one secret an owner, for callbacks of tasks and for subscriptions alike. */
import { createHmac } from 'node:crypto';
import type { Hub } from './hub.ts';

/**
 * The secret of an owner (`node:<id>`, `operator:<prefix>`), `whsec_` and 32 bytes in base64, made from its data key, which lies in the
 * keyring alone, and of a node also from when it became a member: who takes the name of a node that was removed has another. Erasing
 * the subject makes another one. Rejects with a `Fault` when the keyring cannot be reached.
 */
export async function webhookSecret({ keyring, live }: Pick<Hub, 'keyring' | 'live'>, owner: string): Promise<string> {
  const { key } = await keyring.dataKey(webhookSubject(owner));
  const since = owner.startsWith('node:') ? live.nodes.get(owner.slice('node:'.length))?.registered_at : undefined;
  const secret = createHmac('sha256', key).update(since ?? '');
  return `whsec_${secret.digest('base64')}`;
}

/** The subject of the key in the keyring. */
export function webhookSubject(owner: string): string {
  return `webhook:${owner}`;
}
