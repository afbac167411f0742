/**
 * What this hub knows, as a sync with another hub sees it: this hub is a node there. Compared is what came from there, and what the rules
 * here let go there, which must name the other hub; all by the ids that versions have there.
 */
import { LRUCache } from 'lru-cache';
import type { FinishedSync, SyncItem, SyncSide } from '../../client/knowledge-sync.ts';
import type { About } from '../../commands/execute.ts';
import { type Code, isRefusal } from '../../errors.ts';
import type { SyncDirection, SyncScope } from '../../events/knowledge.ts';
import type { Hub } from '../../hub.ts';
import { contentHash, type Stated } from '../../knowledge.ts';
import { findMemory, type MemoryHead } from '../../projections/memories.ts';
import { walkForeign } from '../../projections/memory-queries.ts';
import { findStated, findVersionsById, type StatedVersion } from '../../projections/memory-versions.ts';
import type { Document } from '../../protocol/knowledge.ts';
import { openContent } from './content.ts';
import type { Holdings, Move } from './holdings.ts';
import type { Memories } from './memories.ts';
import { offeredTo, type Wish } from './offered.ts';
import { arrived, departing, qualifiedId, unqualifiedId } from './peer-names.ts';
import { type Members, peerSubject } from './standing.ts';

export interface PeerParts {
  readonly hub: Hub;
  readonly members: Members;
  readonly memories: Memories;
  readonly holdings: Holdings;
}

/** Ids of versions as they are there, by those here; and versions that were fetched and are not in the set. Made again when they are forgotten. */
const rememberedIds = 200_000;
const pageRows = 1_000;
const statedAtOnce = 500;
const byHub: About = { actor: 'hub' };
/** Refusals that would be the same the next time. */
const lasting: ReadonlySet<Code> = new Set(['version_invalid', 'loop_detected', 'payload_too_large']);

type FromElsewhere = Pick<MemoryHead, 'author' | 'foreign'>;

export class PeerSide implements SyncSide {
  readonly #parts: PeerParts;
  readonly #subject: string;
  /** The federation there, and the one here. */
  readonly #there: string;
  readonly #here: string;
  readonly #ids = new LRUCache<string, string>({ max: rememberedIds });
  /** Versions from there that are in no set of ours: our own that came home, those that are known from elsewhere. By their clocks. */
  readonly #given = new LRUCache<string, string>({ max: rememberedIds });
  /** Of the comparison under way: versions that may go, by their ids there. */
  #going = new Map<string, string>();
  /** Where an incremental sync begins: there, and here. */
  #cursor: { readonly there: number; readonly here: number } | undefined;
  #begunAt = 0;

  constructor(parts: PeerParts, peerId: string, there: string) {
    this.#parts = parts;
    this.#subject = peerSubject(peerId);
    this.#there = there;
    this.#here = parts.hub.federationId;
  }

  /** What a sync that is to be incremental begins from; everything, the first time. */
  scope(wanted: SyncScope): SyncScope {
    if (wanted.mode !== 'incremental') return wanted;
    return this.#cursor ? { mode: 'incremental', since: this.#cursor.there } : { mode: 'full' };
  }

