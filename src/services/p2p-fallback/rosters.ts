/**
 * The newest roster, at every replica: made of what its maps hold at the very place of the event that issued it. One replica, by
 * lease, issues another when the members change, when the hub has another key, and when half of its life is over.
 */
import { issue, roster, rosterStream } from '../../commands/p2p.ts';
import { isRefusal } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { type Cancel, isoTime } from '../../kernel.ts';
import type { Lease } from '../../lease.ts';
import { membersHash, signRoster } from '../../p2p/roster.ts';
import type { NewestRosterRow } from '../../projections/newest-roster.ts';
import { mostMembers, type Roster, type RosterMember } from '../../protocol/p2p.ts';

export interface Issued {
  readonly roster: Roster;
  /** A JWS in compact form. */
  readonly document: string;
}

interface Made extends Issued {
  readonly said: string;
  readonly kid: string;
}

const lookEveryMs = 1_000;
/** At most one roster in so long, and as much more for each further thousand members. */
const leastMs = 2_000;

export class Rosters {
  readonly #hub: Hub;
  readonly #lease: Lease;
  readonly #stops: Cancel[];
  #made: Made | undefined;
  #making: Promise<void> = Promise.resolve();
  /** Members may have changed since. */
  #changed = true;
  #issuing = false;
  #issuedMs = Number.NEGATIVE_INFINITY;

  constructor(hub: Hub, lease: Lease) {
    this.#hub = hub;
    this.#lease = lease;
    const { live, kernel } = hub;
    const change = () => {
      this.#changed = true;
    };
    this.#stops = [
      live.nodes.onChange(change),
      live.bans.onChange(change),
      live.access.onChange(change),
      live.newestRoster.onChange((_name, row) => row && this.#make(row)),
      kernel.every(lookEveryMs, () => void this.#look()),
    ];
    kernel.after(0, () => void this.#look());
  }

  /** Undefined before the first, or while this replica has not made it yet. */
  get newest(): Issued | undefined {
    return this.#made;
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }

  /** In the very turn in which the event is folded: the maps are where the log was just before it. */
  #make({ roster_id, issued_at, expires_at, position }: NewestRosterRow): void {
    const members = this.#members();
    if (!members) return;
    const { federationId, keyring, kernel } = this.#hub;
    const made: Roster = { federation_id: federationId, roster_id, issued_at, expires_at, position, members };
    this.#issuedMs = kernel.monotonicMs();
    this.#making = this.#making
      .then(async () => {
        const key = keyring.signingKey();
        const document = await signRoster(made, key);
        this.#made = { roster: made, document, said: membersHash(made), kid: key.kid };
      })
      .catch((error: unknown) => kernel.log.error({ err: error }, 'the roster could not be signed'));
  }

  /** Without a roster of its own any replica issues one: what its maps held at the place of an older one is gone. */
  async #look(): Promise<void> {
    if (this.#issuing || !(this.#lease.held() || !this.#made)) return;
    this.#issuing = true;
    try {
      await this.#making;
      const members = this.#isDue() ? this.#members() : undefined;
      if (members) await this.#issue(members.length);
    } catch (error) {
      this.#hub.kernel.log.warn({ err: error }, 'no roster could be issued; trying again');
    } finally {
      this.#issuing = false;
    }
  }

  #isDue(): boolean {
    const { kernel, config, keyring, live } = this.#hub;
    const restMs = leastMs * (1 + Math.floor(live.nodes.size / 1_000));
    if (kernel.monotonicMs() - this.#issuedMs < restMs) return false;
    if (!this.#made || this.#made.kid !== keyring.signingKey().kid) return true;
    if (kernel.now() >= Date.parse(this.#made.roster.expires_at) - config.rosterMs / 2) return true;
    if (!this.#changed) return false;
    this.#changed = false;
    const members = this.#members();
    this.#changed = members === undefined;
    return members !== undefined && membersHash({ members }) !== this.#made.said;
  }

  async #issue(members: number): Promise<void> {
    const { kernel, config, executor } = this.#hub;
    const roster_id = kernel.uuid();
    const now = kernel.now();
    const data = { roster_id, issued_at: isoTime(now), expires_at: isoTime(now + config.rosterMs), members };
    this.#issuedMs = kernel.monotonicMs();
    await executor.execute(rosterStream(roster_id), roster, issue, data, { actor: 'hub' });
  }

  /** Members that are neither banned nor blocked, by their names; undefined while a guard that tells is not running. */
  #members(): RosterMember[] | undefined {
    const { live, doors } = this.#hub;
    const oldest = [...live.nodes.values()].sort((a, b) => a.registered_position - b.registered_position);
    const members: RosterMember[] = [];
    for (const { node_id, public_key, role, profile } of oldest) {
      const refused = doors.judge({ kind: 'node', nodeId: node_id, sessionId: '', role });
      if (isRefusal(refused) && refused.refused === 'guard_unavailable') return undefined;
      if (refused || members.length >= mostMembers) continue;
      const p2p_url = profile.network?.p2p_url;
      members.push({ node_id, public_key, role, ...(p2p_url !== undefined && { p2p_url }) });
    }
    return members.sort((a, b) => (a.node_id < b.node_id ? -1 : 1));
  }
}
