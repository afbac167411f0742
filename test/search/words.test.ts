import { describe, expect, it } from 'vitest';
import { planOf } from '../../src/search/query.ts';
import { keptText, keptTitle, labelToken, tokensIn } from '../../src/search/words.ts';

const words = (text: string) => tokensIn(keptText(text));

describe('words', () => {
  it.each([
    ['Hello, World! 42', ['hello', 'world', '42']],
    ["don't e-mail user@example.org", ['don', 't', 'e', 'mail', 'user', 'example', 'org']],
    ['Ünïcode ＦＵＬＬ ﬁne ①', ['unicode', 'full', 'fine', '1']],
    ['İstanbul ISTANBUL ıstanbul', ['istanbul']],
    ['ΣΊΣΥΦΟΣ σίσυφος', ['σισυφοσ']],
    ['Straße STRASSE', ['strasse']],
    ['שָׁלוֹם שלום', ['שלום']],
    ['مُحَمَّد محمد', ['محمد']],
    ['हिन्दी', ['हिन्दी']],
    ['exam\u00adple', ['example']],
    ['🎉 !? — …', []],
  ])('of %s', (text, expected) => {
    expect(words(text)).toEqual(expected);
  });

  it('of scripts without spaces are pairs, and the last letter', () => {
    expect(words('東京都')).toEqual(['東京', '京都', '都']);
    expect(words('ガｶﾞ')).toEqual(['ガガ', 'ガ']);
    expect(words('iPhone手机 2')).toEqual(['iphone', '手机', '机', '2']);
    expect(words('コーヒー')).toEqual(['コー', 'ーヒ', 'ヒー', 'ー']);
  });

  it('keep the voice of kana, and lose the accents of letters', () => {
    expect(words('か')).not.toEqual(words('が'));
    expect(words('й')).toEqual(words('и'));
  });

  it('are cut at 64 letters, and counted to an end', () => {
    expect(words('x'.repeat(100))).toEqual(['x'.repeat(64)]);
    expect([...words('𐐷'.repeat(100))[0]!].length).toBe(64);
    const many = Array.from({ length: 30_000 }, (_, at) => `w${at}`).join(' ');
    expect(words(many).length).toBe(20_000);
    expect(tokensIn(keptTitle(many)).length).toBe(1_000);
    const long = Array.from({ length: 20_000 }, (_, at) => `${'long'.repeat(10)}${at}`).join(' ');
    expect(words(long).join('').length).toBeLessThanOrEqual(196_608);
  });

  it('are never what stands for a label', () => {
    expect(labelToken('A')).not.toBe(labelToken('a'));
    expect(words(labelToken('a'))).not.toContain(labelToken('a'));
  });
});

describe('a query', () => {
  const plan = (typed: string) => {
    const found = planOf({ kind: 'memory', words: typed, where: [], limit: 1 });
    if (found === 'nothing' || 'refused' in found) return found;
    const shown = ({ words: all, prefix }: { words: readonly string[]; prefix: boolean }) =>
      all.join(' ') + (prefix ? '*' : '');
    return [
      ...found.wanted.map((group) => group.map(shown).join('|')),
      ...found.without.map((term) => `-${shown(term)}`),
    ].join(', ');
  };

  it.each([
    ['a b', 'a, b'],
    ['"a b" c', 'a b, c'],
    ['“a b” „c d“', 'a b, c d'],
    ['"never closed', 'never closed'],
    ['a OR b OR c d', 'a|b|c, d'],
    ['OR a OR', 'a'],
    ['a or b', 'a, or, b'],
    ['a OR -b c', 'a, c, -b'],
    ['-a -"b c"', '-a, -b c'],
    ['--a', '-a'],
    ['- a', 'a'],
    ['pre* "one tw*"', 'pre*, one tw*'],
    ['e-mail', 'e mail'],
    ['東', '東*'],
    ['東京タワー', '東京 京タ タワ ワー'],
    ['東京tower', '東京 京 tower'],
    ['a*b', 'a b'],
    ['', ''],
  ])('%s', (typed, expected) => {
    expect(plan(typed)).toBe(expected);
  });

  it('without a word finds nothing, unless it is blank', () => {
    expect(plan('***')).toBe('nothing');
    expect(plan('-"…" OR')).toBe('nothing');
    expect(plan(' \n')).toBe('');
  });

  it('has 512 characters and 32 terms at most', () => {
    expect(plan('x'.repeat(512))).not.toMatchObject({ refused: 'invalid_input' });
    expect(plan('x'.repeat(513))).toMatchObject({ refused: 'invalid_input' });
    expect(plan('a '.repeat(32))).not.toMatchObject({ refused: 'invalid_input' });
    expect(plan(`${'a OR '.repeat(31)}a -b`)).toMatchObject({ refused: 'invalid_input' });
  });
});
