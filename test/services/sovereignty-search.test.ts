/** Looking for memories never shows what the judge forbids, whatever is asked for and whatever the rules are. */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { isRefusal } from '../../src/errors.ts';
import { openSearch, type SearchIndex } from '../../src/search.ts';
import { listMemories, searchMemories } from '../../src/services/knowledge-sync/find.ts';
import { readerOf } from '../../src/services/knowledge-sync/shown.ts';
import { type Attributes, clock, type Ground, openGround } from './sovereignty-ground.ts';
import { allowed, categories, type Known, now, policies, tags } from './sovereignty-oracle.ts';

const nodes: Record<string, Attributes> = {
  ada: { role: 'member', owner: 'acme', region: 'eu' },
  bob: { role: 'admin', owner: 'umbrella', region: 'us' },
  cyd: { role: 'observer' },
};
const subjects = [...Object.keys(nodes), '@federation'];
const words = ['alpha', 'beta', 'gamma'];

let ground: Ground;
let search: SearchIndex;
let version = 0;
const universe: (Known & { readonly text: string })[] = [];

beforeAll(async () => {
  clock.now = now;
  ground = await openGround();
  search = openSearch({ ...ground, url: ground.url });
  for (const [nodeId, attributes] of Object.entries(nodes)) await ground.join(nodeId, attributes);
  let position = 0;
  for (const subject of subjects) {
    for (const [at, category] of categories.entries()) {
      const identity =
        subject === '@federation'
          ? ({ kind: 'operator', prefix: 'x', scopes: ['act'] } as const)
          : ({ kind: 'node', nodeId: subject, sessionId: 's', role: 'member' } as const);
      const its = tags.slice(0, at % 4);
      const memoryId = `${subject.replace('@', '')}-${at}`;
      const text = `${words[at % 3]} ${words[(at + 1) % 3]}`;
      const memory = { memory_id: memoryId, category, tags: its, content: text };
      const done = await ground.memories.store(memory, identity, { actor: 'x' });
      if (isRefusal(done)) throw new Error(done.detail);
      position = done.position;
      const about = { memoryId, version: done.reply.version, subject, category, tags: its, text };
      universe.push({ ...about, orphaned: false, deleted: false });
    }
  }
  expect(await search.reached(position)).toBe(true);
  await ground.views.read(position, async () => undefined);
});
afterAll(async () => {
  await search.close();
  await ground.close();
});

const reader = fc.constantFrom(...Object.keys(nodes));
const filter: fc.Arbitrary<Asked> = fc.record(
  {
    category: fc.constantFrom('a', 'a/b', 'b', 'zz'),
    tags: fc.constantFrom(['red'], ['"'], ['red', 'blue'], ['none']),
    owner: fc.constantFrom('node:ada', 'node:bob', 'operator:x'),
  },
  { requiredKeys: [] },
);
const world = fc.record(Object.fromEntries(subjects.map((subject) => [subject, policies(subjects)])));

interface Asked {
  readonly category?: string;
  readonly tags?: string[];
  readonly owner?: string;
}

/** Memory ids, page by page. */
async function find(who: string, asked: Asked, word: string, limit: number): Promise<string[]> {
  const identity = { kind: 'node', nodeId: who, sessionId: 's', role: nodes[who]!.role } as const;
  const by = readerOf(ground.members, identity, now);
  const hub = { ...ground, search };
  const found: string[] = [];
  const take = (rows: readonly { memory_id: string }[]) => found.push(...rows.map(({ memory_id }) => memory_id));
  if (word === '') {
    for (let before: number | undefined = Number.MAX_SAFE_INTEGER; before !== undefined; ) {
      const page = await listMemories(hub, ground.members, by, { ...asked, limit }, before);
      take(page.rows);
      before = page.next;
    }
    return found.sort();
  }
  let after: Parameters<typeof searchMemories>[5];
  do {
    const page = await searchMemories(hub, ground.members, by, { ...asked, limit }, word, after);
    if (isRefusal(page)) throw new Error(page.detail);
    take(page.rows);
    after = page.next;
  } while (after);
  return found.sort();
}

const ownerOf = ({ subject }: Known) => (subject === '@federation' ? 'operator:x' : `node:${subject}`);

it('shows what the oracle allows, all of it, page by page, and nothing else', { timeout: 120_000 }, async () => {
  let shown = 0;
  const question = fc.record({
    who: reader,
    asked: fc.oneof(fc.constant<Asked>({}), filter),
    word: fc.constantFrom('', ...words),
    limit: fc.integer({ min: 1, max: 9 }),
  });
  await fc.assert(
    fc.asyncProperty(world, question, async (all, { who, asked, word, limit }) => {
      version++;
      await Promise.all(Object.entries(all).map(([subject, policy]) => ground.declare(subject, version, policy)));
      const expected = universe.filter(
        (one) =>
          allowed({ nodes, policies: all }, one, who, 'show') &&
          (asked.category === undefined || `${one.category}/`.startsWith(`${asked.category}/`)) &&
          (asked.owner === undefined || asked.owner === ownerOf(one)) &&
          (asked.tags ?? []).every((tag) => one.tags.includes(tag)) &&
          one.text.includes(word),
      );
      const found = await find(who, asked, word, limit);
      shown += found.length;
      expect(found).toEqual(expected.map(({ memoryId }) => memoryId).sort());
    }),
    { numRuns: 400 },
  );
  expect(shown).toBeGreaterThan(400);
});

it('shows no more, and no less, where rules name more than the index can be asked by', async () => {
  const many = (at: number) => Array.from({ length: 63 }, (_, one) => `n${at}/n${one}`);
  const shares = [1, 2, 3, 4, 5].map((at) => ({
    id: `r${at}`,
    categories: [at === 3 ? 'a/*' : `x${at}`, ...many(at)],
    with: { nodes: ['bob'] },
  }));
  await ground.declare('ada', ++version, { shares, takes: [] });
  await Promise.all(['cyd', '@federation'].map((one) => ground.declare(one, ++version, { shares: [], takes: [] })));
  for (const word of ['', 'alpha', 'beta']) {
    const expected = universe.filter(
      ({ subject, category, text }) =>
        text.includes(word) && (subject === 'bob' || (subject === 'ada' && `${category}/`.startsWith('a/'))),
    );
    expect(await find('bob', {}, word, 2)).toEqual(expected.map(({ memoryId }) => memoryId).sort());
  }
});
