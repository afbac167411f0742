/**
 * What both sides of a sync agree on: how the id of a version is made, how clocks go on, and which version replaces which. Pure.
 *
 * A version knows, for each author, up to which clock it had seen that author's versions (`seen`). It replaces those, and no others: two that
 * have not seen each other are concurrent, and both are kept.
 */
import { createHash } from 'node:crypto';
import { canonicalJson } from './canonical-json.ts';
import type { Document, MemoryContent } from './protocol/knowledge.ts';

/** A version without its id, as far as the id is made of it. */
export type Stated = Omit<Document, 'version' | 'receipt' | 'foreign' | 'content'> & {
  readonly content_hash: string | null;
};

/** Far enough for clocks that are somewhat wrong; a version from further ahead is refused. */
export const mostAheadMs = 300_000;

/** SHA-256 of the content in canonical form, hex. */
export function contentHash(content: MemoryContent): string {
  return createHash('sha256').update(canonicalJson(content)).digest('hex');
}

/** SHA-256 of everything a version says, its content by its hash, hex. Tags and `seen` in any order are the same. */
export function versionId({
  memory_id,
  clock,
  owner,
  author,
  category,
  tags,
  seen,
  deleted,
  content_hash,
}: Stated): string {
  const said = { memory_id, clock, owner, author, category, tags: [...tags].sort(), seen, deleted, content_hash };
  return createHash('sha256').update(canonicalJson(said)).digest('hex');
}

/** The clock of what `who` writes now: later than all that it knows of. `nowMs`: milliseconds since 1970. */
export function nextClock(nowMs: number, known: Iterable<string>, who: string): string {
  let ms = nowMs;
  let counter = 0;
  for (const clock of known) {
    const theirs = clockMs(clock);
    const theirCounter = Number(clock.slice(16, 22));
    if (theirs > ms) [ms, counter] = [theirs, theirCounter + 1];
    else if (theirs === ms) counter = Math.max(counter, theirCounter + 1);
  }
  if (counter > 999_999) [ms, counter] = [ms + 1, 0];
  return `${String(ms).padStart(15, '0')}-${String(counter).padStart(6, '0')}-${who}`;
}

/** Milliseconds since 1970. */
export function clockMs(clock: string): number {
  return Number(clock.slice(0, 15));
}

/** The subject of what belongs to operators: together they are one party. */
export const federation = '@federation';

/** Until when what came from another federation may be kept, milliseconds since 1970; undefined: without end. What is no time has passed. */
export function foreignEnd(foreign: { readonly until?: string | undefined } | null | undefined): number | undefined {
  if (foreign?.until === undefined) return undefined;
  const end = Date.parse(foreign.until);
  return Number.isNaN(end) ? 0 : end;
}

/** Under whose sovereignty something is that belongs to, or was brought by, an actor of this federation: a node, or `@federation`. */
export function subjectOf(actor: string): string {
  return actor.startsWith('node:') ? actor.slice('node:'.length) : federation;
}

/** Everything that a rule may say which names a category: `*`, itself, and with `/*` itself and what it is below. */
export function patternsOf(category: string): string[] {
  const words = category.split('/');
  return ['*', category, ...words.map((_, at) => `${words.slice(0, at + 1).join('/')}/*`)];
}

/** Whether the one had seen the other: then it replaces it. */
export function replaces(
  { seen }: { readonly seen: Readonly<Record<string, string>> },
  other: { readonly author: string; readonly clock: string },
): boolean {
  return (Object.hasOwn(seen, other.author) ? seen[other.author]! : '') >= other.clock; // it is there
}
