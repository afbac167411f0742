/** Memories as they are read: one with its versions, or many by their words, each only as far as whoever asks may see. */
import type { Identity } from '../../doors.ts';
import { isRefusal, type Refusal } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { findMemory } from '../../projections/memories.ts';
import type { MemoryFilter } from '../../projections/memory-queries.ts';
import type { Answer } from '../../projections/views.ts';
import type { SearchCursor } from '../../search.ts';
import { listMemories, searchMemories } from './find.ts';
import {
  readerOf,
  type ShownMemory,
  type ShownVersion,
  showListed,
  showMemory,
  showOneVersion,
  showVersions,
  type WrittenVersion,
} from './shown.ts';
import type { Members } from './standing.ts';

export interface Reading {
  /** A memory by its versions that none replaces, or by the one that is named; undefined when there is none that whoever asks may see. */
  one(
    memoryId: string,
    by: Identity,
    asked: { minPosition: number | undefined; version?: string | undefined },
  ): Promise<Answer<(ShownMemory & { concurrent: ShownVersion[] }) | undefined>>;
  /** All its versions, the newest first, before a clock ('' for all); undefined as for `one`. */
  versions(
    memoryId: string,
    by: Identity,
    page: { minPosition: number | undefined; before: string; limit: number },
  ): Promise<Answer<WrittenVersion[] | undefined>>;
  /** The last changed first, before a position. */
  list(
    filter: MemoryFilter,
    by: Identity,
    page: { minPosition: number | undefined; before: number; limit: number },
  ): Promise<Answer<{ memories: ShownMemory[]; next: number | undefined }>>;
  /** The best first. Refuses `invalid_input` for words that are too many. Throws a `Fault` while index or views cannot be read. */
  search(
    words: string,
    filter: MemoryFilter,
    by: Identity,
    page: { minPosition: number | undefined; after: SearchCursor | undefined; limit: number },
  ): Promise<Answer<{ memories: ShownMemory[]; next: SearchCursor | undefined }> | Refusal>;
}

type Ground = Pick<Hub, 'views' | 'search' | 'keyring' | 'kernel'> & {
  readonly live: Pick<Hub['live'], 'nodes' | 'sovereignty'>;
};

export function createReading(hub: Ground, members: Members): Reading {
  const { live } = hub;
  const reader = (by: Identity) => readerOf(members, by, hub.kernel.now());
  /** The rules as well are those of this position: they are in memory, which follows the log by itself. */
  const read = async <T>(minPosition: number | undefined, query: (db: Hub['views']['db']) => Promise<T>) => {
    const rules = [live.nodes, live.sovereignty].map((map) => map.waitFor(minPosition ?? 0, 2_000));
    const late = await Promise.all(rules).then(
      () => false,
      () => true,
    );
    const answer = await hub.views.read(minPosition, query);
    return { ...answer, stale: answer.stale || late };
  };
  return {
    one: (memoryId, by, { minPosition, version }) =>
      read(minPosition, async (db) => {
        const row = await findMemory(db, memoryId);
        if (!row) return undefined;
        return version === undefined ? showMemory(hub, reader(by), row) : showOneVersion(hub, reader(by), row, version);
      }),
    versions: (memoryId, by, { minPosition, before, limit }) =>
      read(minPosition, async (db) => {
        const row = await findMemory(db, memoryId);
        const versions = row ? await showVersions(hub, reader(by), row, before, limit) : [];
        return versions.length > 0 || before !== '' ? versions : undefined;
      }),
    list: (filter, by, { minPosition, before, limit }) =>
      read(minPosition, async () => {
        const { rows, next } = await listMemories(hub, members, reader(by), { ...filter, limit }, before);
        return { memories: await showListed(hub, rows), next };
      }),
    async search(words, filter, by, { minPosition, after, limit }) {
      const reached = minPosition === undefined || (await hub.search.reached(minPosition));
      const answer = await read(minPosition, async () => {
        const found = await searchMemories(hub, members, reader(by), { ...filter, limit }, words, after);
        if (isRefusal(found)) return found;
        return { memories: await showListed(hub, found.rows), next: found.next };
      });
      const { value, position, stale } = answer;
      if (isRefusal(value)) return value;
      return {
        value,
        position: Math.min(position, Math.max(hub.search.position, minPosition ?? 0)),
        stale: stale || !reached,
      };
    },
  };
}
