/** Fills a search index so that what each position says follows from the position alone: whoever goes on with it does as the one before. */

import type { SearchDocument, SearchStore } from '../../src/search/store.ts';
import { PostgresSearchStore } from '../../src/search/store-postgres.ts';
import { SqliteSearchStore } from '../../src/search/store-sqlite.ts';

/** Fills from where the index is to `end`, a few positions in each transaction. */
export async function fill(store: SearchStore, end: number): Promise<void> {
  for (let from = await store.begin('the log', 1e9); from < end; ) {
    const to = Math.min(end, from + 1 + (from % 7));
    const documents: SearchDocument[] = [];
    for (let position = from + 1; position <= to; position++) documents.push(documentAt(position));
    await store.apply(documents, from, to);
    if (to % 5 === 0) await store.remove({ expiredBefore: to - 200 }, 100);
    await store.settle();
    from = to;
  }
}

/** `sqlite:<file>` or `postgres://…`. */
export function storeOf(url: string): SearchStore {
  return url.startsWith('sqlite:') ? new SqliteSearchStore(url.slice('sqlite:'.length)) : new PostgresSearchStore(url);
}

/** One in four says something new of a memory; the others are messages, which expire. */
function documentAt(position: number): SearchDocument {
  const text = `word n${position} ${position % 3 === 0 ? 'third ' : ''}${'filling '.repeat(position % 11)}`;
  const about = { subject: 's', labels: [`tag:${position % 5}`], title: '', text, position };
  if (position % 4 > 0) return { kind: 'message', id: `m${position}`, rank: '', expiresAt: position, ...about };
  return { kind: 'memory', id: `m${position % 60}`, rank: String(1_000_000 - ((position * 7) % 1_000)), ...about };
}
