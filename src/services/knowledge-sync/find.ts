/**
 * Memories as they are looked for: by their words in the search index, and without words the last changed first from the view. What is
 * found is judged one by one, whatever the index said, and no page tells that there was more than may be seen.
 */
import { isRefusal, type Refusal } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import {
  findMemories,
  findSummaries,
  type MemoryFilter,
  type MemorySummary,
  type Visible,
} from '../../projections/memory-queries.ts';
import { findVersionsById } from '../../projections/memory-versions.ts';
import type { SearchCursor, SearchHit } from '../../search.ts';
import type { Judge, Matter, Shared } from '../../sovereignty.ts';
import { maySee, type Reader } from './shown.ts';
import type { Members } from './standing.ts';

/** Words of share rules in one question to the view or the index; with more, what was found is judged alone. */
const mostTerms = 256;
/** Pages that are looked through for one answer: when the reader may see hardly anything of them, the answer ends there. */
const mostPages = 40;
const pageRows = 500;

export interface Wanted extends MemoryFilter {
  readonly limit: number;
}

export interface Found<Cursor> {
  readonly rows: readonly MemorySummary[];
  readonly next: Cursor | undefined;
}

/** The last changed first, before a position. */
export async function listMemories(
  { views }: Pick<Hub, 'views'>,
  members: Members,
  reader: Reader,
  { limit, ...filter }: Wanted,
  before: number,
): Promise<Found<number>> {
  const visible = visibleTo(reader, members);
  const rows: MemorySummary[] = [];
  let from = before;
  for (let pages = 0; pages < mostPages && visible.length > 0; pages++) {
    const page = await findMemories(views.db, filter, visible, from, pageRows);
    for (const row of page) {
      if (maySee(reader, matterOf(row))) rows.push(row);
      if (rows.length === limit) return { rows, next: row.updated_position };
    }
    if (page.length < pageRows) break;
    from = page.at(-1)!.updated_position; // it is full
  }
  return { rows, next: undefined };
}

/** The best first. Refuses `invalid_input` for words that are too many. */
export async function searchMemories(
  hub: Pick<Hub, 'views' | 'search'>,
  members: Members,
  reader: Reader,
  { limit, ...filter }: Wanted,
  words: string,
  after: SearchCursor | undefined,
): Promise<Found<SearchCursor> | Refusal> {
  const { labels, exact } = labelsSeen(reader, members);
  const where = [...labelsOf(filter), ...labels];
  const rows: MemorySummary[] = [];
  let from = after;
  for (let pages = 0; pages < mostPages; pages++) {
    const page = await hub.search.find({ kind: 'memory', words, where, limit: exact ? limit : pageRows, after: from });
    if (isRefusal(page)) return page;
    for (const { row, hit } of await seenOf(hub, reader, filter, page.hits)) {
      rows.push(row);
      if (rows.length < limit) continue;
      // Where the page goes on is told by what may be seen alone.
      const last = { score: hit.score, position: hit.position };
      return { rows, next: { through: from?.through ?? page.position, last } };
    }
    if (!page.next) break;
    from = page.next;
  }
  return { rows, next: undefined };
}

/** Of hits those that may be seen, as they stand in the view: a version whose words were found but that is not there any more is left out. */
async function seenOf(
  { views }: Pick<Hub, 'views'>,
  reader: Reader,
  filter: MemoryFilter,
  hits: readonly SearchHit[],
): Promise<{ row: MemorySummary; hit: SearchHit }[]> {
  if (hits.length === 0) return [];
  const ids = hits.map(({ id }) => id);
  const rows = new Map((await findSummaries(views.db, ids)).map((row) => [row.memory_id, row]));
  const found: { row: MemorySummary; hit: SearchHit }[] = [];
  for (const hit of hits) {
    const row = rows.get(hit.id);
    if (!row || row.deleted === 1 || !fits(row, filter) || !maySee(reader, matterOf(row))) continue;
    if (row.updated_position === hit.position || (await isShown(views, row, hit.position))) found.push({ row, hit });
  }
  return found;
}

/** Whether the words were those of the version that is shown. */
async function isShown({ db }: Hub['views'], row: MemorySummary, position: number): Promise<boolean> {
  if (row.head_count === 1) return false; // the newest fact is the one that is shown
  const [version] = await findVersionsById(db, [row.version]);
  return version?.written_position === position;
}

function fits({ owner, category, tags }: MemorySummary, filter: MemoryFilter): boolean {
  return (
    (filter.owner === undefined || owner === filter.owner) &&
    (filter.category === undefined || `${category}/`.startsWith(`${filter.category}/`)) &&
    (filter.tags ?? []).every((tag) => tags.includes(tag))
  );
}

function labelsOf({ owner, category, tags = [] }: MemoryFilter): string[][] {
  const groups = tags.map((tag) => [`tag:${tag}`]);
  if (owner !== undefined) groups.push([`owner:${owner}`]);
  if (category !== undefined) groups.push([`under:${category}`]);
  return groups;
}

/** What the index is asked for: no less than may be seen. Inexact where tags or times decide, or the labels would be too many. */
function labelsSeen({ judge, now }: Reader, members: Members): { labels: string[][]; exact: boolean } {
  if (!judge) return { labels: [['of:']], exact: true }; // nobody's
  const labels = new Set([`of:${judge.receiver.subject} *`]);
  let exact = true;
  for (const { party, rules } of sharedWith(judge, members, now)) {
    for (const { categories, tags } of rules) {
      exact &&= tags === undefined;
      for (const pattern of categories) labels.add(`of:${party.subject} ${pattern}`);
    }
  }
  return labels.size > mostTerms ? { labels: [], exact: false } : { labels: [[...labels]], exact };
}

/** What may be seen, as the view is asked for it. It does not know of what is foreign and may not be passed on. */
function visibleTo({ judge, now }: Reader, members: Members): Visible[] {
  if (!judge) return [];
  const { subject, since } = judge.receiver;
  const visible: Visible[] = [{ subject, since }];
  let terms = 0;
  for (const { party, rules } of sharedWith(judge, members, now)) {
    const about = { subject: party.subject, since: party.since };
    for (const { categories, tags } of rules) {
      terms += categories.length + (tags?.size ?? 0);
      visible.push({ ...about, categories, ...(tags && { tags: [...tags] }) });
    }
  }
  if (terms <= mostTerms) return visible;
  return [...new Map(visible.map((some) => [some.subject, { subject: some.subject, since: some.since }])).values()];
}

/** What each other subject shares with the reader now. */
function* sharedWith(judge: Judge, members: Members, now: number): Generator<Pick<Shared, 'party' | 'rules'>> {
  for (const subject of members.sharers()) {
    const shared = subject === judge.receiver.subject ? undefined : judge.sharedBy(subject);
    const rules = shared?.rules.filter(({ until }) => until > now) ?? [];
    if (shared && rules.length > 0) yield { party: shared.party, rules };
  }
}

export function matterOf(row: MemorySummary): Matter {
  return { ...row, foreign: row.origin };
}
