/** The port of what keeps an index: SQLite or PostgreSQL, in the thread of the search. */
import type { SearchKind } from '../search.ts';
import type { SearchPlan } from './query.ts';
import type { Candidate } from './rank.ts';
import { keptText, keptTitle, labelToken, marked } from './words.ts';

/** What is found by its words. */
export interface SearchDocument {
  readonly kind: SearchKind;
  readonly id: string;
  /** Of two of one kind and id the one with the higher rank stands, whichever came first; of the same rank the one that came last. */
  readonly rank: string;
  /** When the keys of this data-key subject are destroyed, this goes too. */
  readonly subject: string;
  /** Filtered by, exactly. */
  readonly labels: readonly string[];
  readonly title: string;
  readonly text: string;
  /** It is not to be found: it only keeps those of lower rank away. */
  readonly gone?: boolean;
  /** Of the event it is from; no other document has it. Documents come in the order of their positions. */
  readonly position: number;
  /** Milliseconds since 1970. */
  readonly expiresAt?: number;
}

/** What goes: all of a data-key subject, or messages that expired before a time in milliseconds since 1970. */
export type Gone = { readonly subject: string } | { readonly expiredBefore: number };

/** Raised when words, tables or what is indexed change: an index of another version is begun anew. */
export const searchVersion = 1;

/**
 * Documents are numbered as they come, from 0: a later one is newer. A number may be missing, where a document went. `numbers` are ranges, both
 * ends included.
 */
export interface SearchStore {
  /**
   * The position from which to go on. An index of another log, of another version or beyond `head` is begun anew. Throws, and changes
   * nothing, when it belongs to a newer version that other replicas run.
   */
  begin(logId: string, head: number): Promise<number>;
  /** In one transaction: documents, and that all of the log up to `to` is in. Throws when the index is not at `from`. */
  apply(documents: readonly SearchDocument[], from: number, to: number): Promise<void>;
  /** Removes at most so many; answers how many it were. Asked again until it is fewer, none of them is found. */
  remove(what: Gone, most: number): Promise<number>;
  /** Leaves nothing of what went, as far as the database can: on SQLite its words are in no file then. */
  settle(): Promise<void>;
  /** Undefined when the index is not (yet) one of this log and version. */
  position(logId: string): Promise<number | undefined>;
  /** The newest document that is not newer than a position, or whose number is not higher; undefined when there is none. */
  newest(upTo: { readonly position: number } | { readonly number: number }): Promise<Place | undefined>;
  /** How many documents in a range have each of the words. The range begins with a slice. */
  having(words: readonly HavingWord[], numbers: NumberRange): Promise<number[]>;
  /** Documents of a range that are as the plan says, the newest first: at most `most`, or as many as have `letters` letters of words. */
  matching(plan: SearchPlan, numbers: NumberRange, bounds: Bounds): Promise<Matching>;
  close(): Promise<void>;
}

/** Documents with numbers in a row are a slice; the next begins at each multiple of this. */
export const sliceSize = 4_096;

export interface Place {
  readonly number: number;
  readonly position: number;
}

export interface HavingWord {
  readonly word: string;
  readonly prefix: boolean;
}

export interface NumberRange {
  readonly from: number;
  readonly to: number;
}

export interface Bounds {
  readonly most: number;
  readonly letters: number;
}

export interface Matching {
  /** At least one, when there is any. */
  readonly candidates: readonly Candidate[];
  /** There may be more in the range. */
  readonly more: boolean;
}

/** A document as it is kept. */
export interface Kept {
  readonly subject: string | null;
  readonly expiresAt: number | null;
  readonly labels: string;
  readonly title: string;
  readonly text: string;
}

export function keptOf({ kind, subject, expiresAt, labels, title, text }: SearchDocument): Kept {
  return {
    subject,
    expiresAt: expiresAt ?? null,
    labels: marked([`kind:${kind}`, ...labels].map(labelToken)),
    title: keptTitle(title),
    text: keptText(text),
  };
}

/** What is kept of one that is not to be found. */
export const nothing: Kept = { subject: null, expiresAt: null, labels: '', title: '', text: '' };
