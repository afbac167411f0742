/** What goes from hub to hub says which federations it passed; there is an end to that, and it holds up nothing else. */
import { expect, it } from 'vitest';
import { arrived, departing } from '../../src/services/knowledge-sync/peer-names.ts';

const author = 'node:ada@f0';
const clock = `000000000000001-000000-${author}`;
const stated = { memory_id: 'm@f0', clock, owner: author, author, category: 'c', tags: [], seen: {} };
const tombstone = { ...stated, deleted: true, content_hash: null };
const grant = { subject: 's', rule: 'r', policyVersion: 1, passOn: true, edit: false, until: undefined };
const passed = (most: number) => ({
  federation: 'f0',
  hops: Array.from({ length: most }, (_, at) => `f${at}`),
  pass_on: true,
});

it('a document says each federation that it passed, the last one last', () => {
  const there = departing(tombstone, undefined, passed(2), grant, 'here');
  expect(there?.foreign?.hops).toEqual(['f0', 'f1', 'here']);
  const document = { ...stated, deleted: true, version: '0'.repeat(64), foreign: passed(15) };
  expect(arrived(document, null, 'there', 'here')?.foreign?.hops).toEqual([...passed(15).hops, 'there']);
});

it('a document that passed as many as may be written down stays where it is', () => {
  expect(departing(tombstone, undefined, passed(16), grant, 'here')).toBeUndefined();
  const document = { ...stated, deleted: true, version: '0'.repeat(64), foreign: passed(16) };
  expect(arrived(document, null, 'there', 'here')).toBeUndefined();
});
