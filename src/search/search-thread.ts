/** The thread of the search: finds, cuts and counts words there, so that neither a long question nor a long text stalls the sockets. */
import { join } from 'node:path';
import type { Refusal } from '../errors.ts';
import type { SearchPage, SearchQuery } from '../search.ts';
import { serve, threadData } from '../thread.ts';
import { find } from './find.ts';
import type { Gone, SearchDocument, SearchStore } from './store.ts';

export interface SearchThreadData {
  /** `sqlite:<folder>` or `postgres://…`. */
  readonly url: string;
  readonly logId: string;
}

export type SearchApi = {
  /** As the store's. */
  begin(head: number): Promise<number>;
  apply(documents: readonly SearchDocument[], from: number, to: number): Promise<void>;
  remove(what: Gone, most: number): Promise<number>;
  settle(): Promise<void>;
  position(): Promise<number | undefined>;
  find(query: SearchQuery): Promise<SearchPage | Refusal>;
  close(): Promise<void>;
};

const { url, logId } = threadData<SearchThreadData>();
const store = await storeOf(url);

serve({
  begin: (head) => store.begin(logId, head),
  apply: (documents, from, to) => store.apply(documents, from, to),
  remove: (what, most) => store.remove(what, most),
  settle: () => store.settle(),
  position: () => store.position(logId),
  find: (query) => find(store, logId, query),
  close: () => store.close(),
} satisfies SearchApi);

async function storeOf(url: string): Promise<SearchStore> {
  if (url.startsWith('sqlite:')) {
    const { SqliteSearchStore } = await import('./store-sqlite.ts');
    return new SqliteSearchStore(join(url.slice('sqlite:'.length), 'search.db'));
  }
  const { PostgresSearchStore } = await import('./store-postgres.ts');
  return new PostgresSearchStore(url);
}
