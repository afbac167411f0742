/** Who is blocked whatever else they may, and who joins without an invite: the block list and the allow list. */
import {
  type AccessState,
  accessLists,
  accessStream,
  allow,
  block,
  disallow,
  reset,
  unblock,
} from '../commands/access.ts';
import type { About, Decide, Executed } from '../commands/execute.ts';
import type { Guard } from '../doors.ts';
import { isRefusal, type Refusal, refuse } from '../errors.ts';
import type { Hub } from '../hub.ts';
import { service } from './service.ts';

/** A subject is a node id, an entity id or a public key. A block on a node id or its key shuts every door to the node. */
export interface AccessControl {
  /** The reason, when this very subject is on the block list. */
  blocked(subject: string): string | undefined;
  /** Whether this very subject is on the allow list. */
  allowed(subject: string): boolean;
  /** Refuses `last_admin`, `limit_reached`. */
  block(subject: string, reason: string, about: About): Promise<Executed<{ changed: boolean }> | Refusal>;
  /** Refuses `not_found`. */
  unblock(subject: string, about: About): Promise<Executed<undefined> | Refusal>;
  /** Refuses `limit_reached`. */
  allow(subject: string, note: string | undefined, about: About): Promise<Executed<{ changed: boolean }> | Refusal>;
  /** Refuses `not_found`. */
  disallow(subject: string, about: About): Promise<Executed<undefined> | Refusal>;
  /** Empties both lists. */
  reset(about: About): Promise<Executed<{ removed: number }> | Refusal>;
}

/** How long an edit waits until this replica goes by it, milliseconds. */
const settleMs = 1_000;

export const accessControl = service({
  name: 'access-control',
  tier: 'Nexus',
  purpose: 'Block list and allow list, asked at every door and again at delivery',
  needs: {},
  async start(hub) {
    const api = createAccessControl(hub);
    const undo = hub.doors.access.fill(guardOf(hub, api));
    return { api, stop: async () => undo() };
  },
});

/** Operators are not blocked: their tokens are revoked. Two look-ups a request, no scan. */
function guardOf({ live }: Hub, { blocked }: AccessControl): Guard {
  return (identity) => {
    if (identity.kind !== 'node') return undefined;
    const key = identity.publicKey ?? live.nodes.get(identity.nodeId)?.public_key;
    const reason = blocked(identity.nodeId) ?? (key === undefined ? undefined : blocked(key));
    return reason === undefined ? undefined : refuse('access_blocked', reason);
  };
}

function createAccessControl({ executor, live }: Hub): AccessControl {
  const blocked = (subject: string) => {
    const row = live.access.get(`block/${subject}`);
    return row && (row.reason ?? '');
  };

  /** Whoever gets the answer finds this replica going by it. */
  const edit = async <Command, Reply>(decide: Decide<AccessState, Command, Reply>, command: Command, about: About) => {
    const done = await executor.execute(accessStream, accessLists, decide, command, about);
    // It is written either way: a replica whose map is late goes by it a moment later.
    if (!isRefusal(done)) await live.access.waitFor(done.position, settleMs).catch(() => {});
    return done;
  };

  return {
    blocked,
    allowed: (subject) => live.access.get(`allow/${subject}`) !== undefined,
    block: (subject, reason, about) =>
      edit(block, { subject, reason, lastAdmin: isLastAdmin(live, subject, blocked) }, about),
    unblock: (subject, about) => edit(unblock, { subject }, about),
    allow: (subject, note, about) => edit(allow, { subject, note }, about),
    disallow: (subject, about) => edit(disallow, { subject }, about),
    reset: (about) => edit(reset, {}, about),
  };
}

/**
 * Whether this subject is an administrator and all others are blocked already. By what this replica knows: two who block each
 * other in the same moment may both succeed.
 */
function isLastAdmin(
  { admins, nodes }: Hub['live'],
  subject: string,
  blocked: (subject: string) => string | undefined,
): boolean {
  let named = false;
  for (const { admin } of admins.values()) {
    const nodeId = admin.startsWith('node:') ? admin.slice('node:'.length) : undefined;
    const key = nodeId === undefined ? undefined : nodes.get(nodeId)?.public_key;
    if (nodeId !== undefined && (nodeId === subject || key === subject)) named = true;
    else if (nodeId === undefined || (blocked(nodeId) ?? (key && blocked(key))) === undefined) return false;
  }
  return named;
}
