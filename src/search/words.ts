/**
 * What a word is, for both databases: they are given words and never find any themselves.
 *
 * Letters lose case, accents and width (NFKD); nothing else is taken from them: no endings, no words passed over, no language. Scripts that
 * put no spaces between words, and Hangul, whose particles cling to them, are cut into overlapping pairs of letters: any part of a run
 * is found then, in the same way by every version of Node, which dictionaries of word boundaries do not promise.
 */
import { createHash } from 'node:crypto';

const wordLetters = 64;
const titleWords = 1_000;
const textWords = 20_000;
/** Letters of all words of a text together. A text vector of PostgreSQL holds 1 MiB. */
const allLetters = 192 * 1_024;
/** UTF-16 units of a text that are looked at. */
const lookedAt = 1_048_576;

/** A run of letters: one word, or the letters of a script that is cut into pairs. */
export type Run = { readonly word: string } | { readonly letters: readonly string[] };

const paired = '\\p{scx=Han}\\p{scx=Hira}\\p{scx=Kana}\\p{sc=Hang}\\p{sc=Thai}\\p{sc=Laoo}\\p{sc=Khmr}\\p{sc=Mymr}';
const runs = new RegExp(`((?:(?=[\\p{L}\\p{M}\\p{N}])[${paired}])+)|(?:(?![${paired}])[\\p{L}\\p{M}\\p{N}])+`, 'gu');
/** Marks that stand on letters of many scripts, and those of Hebrew; not those of kana, which make other letters. And soft hyphens. */
const accents = /(?![\u3099\u309a])(?=\p{M})[\p{sc=Zinh}\p{sc=Hebr}]|\u00ad/gu;
// biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII is meant
const ascii = /^[\x00-\x7f]*$/;

/** The runs of a text, in order, folded. */
export function* runsOf(text: string): Generator<Run> {
  const looked = text.slice(0, lookedAt);
  if (ascii.test(looked)) {
    for (const [word] of looked.toLowerCase().matchAll(/[a-z0-9]+/g)) yield { word: cut(word) };
    return;
  }
  for (const [run, letters] of folded(looked).matchAll(runs)) {
    yield letters === undefined ? { word: cut(run) } : { letters: [...letters] };
  }
}

/** The words of a run. The last letter of a paired run also stands alone, so that each of its letters begins a word. */
export function wordsOf(run: Run): readonly string[] {
  if ('word' in run) return [run.word];
  return run.letters.map((letter, at) => letter + (run.letters[at + 1] ?? ''));
}

/**
 * The words of a title as they are kept: `<of><the><hub>`, in order. Signs that are in no word bound them, so that a word, a beginning and a phrase
 * can each be looked for as a piece of text. At most 1,000.
 */
export function keptTitle(title: string): string {
  return kept(title, titleWords);
}

/** The same of a text: at most 20,000 words with 196,608 letters in all. */
export function keptText(text: string): string {
  return kept(text, textWords);
}

/** Words as they are kept. */
export function marked(words: readonly string[]): string {
  return words.length === 0 ? '' : `<${words.join('><')}>`;
}

/** The different words in what was kept, one after the other. */
export function tokensIn(...all: readonly string[]): string[] {
  const joined = all.join('');
  return joined === '' ? [] : [...new Set(joined.slice(1, -1).split('><'))];
}

/** What stands for a label among the words: no text holds it, and it stays the same whatever the label holds. */
export function labelToken(label: string): string {
  return `=${createHash('sha256').update(label).digest('hex').slice(0, 32)}`;
}

function kept(text: string, most: number): string {
  const words: string[] = [];
  let letters = 0;
  for (const run of runsOf(text)) {
    for (const word of wordsOf(run)) {
      letters += word.length;
      if (words.length === most || letters > allLetters) return marked(words);
      words.push(word);
    }
  }
  return marked(words);
}

/** Up and down, so that letters with two small forms become one. The small sigma at the end of a word is the last that is left. */
function folded(text: string): string {
  const bare = text.normalize('NFKD').replace(accents, '');
  return bare.toUpperCase().toLowerCase().replaceAll('ς', 'σ').normalize('NFC');
}

function cut(word: string): string {
  return word.length <= wordLetters ? word : [...word].slice(0, wordLetters).join('');
}
