/**
 * What a node knows: memories that it writes and changes also while it is offline, and that a sync brings to the same state as those at
 * the hub, each way only as far as the rules let it.
 */
import { randomUUID } from 'node:crypto';
import type { SyncScope } from '../events/knowledge.ts';
import { contentHash, nextClock, replaces, versionId } from '../knowledge.ts';
import type { Document, MemoryContent } from '../protocol/knowledge.ts';
import { wallClock } from './clock.ts';
import { HubRefusal } from './connection.ts';
import { flawOf } from './document-check.ts';
import { cursorNote, StoreSide } from './knowledge-side.ts';
import { endOf, type KeptItem, type KeptVersion, type KnowledgeStore } from './knowledge-store.ts';
import type { SyncOptions, SyncResult, SyncSide } from './knowledge-sync.ts';

/** A version of a memory, as a program sees it. */
export interface KnownVersion extends Partial<MemoryContent> {
  readonly version: string;
  readonly clock: string;
  readonly author: string;
  readonly category: string;
  readonly tags: readonly string[];
  readonly deleted: boolean;
}

/** A memory by the version with the highest clock, and those that did not know of it. */
export interface KnownMemory extends KnownVersion {
  readonly memoryId: string;
  readonly owner: string;
  readonly concurrent: readonly KnownVersion[];
  /** Of one that came: what let it come. */
  readonly receipt: Document['receipt'];
  /** The hub has this version, as far as is known. */
  readonly synced: boolean;
}

/** A memory as its author writes it. */
export interface MemoryToWrite extends MemoryContent {
  /** Unsaid: a new one under a name made here. */
  readonly memoryId?: string;
  readonly category: string;
  readonly tags?: readonly string[];
  /** The version that this one was written from. */
  readonly basedOn?: string;
}

export interface WrittenMemory {
  readonly memoryId: string;
  readonly version: string;
  readonly clock: string;
}

export interface KnowledgeSyncOptions extends Omit<SyncOptions, 'scope'> {
  /**
   * Default: everything. `incremental` without `since`: what changed since the last sync that was about everything, or everything when
   * there was none.
   */
  readonly scope?: SyncScope | { readonly mode: 'incremental' };
}

/** What knowledge needs of its node. */
export interface KnowledgeParts {
  /** `node:<id>`. */
  readonly self: string;
  /** Runs a sync of this side. */
  sync(side: SyncSide, options: SyncOptions): Promise<SyncResult>;
  /** Something went wrong and cannot be told to anyone who asked. */
  trouble(error: Error): void;
  /** Copies whose time was over were let go of. */
  letGo(memoryIds: readonly string[]): void;
}

export class Knowledge {
  readonly #parts: KnowledgeParts;
  readonly #store: KnowledgeStore;
  /** Calls of the store come one after another. */
  #turn: Promise<unknown> = Promise.resolve();
  /** How a sync sees what is kept here. */
  readonly side: SyncSide;

  constructor(parts: KnowledgeParts, store: KnowledgeStore) {
    this.#parts = parts;
    this.#store = store;
    this.side = new StoreSide(
      parts,
      store,
      () => this.expire(),
      (work) => this.#inTurn(work),
    );
  }

