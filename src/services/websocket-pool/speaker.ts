/** Whoever speaks in a packet that only nodes with a session may send: the dispatcher has seen to that, and to its right to act. */
import { bodyHash, commandId } from '../../commands/command-id.ts';
import type { About } from '../../commands/execute.ts';
import type { Identity } from '../../doors.ts';
import type { ClientPacketName } from '../../protocol.ts';
import type { Client } from './client.ts';

export interface Speaker {
  readonly nodeId: string;
  readonly sessionId: string;
  /** As commands name who did it. */
  readonly about: About;
  readonly identity: Identity;
}

/** Ask before waiting for anything: later, the trace of the packet is not known. */
export function speakerOf({ session, address, traceparent }: Client): Speaker {
  const { nodeId, sessionId } = session!; // see above
  const about = { actor: `node:${nodeId}`, address, ...(traceparent !== undefined && { traceparent }) };
  return { nodeId, sessionId, about, identity: { kind: 'node', nodeId, sessionId, role: 'member' } };
}

/** As `about`, and what was said before under the same key is not done again. Without a key it is a command of its own. */
export function once(about: About, name: ClientPacketName, key: string | undefined, said: object): About {
  if (key === undefined) return about;
  return { ...about, command: { id: commandId(about.actor, name, key), bodyHash: bodyHash(said) } };
}
