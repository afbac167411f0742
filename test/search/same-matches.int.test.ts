/** Random documents and questions: both databases and a reader of plain lists find the same, in the same order. */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { isRefusal } from '../../src/errors.ts';
import { find } from '../../src/search/find.ts';
import type { SearchDocument } from '../../src/search/store.ts';
import type { SearchCursor, SearchHit } from '../../src/search.ts';
import { memory, type OpenedStore } from './conformance.ts';
import { postgresStore, sqliteStore } from './stores.ts';

let stores: OpenedStore[];
beforeAll(async () => {
  stores = [await sqliteStore(), await postgresStore()];
});
afterAll(() => Promise.all(stores.map((each) => each.remove())));

/** A word as the oracle knows it, and ways to write it. */
const vocabulary = [
  ['cafe', 'Café', 'CAFE', 'cafe\u0301'],
  ['caffe', 'caffè'],
  ['of', 'of', 'OF', 'Of'],
  ['a', 'a', 'Å', 'ａ'],
  ['strasse', 'Straße', 'STRASSE'],
  ['12', '12', '１２'],
  ['οδοσ', 'οδος', 'ΟΔΟΣ', 'ὁδός'],
  ['или', 'ИЛИ', 'или'],
  ['नमस्ते', 'नमस्ते'],
  ['or', 'or', 'Or'],
] as const;
type Word = (typeof vocabulary)[number];

interface Doc {
  readonly title: readonly Word[];
  readonly text: readonly Word[];
  readonly label: string;
}
interface Term {
  readonly words: readonly Word[];
  readonly prefix: number | undefined;
}
interface Question {
  readonly groups: readonly (readonly Term[])[];
  readonly without: readonly Term[];
  readonly labels: readonly string[] | undefined;
}

const word = fc.constantFrom<Word>(...vocabulary);
const label = fc.constantFrom('of:a', 'of:A', 'tag:x y');
const doc: fc.Arbitrary<Doc> = fc.record({
  title: fc.array(word, { maxLength: 3 }),
  text: fc.array(word, { maxLength: 12 }),
  label,
});
const term: fc.Arbitrary<Term> = fc.record({
  words: fc.array(word, { minLength: 1, maxLength: 3 }),
  prefix: fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
});
const question: fc.Arbitrary<Question> = fc.record({
  groups: fc.array(fc.array(term, { minLength: 1, maxLength: 3 }), { maxLength: 3 }),
  without: fc.array(term, { maxLength: 2 }),
  labels: fc.option(fc.array(label, { minLength: 1, maxLength: 2 }), { nil: undefined }),
});
const written = (words: readonly Word[], pick: number, between: string) =>
  words.map(([, ...ways], at) => ways[(pick + at) % ways.length]).join(between);

it('finds the same in both databases as who reads all documents, and puts first what is best in every way', async () => {
  const numbers = fc.noShrink(fc.integer({ min: 0, max: 1_000 }));
  let run = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(doc, { minLength: 1, maxLength: 25 }),
      fc.array(question, { minLength: 4, maxLength: 10 }),
      numbers,
      async (docs, questions, pick) => {
        const logId = `log ${run++}`;
        const documents = docs.map((each, at) => documentOf(each, at, pick));
        for (const { store } of stores) {
          await store.begin(logId, 1_000);
          await store.apply(documents, 0, 500);
        }
        for (const asked of questions) {
          const [sqlite, postgres] = await Promise.all(stores.map(({ store }) => hitsOf(store, logId, asked, pick)));
          const expected = docs.flatMap((each, at) => (fits(each, asked) ? [`d${at}`] : []));
          expect(sqlite!.map(({ id }) => id).sort()).toEqual(expected.sort());
          expect(postgres).toEqual(sqlite);
          const best = bestOf(docs, asked);
          if (best !== undefined) expect(sqlite![0]?.id).toBe(`d${best}`);
        }
      },
    ),
    { numRuns: 60 },
  );
}, 120_000);

it('finds the same, page by page, in more documents than are asked for at once, however dense the matches are', async () => {
  const logId = 'many';
  const words = (at: number) =>
    [
      'all',
      at % 2 === 0 ? 'half' : 'other',
      at % 17 === 0 ? 'some' : '',
      at % 1_999 === 0 ? 'rare rare' : '',
      at < 900 ? 'old' : '',
      at > 8_500 && at % 3 > 0 ? 'late' : '',
    ].join(' ');
  const documents = Array.from({ length: 14_000 }, (_, at) =>
    memory({ id: `d${at}`, position: at + 1, text: words(at) }),
  );
  for (const { store } of stores) {
    await store.begin(logId, 1e6);
    for (let at = 0; at < documents.length; at += 1_000) {
      await store.apply(documents.slice(at, at + 1_000), at, at + 1_000);
    }
  }
  const counts = {
    all: 14_000,
    half: 7_000,
    'half some': 412,
    'rare OR old': 907,
    old: 900,
    'late half': 1_832,
    '"all half some"': 412,
  };
  for (const [typed, count] of Object.entries(counts)) {
    const [sqlite, postgres] = await Promise.all(stores.map(({ store }) => pagesOf(store, logId, typed)));
    expect(sqlite!.length, typed).toBe(count);
    expect(new Set(sqlite!.map(({ id }) => id)).size, typed).toBe(count);
    expect(postgres, typed).toEqual(sqlite);
  }
}, 120_000);

