/** Who an author was when a roster was made: read out of the log, which knows it whatever was changed since. */
import { LRUCache } from 'lru-cache';
import { type AccessState, accessLists, accessStream, isBlocked } from '../../commands/access.ts';
import { ban, banStream } from '../../commands/ban.ts';
import type { Aggregate, Happened } from '../../commands/execute.ts';
import { node, nodeStream } from '../../commands/node.ts';
import { type RosterState, roster, rosterStream, type Standing } from '../../commands/p2p.ts';
import { decode } from '../../events/catalog.ts';
import type { Hub } from '../../hub.ts';

const pageEvents = 1_000;

/** A roster that was issued, and where. */
export type KnownRoster = NonNullable<RosterState> & { readonly position: number };

export class Standings {
  readonly #hub: Pick<Hub, 'log'>;
  readonly #rosters = new LRUCache<string, KnownRoster>({ max: 1_000 });
  /** By author and place of the roster. */
  readonly #standings = new LRUCache<string, { readonly standing: Standing | undefined }>({ max: 10_000 });
  /** Block lists by place. */
  readonly #lists = new LRUCache<number, Promise<AccessState>>({ max: 16 });

  constructor(hub: Pick<Hub, 'log'>) {
    this.#hub = hub;
  }

  /** Undefined for one that was not issued here. Throws a `Fault`. */
  async roster(rosterId: string): Promise<KnownRoster | undefined> {
    const known = this.#rosters.get(rosterId);
    if (known) return known;
    const [issued] = await this.#hub.log.readStream(rosterStream(rosterId), 0, 1);
    const state = issued && roster.evolve(undefined, happened(issued));
    if (!issued || !state) return undefined;
    const found = { ...state, position: issued.position };
    this.#rosters.set(rosterId, found);
    return found;
  }

  /** Undefined when the roster did not name it: it was no member, or banned or blocked. Throws a `Fault`. */
  async of(nodeId: string, { position }: KnownRoster): Promise<Standing | undefined> {
    const name = `${nodeId}@${position}`;
    const known = this.#standings.get(name);
    if (known) return known.standing;
    const standing = await this.#read(nodeId, position);
    this.#standings.set(name, { standing });
    return standing;
  }

  async #read(nodeId: string, position: number): Promise<Standing | undefined> {
    const was = await this.#asOf(nodeStream(nodeId), node, position);
    if (was.membership !== 'member') return undefined;
    const { reason } = await this.#asOf(banStream(nodeId), ban, position);
    if (reason !== undefined) return undefined;
    const lists = await this.#listsAt(position);
    if (isBlocked(lists, nodeId) || isBlocked(lists, was.publicKey)) return undefined;
    return { publicKey: was.publicKey, mayAct: was.role !== 'observer' };
  }

  #listsAt(position: number): Promise<AccessState> {
    const known = this.#lists.get(position);
    if (known) return known;
    const reading = this.#asOf(accessStream, accessLists, position);
    reading.catch(() => this.#lists.delete(position));
    this.#lists.set(position, reading);
    return reading;
  }

  /** The state of a stream just before a position. */
  async #asOf<State>(stream: string, aggregate: Aggregate<State>, position: number): Promise<State> {
    let state = aggregate.initial;
    for (let from = 0; ; from += pageEvents) {
      const page = await this.#hub.log.readStream(stream, from, pageEvents);
      for (const recorded of page) {
        if (recorded.position >= position) return state;
        state = aggregate.evolve(state, happened(recorded));
      }
      if (page.length < pageEvents) return state;
    }
  }
}

function happened(recorded: Parameters<typeof decode>[0]): Happened {
  return decode(recorded);
}
