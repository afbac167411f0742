/** Invites: made, shown once, redeemed, taken back. */
import type { About, Executed } from '../../commands/execute.ts';
import {
  type Claim,
  claim,
  create,
  type Invited,
  invite,
  inviteInvalid,
  inviteStream,
  type NewInvite,
  release,
  revoke,
  use,
} from '../../commands/invite.ts';
import type { Candidate, Grant } from '../../doors.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import type { InviteRow } from '../../projections/invites.ts';
import { makeSecret, parseSecret, sameHash } from '../../shown-once.ts';

/** Invites that somebody could still use; beyond, none is made. Held by each replica as it reads the log. */
const mostOpen = 1_000;
const noRoom = refuse('limit_reached', `${mostOpen} invites are open; revoke some`);

/** What an administrator wants of an invite. */
export type InviteWish = Omit<NewInvite, 'inviteId' | 'hash' | 'full'>;

export interface MadeInvite {
  readonly inviteId: string;
  /** Shown once. */
  readonly invite: string;
  readonly expiresAt: string;
}

export class Invites {
  readonly #hub: Hub;

  constructor(hub: Hub) {
    this.#hub = hub;
  }

  /** Makes one. Refuses `limit_reached`, `already_done`. */
  async create(wish: InviteWish, about: About): Promise<Executed<MadeInvite> | Refusal> {
    const { shown, name: inviteId, hash } = makeSecret(this.#hub.kernel, 'fhi');
    const command = { ...wish, inviteId, hash, full: this.openCount() >= mostOpen ? noRoom : undefined };
    const made = await this.#hub.executor.execute(inviteStream(inviteId), invite, create, command, about);
    if (isRefusal(made)) return made;
    return { position: made.position, reply: { inviteId, invite: shown, expiresAt: made.reply.expiresAt } };
  }

  revoke(inviteId: string, about: About): Promise<Executed<undefined> | Refusal> {
    return this.#hub.executor.execute(inviteStream(inviteId), invite, revoke, { inviteId }, about);
  }

  /** How many somebody could still use. */
  openCount(): number {
    const now = this.#hub.kernel.now();
    let count = 0;
    for (const row of this.#hub.live.invites.values()) if (isOpen(row, now)) count++;
    return count;
  }

  /** Holds a use of the invite that a node shows, until it is settled. Refuses `invite_invalid`, whatever is wrong. */
  async redeem(shown: string, candidate: Candidate, { command: _, ...about }: About): Promise<Grant | Refusal> {
    const name = parseSecret('fhi', shown);
    const hash = name && (await this.#hashOf(name.name));
    if (!name || hash === undefined || !sameHash(name.hash, hash)) return inviteInvalid;
    const { nodeId, publicKey, thumbprint } = candidate;
    const command: Claim = { inviteId: name.name, nodeId, publicKey, thumbprint };
    const { executor } = this.#hub;
    const claimed = await executor.execute(inviteStream(name.name), invite, claim, command, about);
    if (isRefusal(claimed)) return claimed;
    return {
      role: claimed.reply.role,
      admission: { by: 'invite', invite_id: name.name },
      settle: (admitted) => this.settle(command, admitted, about),
    };
  }

  /** What was held is used, or free again. Doing it twice is harmless. */
  async settle(command: Omit<Claim, 'publicKey'>, admitted: boolean, about: About): Promise<void> {
    const decide = admitted ? use : release;
    await this.#hub.executor.execute(inviteStream(command.inviteId), invite, decide, command, about);
  }

  /** From the map in memory; from the log for one that was made just now at another replica. It never changes. */
  async #hashOf(inviteId: string): Promise<string | undefined> {
    const row = this.#hub.live.invites.get(inviteId);
    if (row) return row.hash;
    const state: Invited | undefined = await this.#hub.executor.state(inviteStream(inviteId), invite);
    return state?.hash;
  }
}

function isOpen(row: InviteRow, now: number): boolean {
  return row.revoked_at === null && Date.parse(row.expires_at) > now && row.used_by.length < row.uses;
}
