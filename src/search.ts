/**
 * Finding messages and memories by their words. The index lies apart from log, views and backups, and may be lost at any time: it is made
 * again from the log with the keys that are left.
 *
 * What is promised, on SQLite and PostgreSQL alike, and `test/search/conformance.ts` checks:
 * - The same documents are found, in the same order: words are made and queries are read in code (`search/words.ts`, `search/query.ts`),
 *   the databases keep them and count.
 * - No text of a query is an error but one that is too long.
 * - What was erased, purged or replaced is found no more, and on SQLite its words are in no file.
 *
 * What it is not: it knows no rights. Who asks gives the labels that they may see, and looks up what was found before showing it.
 */
import type { Refusal } from './errors.ts';
import type { EventLog } from './events/log.ts';
import type { Kernel } from './kernel.ts';
import type { Keyring } from './keyring.ts';
import type { Leases } from './lease.ts';
import { LocalSearchIndex } from './search/index.ts';

export type SearchKind = 'message' | 'memory';

export interface SearchQuery {
  readonly kind: SearchKind;
  /**
   * As typed into a search box: words (all must be there), `"a phrase"`, `pre*`, `-without`, `a OR b`. Blank lists the newest. Refused with
   * `invalid_input` beyond 512 characters or 32 terms.
   */
  readonly words: string;
  /**
   * Each group must match with one of its labels, exactly. Messages: `box:<box>` and `from:<sender>` as in the event. Memories: `owner:`,
   * `author:`, `tag:`, `category:` (that one), `under:` (that one and those below), `federation:` (where a foreign one was written),
   * and `of:<subject> <pattern>` for each pattern of a share rule that its category fits (knowledge.ts).
   * At most 1,000 labels in all, else a `TypeError`.
   */
  readonly where: readonly (readonly string[])[];
  /** 1 to 500; what is beyond is cut to that. */
  readonly limit: number;
  /** `next` of the page before. */
  readonly after?: SearchCursor | undefined;
}

/** Where a page ended. It stays good while the index changes; at most something near its edge is seen twice, or missed. */
export interface SearchCursor {
  /** Nothing newer than this position comes. */
  readonly through: number;
  /** The last hit, where others that were ranked together with it follow. */
  readonly last?: { readonly score: number; readonly position: number };
}

export interface SearchHit {
  /** `message_id` or `memory_id`. */
  readonly id: string;
  /** Higher is better; 0 when nothing but labels was asked for. Of use within one answer only. */
  readonly score: number;
  /** Of the event that the text is from. */
  readonly position: number;
}

export interface SearchPage {
  /**
   * The best first; of equals the newest. When more than 500 match, or more than have four million letters of words, the newest so many are ranked
   * and come first, then the next so many: a page never costs more. A page may be shorter than asked, with a phrase even empty, and yet have a `next`.
   */
  readonly hits: readonly SearchHit[];
  /** Undefined when there is no more. */
  readonly next: SearchCursor | undefined;
  /** All of the log up to here is in the answer. */
  readonly position: number;
}

export interface SearchIndex {
  /** Throws a `Fault` `views_unavailable` while the index cannot be read. */
  find(query: SearchQuery): Promise<SearchPage | Refusal>;
  /** Whether the index holds all of the log up to a position; waits up to two seconds for it. Never throws. */
  reached(position: number): Promise<boolean>;
  /** How far the index is, as far as this replica knows. */
  readonly position: number;
  /** The trouble that indexing at this replica is getting over; null while there is none. */
  readonly fault: string | null;
  /** Twice is harmless. Close it before log, keyring and leases. */
  close(): Promise<void>;
}

export interface SearchOptions {
  /** Of the views, where the index lies too: `sqlite:<folder>` or `postgres://…`. */
  readonly url: string;
  readonly log: EventLog;
  readonly keyring: Keyring;
  readonly leases: Leases;
  readonly kernel: Kernel;
  /** Whether the replica has more to do than it can, so that the index may wait. */
  readonly slowly?: () => boolean;
}

/** Nothing is opened before it is asked for something, or a second from now: a start does not wait for it. */
export function openSearch(options: SearchOptions): SearchIndex {
  return new LocalSearchIndex(options);
}