it('takes anything that can be typed: the same is found in both databases, and nothing is an error', async () => {
  const logId = 'anything';
  const texts = [
    'or and not near',
    `a 'quoted' "text" * ( ) : & | ! <->`,
    '東京 tower',
    'ab',
    'x^2 {y} [z]',
    'NOT a OR b',
  ];
  const documents = texts.map((text, at) => memory({ id: `t${at}`, position: at + 1, text, title: text.slice(0, 3) }));
  for (const { store } of stores) {
    await store.begin(logId, 1_000);
    await store.apply(documents, 0, 500);
  }
  const piece = fc.constantFrom(
    'a',
    'or',
    'OR',
    'NOT',
    'AND',
    'NEAR(',
    '"',
    '“',
    "'",
    '*',
    '-',
    '--',
    '(',
    ')',
    ':',
    '&',
    '|',
    '!',
    '<->',
    '^',
    '\\',
    '\0',
    '東',
    '京',
    'é',
    '\u0301',
    '\ud800',
    '{a}',
    ' ',
    ' ',
    '%',
    '$1',
    ';',
  );
  const typed = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc.array(piece, { maxLength: 25 }).map((all) => all.join('')),
  );
  await fc.assert(
    fc.asyncProperty(typed, async (words) => {
      const [sqlite, postgres] = await Promise.all(
        stores.map(({ store }) => find(store, logId, { kind: 'memory', words, where: [], limit: 10 })),
      );
      expect(postgres).toEqual(sqlite);
    }),
    { numRuns: 400 },
  );
}, 120_000);

it('indexes any text', async () => {
  let run = 0;
  const any = fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme' }));
  await fc.assert(
    fc.asyncProperty(any, any, async (title, text) => {
      const logId = `any ${run++}`;
      for (const { store } of stores) {
        await store.begin(logId, 1_000);
        await store.apply(
          [memory({ id: 'd', title, text, position: 1 }), memory({ id: 'e', text: 'else', position: 2 })],
          0,
          10,
        );
      }
      const asked = { kind: 'memory', words: text.slice(0, 30), where: [], limit: 10 } as const;
      const [sqlite, postgres] = await Promise.all(stores.map(({ store }) => find(store, logId, asked)));
      expect(postgres).toEqual(sqlite);
      for (const { store } of stores) {
        expect(await store.remove({ subject: 's' }, 10)).toBe(2);
        expect(await find(store, logId, { ...asked, words: '' })).toMatchObject({ hits: [] });
      }
    }),
    { numRuns: 100 },
  );
}, 120_000);

function documentOf({ title, text, label: only }: Doc, at: number, pick: number): SearchDocument {
  return memory({
    id: `d${at}`,
    position: at + 1,
    title: written(title, pick, ' '),
    text: written(text, pick + at, [' ', ', ', '\n— '][pick % 3]!),
    labels: [only],
  });
}

async function pagesOf(store: OpenedStore['store'], logId: string, words: string): Promise<SearchHit[]> {
  const hits: SearchHit[] = [];
  for (let after: SearchCursor | undefined; ; ) {
    const page = await find(store, logId, { kind: 'memory', words, where: [], limit: 300, after });
    if (isRefusal(page)) throw new Error(page.detail);
    hits.push(...page.hits);
    if (!page.next) return hits;
    after = page.next;
  }
}

async function hitsOf(store: OpenedStore['store'], logId: string, { groups, without, labels }: Question, pick: number) {
  const wanted = groups.map((group) => group.map((each) => typed(each, pick)).join(' OR '));
  const words = [...wanted, ...without.map((each) => `-${typed(each, pick)}`)].join(' ');
  const page = await find(store, logId, { kind: 'memory', words, where: labels ? [labels] : [], limit: 100 });
  if (isRefusal(page)) throw new Error(page.detail);
  return page.hits;
}

/** Of a prefix so many letters of the last word are typed; where those are the whole word, it is one all the same. */
function typed({ words, prefix }: Term, pick: number): string {
  if (prefix === undefined) return `"${written(words, pick, ' ')}"`;
  const [folded] = words.at(-1)!;
  return `"${[...words.slice(0, -1).map(([, way]) => way), folded.slice(0, prefix)].join(' ')}*"`;
}

function timesIn(words: readonly Word[], { words: sought, prefix }: Term): number {
  const fitsAt = (start: number) =>
    sought.every(([folded], at) => {
      const [there] = words[start + at] ?? [undefined];
      if (there === undefined) return false;
      return prefix !== undefined && at === sought.length - 1
        ? there.startsWith(folded.slice(0, prefix))
        : there === folded;
    });
  return words.filter((_, start) => fitsAt(start)).length;
}

function has({ title, text }: Doc, sought: Term): boolean {
  return timesIn(title, sought) + timesIn(text, sought) > 0;
}

function fits(each: Doc, { groups, without, labels }: Question): boolean {
  return (
    (labels?.includes(each.label) ?? true) &&
    groups.every((group) => group.some((sought) => has(each, sought))) &&
    !without.some((sought) => has(each, sought))
  );
}

/** The one that has each term more often than any other, in title and text, and is no longer; if there is one. */
function bestOf(docs: readonly Doc[], asked: Question): number | undefined {
  // terms of many words may lie over each other, and are then counted in another way
  const terms = asked.groups.flat();
  if (terms.length === 0 || terms.some(({ words }) => words.length > 1)) return undefined;
  const matching = docs.flatMap((each, at) => (fits(each, asked) ? [at] : []));
  const size = ({ title, text }: Doc) => [...title, ...text].reduce((sum, [folded]) => sum + folded.length, 0);
  const beats = (one: Doc, other: Doc) =>
    terms.every((sought) => timesIn(one.title, sought) > timesIn(other.title, sought)) &&
    terms.every((sought) => timesIn(one.text, sought) >= timesIn(other.text, sought)) &&
    one.title.length + one.text.length <= other.title.length + other.text.length &&
    size(one) <= size(other);
  return matching.find((at) => matching.every((other) => other === at || beats(docs[at]!, docs[other]!)));
}
