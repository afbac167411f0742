/**
 * Names over the border of a federation. What belongs to one is called after it outside: `<name>@<federation>`, memories and people alike,
 * and the id of a version is that of what it says there: both sides make the same, and take it back the same way. Pure.
 */
import type { Foreign } from '../../events/memory.ts';
import { isoTime } from '../../kernel.ts';
import { type Stated, versionId } from '../../knowledge.ts';
import type { Document } from '../../protocol/knowledge.ts';
import type { Grant } from '../../sovereignty.ts';

/** Federations that a document may have passed: as many as its fact holds. */
const mostHops = 16;

/** A statement of a federation's own, as it is called outside it. */
function qualified(stated: Stated, federation: string): Stated {
  return renamed(stated, (name) => `${name}@${federation}`);
}

/** A statement of another federation, as it is called there. */
function unqualified(stated: Stated, federation: string): Stated {
  const mark = `@${federation}`;
  return renamed(stated, (name) => (name.endsWith(mark) ? name.slice(0, -mark.length) : name));
}

/** The id of a version as it is outside the federation. */
export const qualifiedId = (stated: Stated, federation: string): string => versionId(qualified(stated, federation));
/** The id of a version of another federation as it is there. */
export const unqualifiedId = (stated: Stated, federation: string): string => versionId(unqualified(stated, federation));

/** Whether anything of it is called after some federation. */
function isQualified({ memory_id, owner, author }: Pick<Stated, 'memory_id' | 'owner' | 'author'>): boolean {
  return [memory_id, owner, author].some((name) => name.includes('@'));
}

/**
 * A document that came from another hub, as it is called here, with one more federation that it passed. Undefined for one of this
 * federation's own, or that passed it, or as many as it may, before. `content_hash`: of its content; null for a tombstone.
 */
export function arrived(
  document: Document,
  content_hash: string | null,
  from: string,
  here: string,
): Document | undefined {
  const { version: _, receipt, foreign, content, ...said } = document;
  if (!foreign && (from === here || isQualified(said))) return undefined;
  if (foreign && (foreign.federation === here || foreign.hops.includes(here))) return undefined;
  if (foreign && foreign.hops.length >= mostHops) return undefined;
  const stated = { ...said, content_hash };
  const named = foreign ? stated : qualified(stated, from);
  const passed = {
    federation: foreign?.federation ?? from,
    hops: [...(foreign?.hops ?? []), from],
    pass_on: receipt?.pass_on === true && foreign?.pass_on !== false,
    ...earliest(receipt?.until, foreign?.until),
  };
  return documentOf(named, content, passed);
}

/** A document that goes to another hub, as it is called there. `stated` is what it says here. Undefined for one that passed as many as it may. */
export function departing(
  stated: Stated,
  content: Document['content'],
  foreign: Foreign | undefined,
  grant: Grant,
  here: string,
): Document | undefined {
  if (foreign && foreign.hops.length >= mostHops) return undefined;
  const until = grant.until === undefined ? undefined : isoTime(grant.until);
  const passed = {
    federation: foreign?.federation ?? here,
    hops: [...(foreign?.hops ?? []), here],
    pass_on: grant.passOn && foreign?.pass_on !== false,
    ...earliest(until, foreign?.until),
  };
  return documentOf(foreign ? stated : qualified(stated, here), content, passed);
}

function documentOf(stated: Stated, content: Document['content'], foreign: Foreign): Document {
  const { content_hash: _, ...said } = stated;
  return { ...said, version: versionId(stated), ...(content && { content }), foreign };
}

function earliest(a: string | undefined, b: string | undefined): { until?: string } {
  const [first] = [a, b].filter((time) => time !== undefined).sort((x, y) => Date.parse(x) - Date.parse(y));
  return first === undefined ? {} : { until: first };
}

function renamed(stated: Stated, rename: (name: string) => string): Stated {
  const clock = (text: string) => `${text.slice(0, 23)}${rename(text.slice(23))}`;
  const seen = Object.entries(stated.seen).map(([author, known]) => [rename(author), clock(known)]);
  return {
    ...stated,
    memory_id: rename(stated.memory_id),
    owner: rename(stated.owner),
    author: rename(stated.author),
    clock: clock(stated.clock),
    seen: Object.fromEntries(seen) as Stated['seen'], // pairs of texts
  };
}