  async *items(scope: SyncScope, direction: SyncDirection): AsyncGenerator<SyncItem> {
    const { hub } = this.#parts;
    const head = await hub.log.head();
    const { position } = await hub.views.read(head, async () => {});
    this.#begunAt = position;
    this.#going = new Map();
    const since = scope.mode === 'incremental' ? this.#cursor?.here : undefined;
    if (scope.mode === 'targeted' && scope.query !== undefined) return; // all that is found there is fetched
    const told = new Set<string>();
    for await (const { id, clock } of this.#fromThere(scope, since)) {
      told.add(id);
      yield { version: id, clock };
    }
    if (direction !== 'pull') {
      for await (const { version, id, clock } of this.#mayGo(scope, since)) {
        if (told.has(id)) continue;
        told.add(id);
        this.#going.set(id, version);
        yield { version: id, clock };
      }
    }
    if (scope.mode !== 'full') return;
    for (const [version, clock] of this.#given.entries()) if (!told.has(version)) yield { version, clock };
  }

  wanted(versions: readonly string[]): string[] {
    return versions.filter((version) => !this.#given.has(version));
  }

  async take(documents: readonly Document[]): Promise<void> {
    await Promise.all(documents.map((document) => this.#take(document)));
  }

  /** Judged once more, and written down as moved before they go. */
  async give(versions: readonly string[]): Promise<Document[]> {
    const { hub, members, holdings } = this.#parts;
    const ours = versions.flatMap((id) => this.#going.get(id) ?? []);
    if (ours.length === 0) return [];
    const documents: Document[] = [];
    const moves: Move[] = [];
    for (const row of await findVersionsById(hub.views.db, ours)) {
      const memory = await findMemory(hub.views.db, row.memory_id);
      const head = memory?.heads.find(({ version }) => version === row.version);
      const grant = head && members.judge(this.#subject, 'move')?.judge(head, hub.kernel.now());
      const content = row.sealed_content ? await openContent(hub, row.sealed_content) : undefined;
      if (!grant || (row.deleted === 0 && !content)) continue;
      const document = departing(statedOf(row), content, row.origin ?? undefined, grant, this.#here);
      if (!document) continue;
      documents.push(document);
      if (row.deleted === 0) moves.push({ memoryId: row.memory_id, version: row.version, grant });
    }
    await holdings.recordMoves(this.#subject, moves, byHub);
    return documents;
  }

  finished({ cursor, scope }: FinishedSync): void {
    if (scope.mode !== 'targeted') this.#cursor = { there: cursor, here: this.#begunAt };
  }

  /** Lets go of what came from there, and from nowhere else since. When it may come again, it comes as new. */
  async withdraw(memoryIds: readonly string[]): Promise<boolean> {
    for (const name of memoryIds) {
      const memoryId = name.includes('@') ? name : `${name}@${this.#there}`;
      const when = (heads: readonly FromElsewhere[]) => heads.some((head) => this.#isFromThere(head));
      await this.#parts.memories.letGo({ memoryId, cause: 'asked', when });
    }
    return true;
  }

  /** Something that came was let go of: what was known from elsewhere is perhaps known no more. */
  forget(): void {
    this.#given.clear();
  }

  async #take(document: Document): Promise<void> {
    const { memories } = this.#parts;
    const { version, clock, content, deleted } = document;
    const hash = content ? contentHash(content) : null;
    const here = content || deleted ? arrived(document, hash, this.#there, this.#here) : undefined;
    const done = here && (await memories.take(here, 'hub', byHub));
    if (here && done && !isRefusal(done) && done.reply.taken) {
      this.#ids.set(here.version, version);
      return;
    }
    if (!done || !isRefusal(done) || lasting.has(done.refused)) this.#given.set(version, clock);
  }

  /** Versions that came from there, by their ids there. */
  async *#fromThere(scope: SyncScope, since: number | undefined): AsyncGenerator<{ id: string; clock: string }> {
    const { db } = this.#parts.hub.views;
    for (let after = ''; ; ) {
      const page = await walkForeign(db, since, after, pageRows);
      const heads = page.flatMap((row) => row.heads.filter((head) => this.#isFromThere(head)));
      const wanted = heads.filter((head) => this.#isInScope(head, scope, page));
      for await (const { id, clock } of this.#named(wanted.map(({ version }) => version))) yield { id, clock };
      if (page.length < pageRows) return;
      after = page.at(-1)!.memory_id; // it is full
    }
  }

  /** Versions that the rules let go there, but those that were there or passed there. */
  async *#mayGo(
    scope: SyncScope,
    since: number | undefined,
  ): AsyncGenerator<{ version: string; id: string; clock: string }> {
    const { hub, members } = this.#parts;
    for await (const page of offeredTo(hub, members, this.#subject, this.#wishOf(scope, since))) {
      for await (const one of this.#named(page.map(({ version }) => version))) {
        const { origin } = one;
        if (origin?.federation !== this.#there && !origin?.hops.includes(this.#there)) yield one;
      }
    }
  }

  /** What is in scope there, by the names that memories have here. */
  #wishOf(scope: SyncScope, since: number | undefined): Wish {
    if (scope.mode !== 'targeted') return { since };
    const { categories, tags, ids } = scope;
    return { categories, tags, ids: ids?.map((id) => this.#nameHere(id)) };
  }

  #nameHere(id: string): string {
    const own = `@${this.#here}`;
    if (id.endsWith(own)) return id.slice(0, -own.length);
    return id.includes('@') ? id : `${id}@${this.#there}`;
  }

  #isInScope(
    head: MemoryHead,
    scope: SyncScope,
    page: readonly { readonly memory_id: string; readonly heads: readonly MemoryHead[] }[],
  ): boolean {
    if (scope.mode !== 'targeted') return true;
    const { categories, tags, ids } = scope;
    const named = ids && new Set(ids.map((id) => this.#nameHere(id)));
    const memoryId = page.find(({ heads }) => heads.includes(head))?.memory_id;
    return (
      (!categories || categories.some((one) => `${head.category}/`.startsWith(`${one}/`))) &&
      (!tags || head.tags.some((tag) => tags.includes(tag))) &&
      (!named || (memoryId !== undefined && named.has(memoryId)))
    );
  }

  /** Versions with their ids there. */
  async *#named(
    versions: readonly string[],
  ): AsyncGenerator<{ version: string; id: string; clock: string; origin: StatedVersion['origin'] }> {
    const { hub } = this.#parts;
    for (let at = 0; at < versions.length; at += statedAtOnce) {
      const rows = await findStated(hub.views.db, versions.slice(at, at + statedAtOnce));
      for (const row of rows) {
        const { version, clock, origin } = row;
        const known = this.#ids.get(version);
        const id = known ?? this.#idThere(row);
        if (known === undefined) this.#ids.set(version, id);
        yield { version, id, clock, origin };
      }
      await hub.kernel.sleep(0); // others have their turn
    }
  }

  #idThere(row: StatedVersion): string {
    if (!row.origin) return qualifiedId(statedOf(row), this.#here);
    return row.origin.federation === this.#there ? unqualifiedId(statedOf(row), this.#there) : row.version;
  }

  /** Its last hop; what was deleted here by somebody else is nothing that was said there. */
  #isFromThere({ foreign, author }: FromElsewhere): boolean {
    return foreign?.hops.at(-1) === this.#there && author.endsWith(`@${foreign.federation}`);
  }
}

function statedOf(row: StatedVersion): Stated {
  const { memory_id, clock, owner, author, category, tags, seen, content_hash } = row;
  return { memory_id, clock, owner, author, category, tags, seen, deleted: row.deleted === 1, content_hash };
}
