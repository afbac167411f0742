/** The roster that a node goes by: the newest that the hub signed, checked, and kept over a restart. */
import { readRoster } from '../../p2p/roster.ts';
import type { HubKeys, Roster, RosterMember } from '../../protocol/p2p.ts';
import { rosterPart } from '../../protocol/p2p-peers.ts';
import type { P2pStore } from './store.ts';

export class RosterKeeper {
  readonly #store: P2pStore;
  readonly #now: () => number;
  #roster: Roster | undefined;
  #document = '';
  #members = new Map<string, RosterMember>();
  #keys: HubKeys = { keys: [] };

  constructor(store: P2pStore, now: () => number) {
    this.#store = store;
    this.#now = now;
  }

  /** What was kept, if it is still sound. */
  async open(): Promise<void> {
    const [document, keys, federation] = ['roster', 'keys', 'federation'].map((name) => this.#store.note(name));
    if (document === undefined || keys === undefined || federation === undefined) return;
    this.#keys = JSON.parse(keys) as HubKeys; // as `fromHub` wrote it
    this.#set(document, await readRoster(document, this.#keys, federation));
  }

  get newest(): Roster | undefined {
    return this.#roster;
  }

  /** The roster as it may be gone by now; undefined when there is none, or its time is over. */
  get valid(): Roster | undefined {
    return this.#roster && this.#now() < Date.parse(this.#roster.expires_at) ? this.#roster : undefined;
  }

  member(nodeId: string): RosterMember | undefined {
    return this.#members.get(nodeId);
  }

  members(): IterableIterator<RosterMember> {
    return this.#members.values();
  }

  /** What the hub said, which the program trusts. Throws for what is no roster. */
  async fromHub(document: string | null, keys: HubKeys, federation: string): Promise<void> {
    this.#keys = keys;
    this.#store.setNote('keys', JSON.stringify(keys));
    if (document === null) return;
    const roster = await readRoster(document, keys, federation);
    this.#store.setNote('federation', federation);
    this.#keep(document, roster);
  }

  /** What another node showed: it counts when the hub signed it with a key that this node knows, and it is newer. Throws. */
  async fromPeer(document: string): Promise<void> {
    if (!this.#roster) return;
    const roster = await readRoster(document, this.#keys, this.#roster.federation_id);
    if (roster.position > this.#roster.position) this.#keep(document, roster);
  }

  /** A part of the document, to be handed on. */
  part(at: number): { text: string; parts: number } {
    const parts = Math.max(1, Math.ceil(this.#document.length / rosterPart));
    return { text: this.#document.slice(at * rosterPart, (at + 1) * rosterPart), parts };
  }

  #keep(document: string, roster: Roster): void {
    this.#store.setNote('roster', document);
    this.#set(document, roster);
  }

  #set(document: string, roster: Roster): void {
    this.#document = document;
    this.#roster = roster;
    this.#members = new Map(roster.members.map((member) => [member.node_id, member]));
  }
}
