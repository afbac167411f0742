/** What a node keeps, as a sync sees it: which versions it compares, what of those that come it keeps, and what of its own it brings. */
import type { SyncDirection, SyncScope } from '../events/knowledge.ts';
import { contentHash, replaces, versionId } from '../knowledge.ts';
import type { Document } from '../protocol/knowledge.ts';
import type { HubPacket } from '../protocol.ts';
import type { KnowledgeParts } from './knowledge.ts';
import type { KeptItem, KeptVersion, KnowledgeStore } from './knowledge-store.ts';
import type { FinishedSync, SyncItem, SyncSide } from './knowledge-sync.ts';

/** Under which a store remembers where the next incremental sync begins. */
export const cursorNote = 'cursor';

/** How a sync sees what a node keeps. */
export class StoreSide implements SyncSide {
  readonly #parts: Pick<KnowledgeParts, 'self' | 'trouble'>;
  readonly #store: KnowledgeStore;
  readonly #expire: () => Promise<void>;
  readonly #inTurn: <T>(work: () => Promise<T>) => Promise<T>;
  /** Versions of the comparison under way that the hub is not known to have. */
  #local: string[] = [];

  constructor(
    parts: Pick<KnowledgeParts, 'self' | 'trouble'>,
    store: KnowledgeStore,
    expire: () => Promise<void>,
    inTurn: <T>(work: () => Promise<T>) => Promise<T>,
  ) {
    this.#parts = parts;
    this.#store = store;
    this.#expire = expire;
    this.#inTurn = inTurn;
  }

  async items(scope: SyncScope, direction: SyncDirection): Promise<SyncItem[]> {
    await this.#expire();
    return this.#inTurn(async () => {
      const items: SyncItem[] = [];
      this.#local = [];
      for (const item of await this.#store.items()) {
        // Of what the hub was never given, a sync that does not push tells it nothing.
        if (!isInScope(item, scope) || (direction === 'pull' && item.through === undefined)) continue;
        items.push({ version: item.version, clock: item.clock });
        if (item.through === undefined) this.#local.push(item.version);
      }
      return items;
    });
  }

  wanted(versions: readonly string[]): Promise<string[]> {
    return this.#inTurn(async () => {
      const there = new Set<string>();
      for (const some of inParts(versions)) for (const version of await this.#store.has(some)) there.add(version);
      return versions.filter((version) => !there.has(version));
    });
  }

  take(documents: readonly Document[], position: number): Promise<void> {
    return this.#inTurn(async () => {
      const byMemory = new Map<string, Document[]>();
      for (const document of documents) {
        if (!this.#isWhole(document)) continue;
        const others = byMemory.get(document.memory_id);
        if (others) others.push(document);
        else byMemory.set(document.memory_id, [document]);
      }
      const keep: KeptVersion[] = [];
      const drop: string[] = [];
      for (const [memoryId, came] of byMemory) {
        const kept = await this.#store.versionsOf(memoryId);
        const all = [...kept.map(({ document }) => document), ...came];
        const isOver = (one: Document) => all.some((other) => other.version !== one.version && replaces(other, one));
        for (const document of came) if (!isOver(document)) keep.push({ document, through: position });
        for (const { document } of kept) if (isOver(document)) drop.push(document.version);
      }
      await this.#store.change({ keep, drop });
    });
  }

  give(versions: readonly string[]): Promise<Document[]> {
    return this.#inTurn(async () => {
      const found = await this.#store.find(versions);
      return found.map(({ document }) => document).filter(({ author }) => author === this.#parts.self);
    });
  }

  finished({ direction, scope, cursor, position, lacked, pushed }: FinishedSync): Promise<void> {
    return this.#inTurn(async () => {
      const lacking = new Set(lacked);
      const known = this.#local.filter((version) => !lacking.has(version));
      for (const some of inParts([...known, ...pushed])) await this.#store.settle(some, position);
      if (scope.mode !== 'targeted' && direction !== 'push') await this.#store.setNote(cursorNote, String(cursor));
    });
  }

  /** Copies go, and what this node wrote of others' memories with them; that one was deleted stays known. */
  withdraw(memoryIds: readonly string[], cause: HubPacket<'federation:knowledge:withdraw'>['cause']): Promise<boolean> {
    return this.#inTurn(async () => {
      const drop: string[] = [];
      for (const memoryId of memoryIds) {
        for (const { document } of await this.#store.versionsOf(memoryId)) {
          const stays = document.owner === this.#parts.self || (cause === 'deleted' && document.deleted);
          if (!stays) drop.push(document.version);
        }
      }
      await this.#store.change({ drop });
      return true;
    });
  }

  /** Whether it says what its id is of. One whose key was destroyed says nothing any more. */
  #isWhole(document: Document): boolean {
    const { version, content, deleted, receipt: _, foreign: __, ...said } = document;
    if (!content && !deleted) return true;
    const content_hash = content ? contentHash(content) : null;
    if (versionId({ ...said, deleted, content_hash }) === version) return true;
    this.#parts.trouble(new Error(`a version of ${said.memory_id} is not what its id says: ${version}`));
    return false;
  }
}

function isInScope({ memory_id, category, tags, through }: KeptItem, scope: SyncScope): boolean {
  if (scope.mode === 'full') return true;
  if (scope.mode === 'incremental') return through === undefined || through > scope.since;
  const { categories, tags: wanted, ids, query } = scope;
  return (
    query === undefined && // the hub alone knows what is found: all of it is fetched that is not here
    (!ids || ids.includes(memory_id)) &&
    (!categories || categories.some((one) => `${category}/`.startsWith(`${one}/`))) &&
    (!wanted || tags.some((tag) => wanted.includes(tag)))
  );
}

const partVersions = 10_000;

function* inParts(versions: readonly string[]): Generator<readonly string[]> {
  for (let at = 0; at < versions.length; at += partVersions) yield versions.slice(at, at + partVersions);
}