  /**
   * Writes a memory, or with `memoryId` a new version of one, which replaces those that are known here, or only `basedOn` and what that
   * had replaced. Of another's memory it changes what it says, where a rule lets it. Throws `HubRefusal` as the hub would.
   */
  put({ memoryId, category, tags = [], basedOn, ...content }: MemoryToWrite): Promise<WrittenMemory> {
    return this.#inTurn(async () => {
      const id = memoryId ?? randomUUID();
      const kept = await this.#store.versionsOf(id);
      const heads = kept.map(({ document }) => document);
      const owner = heads[0]?.owner ?? this.#parts.self;
      const bases = basedOn === undefined ? heads : heads.filter(({ version }) => version === basedOn);
      if (basedOn !== undefined && bases.length === 0)
        throw new HubRefusal('conflict', `${basedOn} is none of the last versions`);
      if (owner !== this.#parts.self) this.#checkEdit(id, bases, { category, tags: [...tags] });
      return this.#write(id, owner, heads, bases, { category, tags: [...tags], content });
    });
  }

  /** Says that a memory of this node's own is no more. Throws `HubRefusal`. */
  delete(memoryId: string): Promise<WrittenMemory> {
    return this.#inTurn(async () => {
      const kept = await this.#store.versionsOf(memoryId);
      const heads = byClock(kept).map(({ document }) => document);
      const [shown] = heads;
      if (!shown || heads.every(({ deleted }) => deleted)) throw unknown(memoryId);
      if (shown.owner !== this.#parts.self) throw new HubRefusal('sovereignty_refused', 'only the owner deletes');
      const { category, tags } = shown;
      return this.#write(memoryId, shown.owner, heads, heads, { category, tags, content: undefined });
    });
  }

  /** Undefined for one that is not known here, or was deleted. */
  get(memoryId: string): Promise<KnownMemory | undefined> {
    return this.#inTurn(async () => known(await this.#store.versionsOf(memoryId)));
  }

  /** Ids of all memories that are there, in no order; of a category with all below it, of a tag. */
  list({ category, tag }: { readonly category?: string; readonly tag?: string } = {}): Promise<string[]> {
    return this.#inTurn(async () => {
      const ids = new Set<string>();
      for (const item of await this.#store.items()) {
        const fits = category === undefined || `${item.category}/`.startsWith(`${category}/`);
        if (fits && (tag === undefined || item.tags.includes(tag))) ids.add(item.memory_id);
      }
      const there: string[] = [];
      for (const id of ids) if (known(await this.#store.versionsOf(id))) there.push(id);
      return there;
    });
  }

  /**
   * Brings this store and the hub to the same state, as far as the rules let it. Goes on over reconnects. Throws `HubRefusal`,
   * `HubUnreachable` when the node is closed, and the reason of `signal`.
   */
  async sync({ scope = { mode: 'full' }, ...options }: KnowledgeSyncOptions = {}): Promise<SyncResult> {
    return this.#parts.sync(this.side, { ...options, scope: await this.#scopeOf(scope) });
  }

  /** Lets go of copies whose time is over. */
  async expire(): Promise<void> {
    const now = wallClock();
    const gone = await this.#inTurn(async () => {
      const over: KeptItem[] = [];
      for (const item of await this.#store.items()) if (item.until !== undefined && item.until <= now) over.push(item);
      if (over.length > 0) await this.#store.change({ drop: over.map(({ version }) => version) });
      return [...new Set(over.map(({ memory_id }) => memory_id))];
    });
    if (gone.length > 0) this.#parts.letGo(gone);
  }

  async #scopeOf(scope: SyncScope | { readonly mode: 'incremental' }): Promise<SyncScope> {
    if (scope.mode !== 'incremental' || 'since' in scope) return scope as SyncScope; // it says since when
    const cursor = await this.#inTurn(async () => this.#store.note(cursorNote));
    return cursor === undefined ? { mode: 'full' } : { mode: 'incremental', since: Number(cursor) };
  }

  #checkEdit(memoryId: string, bases: readonly Document[], said: Pick<Document, 'category' | 'tags'>): void {
    const mine = ({ author, receipt }: Document) => receipt?.edit === true || author === this.#parts.self;
    if (!bases.some(({ deleted }) => !deleted)) throw unknown(memoryId);
    if (!bases.some(mine)) throw new HubRefusal('sovereignty_refused', `no rule lets you change ${memoryId}`);
    const same = bases.some(
      ({ category, tags }) =>
        category === said.category && tags.length === said.tags.length && tags.every((tag) => said.tags.includes(tag)),
    );
    if (!same) throw new HubRefusal('sovereignty_refused', 'only the owner changes category and tags');
  }

  async #write(
    memoryId: string,
    owner: string,
    heads: readonly Document[],
    bases: readonly Document[],
    { category, tags, content }: { category: string; tags: string[]; content: MemoryContent | undefined },
  ): Promise<WrittenMemory> {
    const author = this.#parts.self;
    const clocks = newest(heads.flatMap(({ seen, author, clock }) => [seen, { [author]: clock }]));
    const own = clocks[author];
    const based = newest(bases.flatMap(({ seen, author, clock }) => [seen, { [author]: clock }]));
    const seen = own === undefined ? based : { ...based, [author]: own };
    const clock = nextClock(wallClock(), Object.values(clocks), author);
    const deleted = content === undefined;
    const said = content && (JSON.parse(JSON.stringify(content)) as MemoryContent); // as it arrives, and nobody changes it any more
    const stated = { memory_id: memoryId, clock, owner, author, category, tags, seen, deleted };
    const version = versionId({ ...stated, content_hash: said ? contentHash(said) : null });
    const document: Document = { ...stated, version, ...(said && { content: said }) };
    const flaw = flawOf(document);
    if (flaw) throw flaw;
    const drop = heads.filter((head) => replaces(document, head)).map((head) => head.version);
    await this.#store.change({ keep: [{ document }], drop });
    return { memoryId, version, clock };
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => {});
    return turn;
  }
}

function byClock(kept: readonly KeptVersion[]): KeptVersion[] {
  return [...kept].sort((a, b) => (a.document.clock < b.document.clock ? 1 : -1));
}

function known(kept: readonly KeptVersion[]): KnownMemory | undefined {
  const now = wallClock();
  const versions = byClock(kept).filter(({ document }) => (endOf(document) ?? Number.POSITIVE_INFINITY) > now);
  const [shown, ...others] = versions;
  if (!shown || versions.every(({ document }) => document.deleted)) return undefined;
  const { memory_id: memoryId, owner, receipt } = shown.document;
  const concurrent = others.map(({ document }) => shownOf(document));
  return { ...shownOf(shown.document), memoryId, owner, receipt, concurrent, synced: shown.through !== undefined };
}

function shownOf({ version, clock, author, category, tags, deleted, content }: Document): KnownVersion {
  return { version, clock, author, category, tags, deleted, ...content };
}

/** The newest clock of each author in any of them. */
function newest(all: readonly Readonly<Record<string, string>>[]): Record<string, string> {
  const merged = new Map<string, string>();
  for (const clocks of all) {
    for (const [author, clock] of Object.entries(clocks)) {
      if (clock > (merged.get(author) ?? '')) merged.set(author, clock);
    }
  }
  return Object.fromEntries(merged);
}

function unknown(memoryId: string): HubRefusal {
  return new HubRefusal('not_found', `there is no memory ${memoryId}`);
}
