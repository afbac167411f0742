/**
 * Whether a hub would take a document at all. What it never will is not kept here, and not brought: a packet with it would be refused
 * as a whole, or end the connection, and everything else with it, at each sync anew.
 */
import { isRefusal } from '../errors.ts';
import { checker } from '../input.ts';
import type { Document } from '../protocol/knowledge.ts';
import { clientPackets } from '../protocol.ts';
import { HubRefusal } from './connection.ts';

const check = checker(clientPackets['federation:knowledge:push'].packet);
const sync_id = '00000000-0000-0000-0000-000000000000'; // of any sync
/** Of what a memory says, as JSON, as the hub counts. */
const mostBytes = 256 * 1024;

/** Why no hub takes it, as the hub would say it: `invalid_input`, `payload_too_large`; undefined when it may. */
export function flawOf({ receipt: _, ...document }: Document): HubRefusal | undefined {
  const refused = check({ sync_id, documents: [document] });
  if (isRefusal(refused)) return new HubRefusal(refused.refused, inMemory(refused.detail));
  if (Buffer.byteLength(JSON.stringify(document.content ?? null)) > mostBytes)
    return new HubRefusal('payload_too_large', `a memory has ${mostBytes} bytes at most`);
  return undefined;
}

/** Places in the packet are places in what the program gave. */
function inMemory(detail: string): string {
  return detail.replace(/^\/documents\/0(?:\/content)?(?=[/:])/, '').replace(/^:/, '/:');
}
