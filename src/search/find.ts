/** Answers a question from a store: what matches, newest first, a bounded number of them ranked together. */
import { Fault, isRefusal, type Refusal } from '../errors.ts';
import type { SearchCursor, SearchPage, SearchQuery } from '../search.ts';
import { planOf, type SearchPlan, type Term } from './query.ts';
import { before, ranked, type Sample } from './rank.ts';
import { type NumberRange, type SearchStore, sliceSize } from './store.ts';

/** Ranked together, at most, and letters of their words. */
const rankedTogether = 500;
const rankedLetters = 4 * 1_024 * 1_024;
/** Documents in which a page looks for phrases: their words may be everywhere, and still never stand in a row. */
const lookedThrough = 20_000;

/** Newest documents of which it is asked how rare a word is: so many, and the rest of their slice. */
const leastSampled = 1_024;

/** Throws `views_unavailable` when the index is not one of this log. */
export async function find(store: SearchStore, logId: string, query: SearchQuery): Promise<SearchPage | Refusal> {
  const plan = planOf(query);
  if (isRefusal(plan)) return plan;
  const position = await store.position(logId); // before anything else is read: the answer is at least as new
  if (position === undefined) throw new Fault('views_unavailable', 'the search index is being made');
  const cursor = query.after ?? { through: position };
  const newest = plan === 'nothing' ? undefined : await store.newest({ position: cursor.through });
  if (plan === 'nothing' || !newest) return { hits: [], next: undefined, position };
  const limit = Math.min(Math.max(1, Math.trunc(query.limit)), rankedTogether);
  return { ...(await pageOf(store, plan, newest.number, cursor, limit)), position };
}

type Found = Omit<SearchPage, 'position'>;

async function pageOf(
  store: SearchStore,
  plan: SearchPlan,
  newest: number,
  { through, last }: SearchCursor,
  limit: number,
): Promise<Found> {
  const terms = plan.wanted.flat();
  const phrases = [...terms, ...plan.without].some(({ words }) => words.length > 1);
  const numbers = { from: phrases ? Math.max(0, newest - lookedThrough + 1) : 0, to: newest };
  const bounds = { most: terms.length > 0 ? rankedTogether : limit, letters: rankedLetters };
  const { candidates, more } = await store.matching(plan, numbers, bounds);
  const order = ranked(candidates, terms, await sampleOf(store, terms, newest));
  const rest = last ? order.filter((hit) => before(last, hit) < 0) : order;
  const hits = rest.slice(0, limit);
  const worst = hits.at(-1);
  if (worst && hits.length < rest.length) {
    return { hits, next: { through, last: { score: worst.score, position: worst.position } } };
  }
  return { hits, next: await older(store, numbers, more ? candidates.at(-1) : undefined) };
}

/** What comes after all that were ranked together, or looked through. */
async function older(
  store: SearchStore,
  { from }: NumberRange,
  oldest: { readonly position: number } | undefined,
): Promise<SearchCursor | undefined> {
  if (oldest) return { through: oldest.position - 1 };
  const before = from > 0 ? await store.newest({ number: from - 1 }) : undefined;
  return before && { through: before.position };
}

/** How rare the terms are. Of a phrase its rarest word counts; of a lone term nothing, as it is in all that match. */
async function sampleOf(store: SearchStore, terms: readonly Term[], newest: number): Promise<Sample> {
  if (terms.length < 2) return { documents: 0, having: terms.map(() => 0) };
  const from = Math.floor(Math.max(0, newest - leastSampled) / sliceSize) * sliceSize;
  const words = terms.flatMap(({ words, prefix }) =>
    words.map((word, at) => ({ word, prefix: prefix && at === words.length - 1 })),
  );
  const counts = await store.having(words, { from, to: newest });
  const having = terms.map(({ words }) => Math.min(...counts.splice(0, words.length)));
  return { documents: newest - from + 1, having };
}
