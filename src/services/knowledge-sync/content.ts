/** What a memory says, as it lies in the log: sealed with a key of its owner, who can have that destroyed. */
import type { SealedContent } from '../../commands/memory.ts';
import { type Refusal, refuse } from '../../errors.ts';
import type { Sealed } from '../../events/sealed.ts';
import type { Hub } from '../../hub.ts';
import { contentHash } from '../../knowledge.ts';
import type { MemoryContent } from '../../protocol/knowledge.ts';
import { seal, sealingKey, unseal } from '../../sealed.ts';

/** Of what a memory says, as JSON in UTF-8. */
const mostBytes = 256 * 1024;

/** Whose key seals the memories of an owner. */
export function keySubject(owner: string): string {
  return `memory:${owner}`;
}

/** As it goes into the log. Refuses `payload_too_large`. Throws a `Fault` when the keyring cannot be reached. */
export async function sealContent(
  { keyring, kernel }: Pick<Hub, 'keyring' | 'kernel'>,
  owner: string,
  content: MemoryContent,
): Promise<SealedContent | Refusal> {
  const text = JSON.stringify(content);
  const bytes = Buffer.byteLength(text);
  if (bytes > mostBytes) return refuse('payload_too_large', `a memory has ${mostBytes} bytes at most`);
  const subject = keySubject(owner);
  const sealed = seal('memory', subject, await sealingKey({ keyring }, subject), text, { keyring, kernel });
  return { content: sealed, content_hash: contentHash(content), bytes };
}

/** What it says; undefined once the key that sealed it was destroyed. Throws a `Fault` when the keyring cannot be reached. */
export async function openContent(hub: Pick<Hub, 'keyring'>, sealed: Sealed): Promise<MemoryContent | undefined> {
  const text = await unseal('memory', hub, sealed);
  return text === undefined ? undefined : (JSON.parse(text) as MemoryContent); // sealed by `sealContent`
}
