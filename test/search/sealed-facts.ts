/** Facts with sealed words, as the hub writes them. */
import type { DomainEvent } from '../../src/events/catalog.ts';
import type { Keyring } from '../../src/keyring.ts';
import { seal, sealingKey } from '../../src/sealed.ts';
import { kernel } from '../projections/backends.ts';

const longAfter = '2999-01-01T00:00:00.000Z';

export async function sent(
  keyring: Keyring,
  { id, to = 'ada', from = 'bob', content, expires_at = longAfter }: Sent,
): Promise<DomainEvent> {
  const subject = `mail:node:${to}`;
  const text = JSON.stringify(content);
  return {
    type: 'message.sent',
    data: {
      message_id: messageId(id),
      from: `node:${from}`,
      to: { node: to },
      box: `node:${to}`,
      content: seal('message', subject, await sealingKey({ keyring }, subject), text, { keyring, kernel }),
      bytes: Buffer.byteLength(text),
      expires_at,
    },
  };
}

/** A message that a test calls by a name of six letters at most has this id; and back. */
const messageId = (name: string): string => `00000000-0000-4000-8000-${Buffer.from(name.padEnd(6)).toString('hex')}`;
export const nameOf = (id: string): string => Buffer.from(id.slice(24), 'hex').toString().trim();

interface Sent {
  readonly id: string;
  readonly to?: string;
  readonly from?: string;
  readonly content: unknown;
  readonly expires_at?: string;
}

interface Stored {
  readonly id: string;
  readonly owner?: string;
  readonly content?: unknown;
  readonly title?: string;
  readonly category?: string;
  readonly tags?: string[];
  /** Higher is later. */
  readonly clock?: number;
}

export async function stored(keyring: Keyring, about: Stored): Promise<DomainEvent> {
  const { owner = 'ada', content = 'nothing', title } = about;
  const subject = `memory:node:${owner}`;
  const text = JSON.stringify({ ...(title !== undefined && { title }), content });
  return {
    type: 'memory.stored',
    data: {
      ...versionOf(about),
      content: seal('memory', subject, await sealingKey({ keyring }, subject), text, { keyring, kernel }),
      content_hash: '0'.repeat(64),
      bytes: Buffer.byteLength(text),
    },
  };
}

export function deleted(about: Stored): DomainEvent {
  return { type: 'memory.deleted', data: versionOf(about) };
}

let versions = 0;

function versionOf({ id, owner = 'ada', category = 'notes', tags = [], clock = 1 }: Stored) {
  return {
    memory_id: id,
    version: (versions++).toString(16).padStart(64, '0'),
    clock: `${String(clock).padStart(15, '0')}-000000-${owner}`,
    owner: `node:${owner}`,
    author: `node:${owner}`,
    category,
    tags,
    seen: {},
  };
}
