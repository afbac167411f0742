/** The README's table of settings is the list of src/config.ts. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { settings } from '../../src/config.ts';

it("tells every setting in the README, in order and in the hub's own words", () => {
  const readme = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8');
  const section = readme.slice(readme.indexOf('\n## Settings'));
  const table = section.slice(0, section.indexOf('\n## ', 1));
  const told = [...table.matchAll(/^\| `([A-Z_]+)` +\| (.+?) +\|$/gm)].map(([, name, meaning]) => ({
    name,
    meaning: meaning?.replaceAll('\\<', '<'), // or it would be taken for HTML
  }));
  expect(told).toEqual(settings.map(({ name, meaning }) => ({ name, meaning })));
});
