/** Where a node keeps what it knows. A store is simple on purpose: what replaces what, and who may have it, is seen to by `Knowledge`. */
import type { Document } from '../protocol/knowledge.ts';

type Awaitable<T> = T | Promise<T>;

/** A version that is kept. */
export interface KeptVersion {
  readonly document: Document;
  /** Position of the hub's log by which the hub had it; undefined: nobody but this node is known to have it. */
  readonly through?: number | undefined;
}

/** A kept version without what it says. */
export interface KeptItem {
  readonly memory_id: string;
  readonly version: string;
  readonly clock: string;
  readonly author: string;
  readonly category: string;
  readonly tags: readonly string[];
  readonly through?: number | undefined;
  /** Until when it may be kept; milliseconds since 1970. */
  readonly until?: number | undefined;
}

/** Calls come one after another. Only versions that none replaces are in it. */
export interface KnowledgeStore {
  /** The versions of a memory, in no order. */
  versionsOf(memoryId: string): Awaitable<readonly KeptVersion[]>;
  /** Versions by their ids; those that are not there are left out. */
  find(versions: readonly string[]): Awaitable<readonly KeptVersion[]>;
  /** Which of these versions are there. */
  has(versions: readonly string[]): Awaitable<readonly string[]>;
  /** All of them. Not changed while it is read. */
  items(): Awaitable<Iterable<KeptItem>>;
  /** Drops and keeps versions, all of it or nothing. */
  change(change: { readonly keep?: readonly KeptVersion[]; readonly drop?: readonly string[] }): Awaitable<void>;
  /** The hub is known to have these by a position. Those that are not there are passed over. */
  settle(versions: readonly string[], through: number): Awaitable<void>;
  /** Something small to remember under a name. */
  note(name: string): Awaitable<string | undefined>;
  setNote(name: string, value: string): Awaitable<void>;
}

/** Until when the rule that let a version come lets it be kept; undefined: without end. Milliseconds since 1970. */
export function endOf({ receipt, foreign }: Document): number | undefined {
  const ends = [receipt?.until, foreign?.until].flatMap((until) => (until === undefined ? [] : [Date.parse(until)]));
  return ends.length === 0 ? undefined : Math.min(...ends);
}

export function itemOf({ document, through }: KeptVersion): KeptItem {
  const { memory_id, version, clock, author, category, tags } = document;
  return { memory_id, version, clock, author, category, tags, through, until: endOf(document) };
}

/** Keeps it as long as the process lives. */
export class MemoryKnowledgeStore implements KnowledgeStore {
  readonly #versions = new Map<string, KeptVersion>();
  readonly #items = new Map<string, KeptItem>();
  readonly #ofMemory = new Map<string, Set<string>>();
  readonly #notes = new Map<string, string>();

  versionsOf(memoryId: string): KeptVersion[] {
    return this.find([...(this.#ofMemory.get(memoryId) ?? [])]);
  }

  find(versions: readonly string[]): KeptVersion[] {
    return versions.flatMap((version) => this.#versions.get(version) ?? []);
  }

  has(versions: readonly string[]): string[] {
    return versions.filter((version) => this.#versions.has(version));
  }

  items(): Iterable<KeptItem> {
    return this.#items.values();
  }

  change({ keep = [], drop = [] }: Parameters<KnowledgeStore['change']>[0]): void {
    for (const version of drop) {
      const memoryId = this.#versions.get(version)?.document.memory_id;
      if (memoryId === undefined) continue;
      this.#versions.delete(version);
      this.#items.delete(version);
      const others = this.#ofMemory.get(memoryId);
      others?.delete(version);
      if (others?.size === 0) this.#ofMemory.delete(memoryId);
    }
    for (const kept of keep) {
      const { version, memory_id } = kept.document;
      this.#set(kept);
      const others = this.#ofMemory.get(memory_id) ?? new Set();
      this.#ofMemory.set(memory_id, others.add(version));
    }
  }

  settle(versions: readonly string[], through: number): void {
    for (const version of versions) {
      const kept = this.#versions.get(version);
      if (kept) this.#set({ ...kept, through });
    }
  }

  #set(kept: KeptVersion): void {
    this.#versions.set(kept.document.version, kept);
    this.#items.set(kept.document.version, itemOf(kept));
  }

  note(name: string): string | undefined {
    return this.#notes.get(name);
  }

  setNote(name: string, value: string): void {
    this.#notes.set(name, value);
  }
}
