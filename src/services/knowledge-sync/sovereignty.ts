/** What nodes share and take: declared, read, and tried against what is there before it counts. */

import type { About, Executed } from '../../commands/execute.ts';
import { type Declaration, declare, sovereignty, sovereigntyStream } from '../../commands/sovereignty.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Sovereignty } from '../../events/sovereignty.ts';
import type { Hub } from '../../hub.ts';
import type { SovereigntyRow } from '../../projections/sovereignty.ts';
import type { Members } from './standing.ts';
import { type Trial, tryPolicy } from './trial.ts';

export interface SovereigntyDesk {
  /** What a subject says now; undefined: nothing. Refuses `not_found`. */
  read(subject: string): SovereigntyRow | Refusal | undefined;
  /** Puts a policy in the place of the last. In force here once it is answered. Refuses `not_found`, `invalid_input`. */
  declare(subject: string, policy: Sovereignty, about: About): Promise<Executed<{ version: number }> | Refusal>;
  /** What a policy would change. Refuses `not_found`. Throws a `Fault`. */
  try(subject: string, policy: Sovereignty): Promise<Trial | Refusal>;
}

export function createSovereignty(hub: Hub, members: Members): SovereigntyDesk {
  const { live, executor } = hub;
  const unknown = (subject: string) =>
    members.party(subject) ? undefined : refuse('not_found', `there is no node ${subject}`);
  return {
    read: (subject) => unknown(subject) ?? live.sovereignty.get(subject),
    async declare(subject, policy, about) {
      const missing = unknown(subject);
      if (missing) return missing;
      const command: Declaration = { subject, policy, inForce: live.sovereignty.get(subject) !== undefined };
      const done = await executor.execute(sovereigntyStream(subject), sovereignty, declare, command, about);
      // Else the next request here might be judged by what was said before. In time or not, it is written.
      if (!isRefusal(done)) await live.sovereignty.waitFor(done.position, 2_000).catch(() => {});
      return done;
    },
    try: async (subject, policy) => unknown(subject) ?? tryPolicy(hub, members, subject, policy),
  };
}
