/** Words of strangers on the operator's terminal: they are shown, and never obeyed. */
import { afterEach, expect, it, vi } from 'vitest';
import { Output } from '../../src/cli/output.ts';
import { EntityProfile } from '../../src/events/entity.ts';
import { checker } from '../../src/input.ts';

const evil = 'a\u001b]0;x\u0007\u009b31m\rb\u202ec\u2066\u007f';
const written: string[] = [];
vi.spyOn(process.stdout, 'write').mockImplementation((text) => written.push(String(text)) > 0);
afterEach(() => {
  written.length = 0;
});

it('leaves no control character in tables, lines and values, and keeps their line ends', () => {
  const output = new Output(false);
  output.table(['name', 'node'], [{ name: `${evil}\n`, node: 'x' }]);
  output.say(evil);
  output.value({}, `first ${evil}\nsecond`);
  const all = written.join('');
  expect(all).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}]/u);
  expect(all.split('\n')).toHaveLength(6);
  expect(all).toContain('\u{FFFD}]0;x\u{FFFD}');
});

it('gives programs every character as it is', () => {
  new Output(true).value({ evil }, '');
  expect(JSON.parse(written.join(''))).toEqual({ evil });
});

it('takes no control characters in names and capabilities of entities', () => {
  const check = checker(EntityProfile);
  const fine = { display_name: 'Größe 数 👩‍🚀', capabilities: ['chat'], description: 'two\nlines' };
  expect(check(fine)).toEqual(fine);
  for (const char of ['\n', '\u001b', '\u009b', '\u007f']) {
    expect(check({ display_name: `a${char}` })).toMatchObject({ refused: 'invalid_input' });
    expect(check({ capabilities: [`${char}a`] })).toMatchObject({ refused: 'invalid_input' });
  }
});
