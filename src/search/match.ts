/**
 * A plan in the words of the databases. Their indexes know which words a document has, and not where: that the words of a phrase stand in a
 * row is then looked up in what was kept, so that it holds for texts of any length alike (a text vector of PostgreSQL forgets
 * where a word stands from its 256th time on).
 */
import type { SearchPlan, Term } from './query.ts';
import type { HavingWord } from './store.ts';
import { marked } from './words.ts';

/** How an index is asked. */
interface Grammar {
  readonly and: string;
  readonly or: string;
  not(all: string, none: string): string;
  word(word: string, prefix: boolean): string;
}

/** Words are letters and digits, tokens of labels hexadecimal behind a sign: nothing in them ends a quotation. */
const fts5: Grammar = {
  and: ' AND ',
  or: ' OR ',
  not: (all, none) => `(${all}) NOT (${none})`,
  word: (word, prefix) => `"${word}"${prefix ? '*' : ''}`,
};
const tsquery: Grammar = {
  and: ' & ',
  or: ' | ',
  not: (all, none) => `(${all}) & !(${none})`,
  word: (word, prefix) => `'${word}'${prefix ? ':*' : ''}`,
};

/** For `MATCH` of SQLite's FTS5. */
export const fts5Match = (plan: SearchPlan): string => expression(fts5, plan);
export const fts5Word = ({ word, prefix }: HavingWord): string => fts5.word(word, prefix);
/** For `@@` of PostgreSQL. */
export const tsqueryMatch = (plan: SearchPlan): string => expression(tsquery, plan);
export const tsqueryWord = ({ word, prefix }: HavingWord): string => tsquery.word(word, prefix);

/** Words of a phrase that the index is asked for. */
const askedWords = 16;

function expression({ and, or, not, word }: Grammar, { labels, wanted, without }: SearchPlan): string {
  const any = (parts: readonly string[]) => (parts.length === 1 ? parts[0]! : `(${parts.join(or)})`);
  const ofTerm = ({ words, prefix }: Term) => {
    const parts = words.slice(-askedWords).map((each, at, { length }) => word(each, prefix && at === length - 1));
    return parts.length === 1 ? parts[0]! : `(${[...new Set(parts)].join(and)})`;
  };
  const all = [
    ...labels.map((group) => any(group.map((token) => word(token, false)))),
    ...wanted.map((group) => any(group.map(ofTerm))),
  ].join(and);
  const none = without.filter(isOneWord).map(ofTerm);
  return none.length === 0 ? all : not(all, none.join(or));
}

/** What the index cannot know of a plan, as a condition on `title` and `text`. */
export interface Check {
  /** Each `?` stands for the value at its place. */
  readonly sql: string;
  readonly values: readonly string[];
}

/** `inside`: the function that tells where a text has another, from 1, or 0. Undefined when the index knows it all. */
export function checkOf({ wanted, without }: SearchPlan, inside: 'instr' | 'strpos'): Check | undefined {
  const values: string[] = [];
  const has = (term: Term) => {
    values.push(patternOf(term), patternOf(term));
    return `${inside}(text, ?) > 0 OR ${inside}(title, ?) > 0`;
  };
  const conditions = [
    ...wanted.filter((group) => !group.every(isOneWord)).map((group) => `(${group.map(has).join(' OR ')})`),
    ...without.filter((term) => !isOneWord(term)).map((term) => `NOT (${has(term)})`),
  ];
  return conditions.length === 0 ? undefined : { sql: conditions.join(' AND '), values };
}

/** A term as a piece of what was kept. */
export function patternOf({ words, prefix }: Term): string {
  const whole = marked(words);
  return prefix ? whole.slice(0, -1) : whole;
}

function isOneWord({ words }: Term): boolean {
  return words.length === 1;
}
