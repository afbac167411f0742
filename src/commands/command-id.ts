/** How a command is known: an id from who asks, what they ask and the key they gave it. */
import { hash } from 'node:crypto';
import { v5 } from 'uuid';
import type { EventLog } from '../events/log.ts';
import type { About } from './execute.ts';

/** Namespace of the hub's command ids; any fixed UUID does. */
const namespace = '6f1f2a52-1f0e-5d39-9d2b-0c6a4b3e8d71';

/** UUIDv5. `key` is an `Idempotency-Key`, the id of a packet or a nonce; two actors with one key are two commands. */
export function commandId(actor: string, route: string, key: string): string {
  return v5(JSON.stringify([actor, route, key]), namespace);
}

/** SHA-256 of what was asked, base64url: tells the same request from another one under the same key. */
export function bodyHash(body: unknown): string {
  return hash('sha256', JSON.stringify(body) ?? '', 'base64url');
}

/** Whether a command was done before: its reply is kept, and what goes with it in other streams must not be done again. */
export async function wasDone(log: Pick<EventLog, 'findCommand'>, { command }: About): Promise<boolean> {
  return command !== undefined && (await log.findCommand(command.id)) !== undefined;
}
