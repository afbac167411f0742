/** Who is a member and what they share, as this replica has read it; and judges of what one receiver may have, kept while that is so. */
import { LRUCache } from 'lru-cache';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import { federation } from '../../knowledge.ts';
import { type NodeRow, regionOf } from '../../projections/nodes.ts';
import { Judge, type Party, type Policy, type Purpose, type Standing } from '../../sovereignty.ts';

const keptJudges = 1_000;
const operators: Party = { subject: federation, since: -1 };

/** As what another hub that this one is a member of stands in rules, and among holders: no node can have such a name. */
export const peerSubject = (peerId: string): string => `peer:${peerId}`;
/** What it takes is its own to say, once it is there. */
const takesAll: Policy = {
  policy_version: 0,
  shares: [],
  takes: [{ id: 'all', categories: ['*'], with: { everyone: true }, foreign: true }],
};

type LiveMembers = Pick<Hub['live'], 'nodes' | 'sovereignty'> & Partial<Pick<Hub['live'], 'peers'>>;

export class Members implements Standing {
  readonly #live: LiveMembers;
  readonly #judges = new LRUCache<string, Judge>({ max: keptJudges });
  /** What of each node counts here; others of its changes leave the judges as they are. */
  readonly #parties = new Map<string, Party>();
  readonly #listeners = new Set<(subject: string) => void>();
  readonly #stops: Cancel[];

  constructor(live: LiveMembers) {
    this.#live = live;
    for (const row of live.nodes.values()) this.#parties.set(row.node_id, partyFrom(row));
    for (const { peer_id } of live.peers?.values() ?? []) this.#peer(peer_id, true);
    this.#stops = [
      live.peers?.onChange((peerId, row) => this.#peer(peerId, row !== undefined)) ?? (() => {}),
      live.nodes.onChange((nodeId, row) => this.#changed(nodeId, row)),
      live.sovereignty.onChange((subject) => this.#tell(subject)),
    ];
  }

  party(subject: string): Party | undefined {
    return subject === federation ? operators : this.#parties.get(subject);
  }

  policy(subject: string): Policy | undefined {
    if (this.#parties.get(subject)?.peer) return takesAll;
    return this.#live.sovereignty.get(subject);
  }

  /** Everyone who may share or hold anything. */
  *subjects(): Generator<string> {
    yield federation;
    yield* this.#parties.keys();
  }

  /** Those who share anything at all. */
  sharers(): Iterable<string> {
    return [...this.#live.sovereignty.values()].filter(({ shares }) => shares.length > 0).map(({ subject }) => subject);
  }

  /** A judge for a receiver, as everything stands now; undefined for one that is no member. Ask anew each time. */
  judge(receiver: string, purpose: Purpose): Judge | undefined {
    const party = this.party(receiver);
    if (!party) return undefined;
    const key = `${purpose} ${receiver}`;
    let judge = this.#judges.get(key);
    if (judge?.receiver !== party) {
      judge = new Judge(party, purpose, this);
      this.#judges.set(key, judge);
    }
    return judge;
  }

  /** Told of each subject whose policy, role, owner or region changed, who joined or was removed. */
  onChange(listener: (subject: string) => void): Cancel {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  close(): void {
    for (const stop of this.#stops) stop();
    this.#listeners.clear();
  }

  #peer(peerId: string, joined: boolean): void {
    const subject = peerSubject(peerId);
    if (joined === this.#parties.has(subject)) return;
    if (joined) this.#parties.set(subject, { subject, since: -1, peer: true });
    else this.#parties.delete(subject);
    this.#tell(subject);
  }

  #changed(nodeId: string, row: NodeRow | undefined): void {
    const before = this.#parties.get(nodeId);
    const now = row && partyFrom(row);
    if (before?.since === now?.since && before?.stands === now?.stands) return;
    if (now) this.#parties.set(nodeId, now);
    else this.#parties.delete(nodeId);
    this.#tell(nodeId);
  }

  /** Any judge may have read what has changed. */
  #tell(subject: string): void {
    this.#judges.clear();
    for (const listener of this.#listeners) listener(subject);
  }
}

function partyFrom({ node_id, registered_position, standing_position, role, owner, profile }: NodeRow): Party {
  const about = { since: registered_position, stands: standing_position, role, owner: owner ?? undefined };
  return { subject: node_id, ...about, region: regionOf(profile) };
}
