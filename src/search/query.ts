/** Reads what was typed into a search box. Nothing that can be typed is an error but too much of it. */
import { isRefusal, type Refusal, refuse } from '../errors.ts';
import type { SearchQuery } from '../search.ts';
import { labelToken, runsOf, wordsOf } from './words.ts';

/** Words one after the other; of the last one only the beginning when `prefix`. At least one word. */
export interface Term {
  readonly words: readonly string[];
  readonly prefix: boolean;
}

/** What a document must be like. */
export interface SearchPlan {
  /** Tokens of labels: of each group it has one. The first is its kind. */
  readonly labels: readonly (readonly string[])[];
  /** Of each group it has one. */
  readonly wanted: readonly (readonly Term[])[];
  /** It has none of these. */
  readonly without: readonly Term[];
}

const queryLength = 512;
const queryTerms = 32;
const queryLabels = 1_000;

/** `nothing`: no document can be like that. */
export function planOf({ kind, words, where }: SearchQuery): SearchPlan | 'nothing' | Refusal {
  if (where.flat().length > queryLabels) throw new TypeError(`more than ${queryLabels} labels in one query`);
  const parsed = parse(words);
  if (isRefusal(parsed)) return parsed;
  const sought = parsed.wanted.length + parsed.without.length > 0;
  if ((!sought && words.trim() !== '') || where.some((group) => group.length === 0)) return 'nothing';
  const labels = [[`kind:${kind}`], ...where].map((group) => [...new Set(group)].map(labelToken));
  return { labels, ...parsed };
}

type Sought = Pick<SearchPlan, 'wanted' | 'without'>;

/** What stands in quotes of any shape, or between spaces; with a minus before it or without. */
const pieces = /(-?)["“”„]([^"“”„]*)(?:["“”„]|$)|(-?)([^\s"“”„]+)/gu;

function parse(typed: string): Sought | Refusal {
  if (typed.length > queryLength) return refuse('invalid_input', `a search has at most ${queryLength} characters`);
  const wanted: Term[][] = [];
  const without: Term[] = [];
  /** What an `OR` would join, and whether one stands there. */
  let last: Term[] | undefined;
  let joining = false;
  for (const [piece, minus, quoted, bareMinus, bare] of typed.matchAll(pieces)) {
    if (piece === 'OR') {
      joining = true;
      continue;
    }
    const term = termOf(quoted ?? bare ?? '');
    if (!term) continue;
    if (minus || bareMinus) {
      without.push(term);
      last = undefined;
    } else if (joining && last) last.push(term);
    else {
      last = [term];
      wanted.push(last);
    }
    joining = false;
  }
  if (wanted.flat().length + without.length > queryTerms) {
    return refuse('invalid_input', `a search has at most ${queryTerms} words and phrases`);
  }
  return { wanted, without };
}

/**
 * Words in a row, as a text that holds them has them. Of a run in pairs at the end, the last letter may be followed by others in the text: so it
 * stands in the pair before it, or, alone, is the beginning of one.
 */
function termOf(typed: string): Term | undefined {
  const runs = [...runsOf(typed)];
  const last = runs.at(-1);
  if (!last) return undefined;
  const words = runs.flatMap(wordsOf);
  if ('word' in last) return { words, prefix: typed.endsWith('*') };
  if (last.letters.length === 1) return { words, prefix: true };
  return { words: words.slice(0, -1), prefix: false };
}
