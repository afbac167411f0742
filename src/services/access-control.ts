/** Who is blocked whatever else they may, and who joins without an invite: the block list and the allow list. */
import { adminsNamed, appointIfUsable, dismissThen } from '../admins.ts';
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
  /** An administrator that is blocked counts as none until it is no longer. Refuses `last_admin`, `limit_reached`. */
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

function createAccessControl(hub: Hub): AccessControl {
  const { executor, live } = hub;
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

  /** Counts those in again that are administrators by their role, once they are not blocked any more. */
  const freed = async <Reply>(
    done: Promise<Executed<Reply> | Refusal>,
    named: () => Promise<readonly string[]>,
    about: About,
  ) => {
    const edited = await done;
    if (!isRefusal(edited)) for (const nodeId of await named()) await appointIfUsable(hub, nodeId, about);
    return edited;
  };

  return {
    blocked,
    allowed: (subject) => live.access.get(`allow/${subject}`) !== undefined,
    async block(subject, reason, about) {
      let step = () => edit(block, { subject, reason }, about);
      for (const nodeId of await adminsNamed(hub, subject)) {
        const next = step;
        step = () => dismissThen(hub, `node:${nodeId}`, about, next);
      }
      return step();
    },
    unblock: (subject, about) => freed(edit(unblock, { subject }, about), () => adminsNamed(hub, subject), about),
    allow: (subject, note, about) =>
      freed(edit(allow, { subject, note }, about), () => adminsNamed(hub, subject), about),
    disallow: (subject, about) => edit(disallow, { subject }, about),
    reset: (about) => freed(edit(reset, {}, about), async () => adminNodes(hub), about),
  };
}

function adminNodes({ live }: Hub): readonly string[] {
  return [...live.nodes.values()].filter(({ role }) => role === 'admin').map(({ node_id }) => node_id);
}
