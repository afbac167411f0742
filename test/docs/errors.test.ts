/** docs/errors.md and the closed list of codes say the same, and the hub has a use for each code. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { codes } from '../../src/errors.ts';

const root = join(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/errors.md'), 'utf8');
const rows = [...page.matchAll(/^\| `(\w+)` +\| (\d+) +\| (.+?) +\| (.+?) +\|$/gm)];

describe('docs/errors.md', () => {
  it('lists every code once, and no other', () => {
    expect(rows.map(([, code]) => code).sort()).toEqual(Object.keys(codes).sort());
  });

  it('gives the status that the hub answers', () => {
    const documented = Object.fromEntries(rows.map(([, code, status]) => [code, Number(status)]));
    const answered = Object.fromEntries(Object.entries(codes).map(([code, { status }]) => [code, status]));
    expect(documented).toEqual(answered);
  });

  it('says of each code what it means and what to do', () => {
    for (const [, code, , meaning, advice] of rows) {
      expect(meaning?.length, `meaning of ${code}`).toBeGreaterThan(15);
      expect(advice?.length, `advice on ${code}`).toBeGreaterThanOrEqual(10);
    }
  });
});

describe('the list of codes', () => {
  it('holds none that no source uses', () => {
    const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts') && file !== 'errors.ts')
      .map((file) => readFileSync(join(root, 'src', file), 'utf8'));
    const unused = Object.keys(codes).filter(
      (code) => !sources.some((text) => text.includes(`'${code}'`) || text.includes(`codes.${code}`)),
    );
    expect(unused).toEqual([]);
  });
});
