/** The set that is compared with a node's: what may move to it, and of that what it wants to sync. Nothing else is fingerprinted. */
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { SyncDirection, SyncScope } from '../../events/knowledge.ts';
import type { Hub } from '../../hub.ts';
import { type Item, ItemSet } from '../../negentropy.ts';
import { ownRule } from '../../sovereignty.ts';
import { searchMemories } from './find.ts';
import { offeredTo, type Wish } from './offered.ts';
import type { Members } from './standing.ts';

export interface OfferedSet {
  readonly set: ItemSet;
  /** All of the log up to here is in it. */
  readonly position: number;
  /** Whose rules say what is in it. */
  readonly subjects: ReadonlySet<string>;
  /** When one of those rules says something else by itself, milliseconds since 1970. */
  readonly until: number;
}

/** The best matches that a sync by words is about. */
const mostFound = 1_000;

/** Why nobody can sync this. */
export function refuseScope(direction: SyncDirection, scope: SyncScope): Refusal | undefined {
  if (scope.mode !== 'targeted') return undefined;
  const { categories, tags, ids, query } = scope;
  if (!categories && !tags && !ids && query === undefined)
    return refuse('invalid_input', 'a targeted sync names categories, tags, ids or words');
  if (query !== undefined && direction !== 'pull')
    return refuse('invalid_input', 'what is found by words can only be pulled: the hub alone has an index');
  return undefined;
}

/** Makes the set for a node that is a member. Refuses `invalid_input` for words that are too many, `forbidden`. Throws a `Fault`. */
export async function offeredSet(
  hub: Pick<Hub, 'views' | 'keyring' | 'kernel' | 'live' | 'search' | 'log'>,
  members: Members,
  nodeId: string,
  scope: SyncScope,
): Promise<OfferedSet | Refusal> {
  // What the node, or whoever shares with it, said a moment ago counts: here as at any other replica.
  const head = await hub.log.head();
  await Promise.all([hub.live.nodes.waitFor(head), hub.live.sovereignty.waitFor(head)]);
  const { position } = await hub.views.read(head, async () => {});
  const wish = await wishOf(hub, members, nodeId, scope, head);
  if (isRefusal(wish)) return wish;
  const ids = new Ids();
  const subjects = new Set<string>([nodeId]);
  let until = Number.POSITIVE_INFINITY;
  for await (const page of offeredTo(hub, members, nodeId, wish)) {
    for (const { version, ms, grant } of page) {
      ids.add(ms, version);
      subjects.add(grant.subject);
      if (grant.rule === ownRule && grant.until !== undefined) until = Math.min(until, grant.until);
    }
    await hub.kernel.sleep(0); // others have their turn
  }
  if (!members.party(nodeId)) return refuse('forbidden', 'the node is no member');
  return {
    set: ItemSet.of(ids.items()),
    position,
    subjects,
    until: Math.min(until, nextLapse(members, subjects, hub)),
  };
}

async function wishOf(
  hub: Pick<Hub, 'views' | 'search' | 'kernel'>,
  members: Members,
  nodeId: string,
  scope: SyncScope,
  head: number,
): Promise<Wish | Refusal> {
  if (scope.mode === 'full') return {};
  // A cursor beyond the log is one of a log that was longer: what came since that was restored is not after it.
  if (scope.mode === 'incremental') return scope.since > head ? {} : { since: scope.since };
  const { categories, tags, ids, query } = scope;
  const wish = { categories, tags, ids };
  if (query === undefined) return wish;
  await hub.search.reached(head);
  const reader = { judge: members.judge(nodeId, 'show'), governs: false, now: hub.kernel.now() };
  const found = await searchMemories(hub, members, reader, { limit: mostFound }, query, undefined);
  if (isRefusal(found)) return found;
  const named = ids && new Set(ids);
  return { ...wish, ids: found.rows.map(({ memory_id }) => memory_id).filter((id) => !named || named.has(id)) };
}

/** When the first rule of those that count lapses. */
function nextLapse(members: Members, subjects: ReadonlySet<string>, { kernel }: Pick<Hub, 'kernel'>): number {
  let next = Number.POSITIVE_INFINITY;
  const now = kernel.now();
  for (const subject of subjects) {
    const { shares = [], takes = [] } = members.policy(subject) ?? {};
    for (const { until } of [...shares, ...takes]) {
      const lapse = until === undefined ? Number.NaN : Date.parse(until);
      if (lapse > now) next = Math.min(next, lapse);
    }
  }
  return next;
}

const idBytes = 32;

/** Ids of versions as bytes, one after the other: a hundred thousand objects would cost more than all else. */
class Ids {
  readonly #timestamps: number[] = [];
  #bytes = Buffer.alloc(1_024 * idBytes);

  add(ms: number, version: string): void {
    const at = this.#timestamps.length * idBytes;
    if (at === this.#bytes.length) this.#bytes = Buffer.concat([this.#bytes], at * 2);
    this.#bytes.write(version, at, 'hex');
    this.#timestamps.push(ms);
  }

  *items(): Generator<Item> {
    const item = { timestamp: 0, id: this.#bytes.subarray(0, idBytes) };
    for (const [at, ms] of this.#timestamps.entries()) {
      item.timestamp = ms;
      item.id = this.#bytes.subarray(at * idBytes, (at + 1) * idBytes);
      yield item; // a set copies what it is given
    }
  }
}
