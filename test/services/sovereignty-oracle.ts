/** What sovereignty should say, written as plainly as it is told, and apart from the code; with random policies to ask both. */
import fc from 'fast-check';
import type { Parties, ShareRule, Sovereignty, TakeRule } from '../../src/events/sovereignty.ts';
import type { Attributes } from './sovereignty-ground.ts';

export const now = Date.parse('2026-06-01T12:00:00.000Z');

/** A version, as the oracle knows it. */
export interface Known {
  readonly memoryId: string;
  readonly version: string;
  /** A node, or `@federation`. */
  readonly subject: string;
  /** Nobody's: its node was removed, whoever has the name now. */
  readonly orphaned: boolean;
  /** A tombstone. */
  readonly deleted: boolean;
  readonly category: string;
  readonly tags: readonly string[];
  readonly foreign?: { readonly pass_on: boolean; readonly until?: string };
}

export interface World {
  readonly nodes: Readonly<Record<string, Attributes>>;
  readonly policies: Readonly<Record<string, Sovereignty>>;
}

/** The share rules that allow it, in the order of the policy; `own` when it needs none; undefined when it is forbidden. */
export function allowed(
  world: World,
  version: Known,
  receiver: string,
  purpose: 'show' | 'move' | 'edit',
): ShareRule[] | 'own' | undefined {
  const { subject, foreign } = version;
  if (foreign?.until !== undefined && new Date(foreign.until).getTime() <= now) return undefined;
  if (foreign !== undefined && purpose === 'edit') return undefined;
  if (version.orphaned) return undefined;
  if (subject === receiver) return 'own';
  if (foreign !== undefined && foreign.pass_on === false) return undefined;
  const rules = (world.policies[subject]?.shares ?? []).filter((rule) => {
    if (!someoneIn(world, rule.with, receiver)) return false;
    if (!rule.categories.some((pattern) => named(pattern, version.category))) return false;
    if (rule.tags !== undefined && rule.tags.filter((tag) => version.tags.includes(tag)).length === 0) return false;
    if (rule.until !== undefined && new Date(rule.until).getTime() <= now) return false;
    return purpose !== 'edit' || rule.edit === true;
  });
  if (rules.length === 0) return undefined;
  if (purpose !== 'move') return rules;
  const takes = (world.policies[receiver]?.takes ?? []).filter((rule) => {
    if (!someoneIn(world, rule.with, subject)) return false;
    if (!rule.categories.some((pattern) => named(pattern, version.category))) return false;
    if (rule.until !== undefined && new Date(rule.until).getTime() <= now) return false;
    return foreign === undefined || rule.foreign === true;
  });
  return takes.length === 0 ? undefined : rules;
}

/** The one of several that gives most: a hand that may pass it on, then one that may write, then the longest, then the first. */
export function most(rules: readonly ShareRule[], version: Known): { rule: string; until: number } {
  const end = (rule: ShareRule) => {
    const ends = [Number.POSITIVE_INFINITY];
    if (rule.until !== undefined) ends.push(new Date(rule.until).getTime());
    if (rule.keep_seconds !== undefined) ends.push(now + rule.keep_seconds * 1000);
    return Math.min(...ends);
  };
  const ranked = rules
    .map((rule, at) => ({ rule, at }))
    .sort(
      (a, b) =>
        Number(b.rule.pass_on === true) - Number(a.rule.pass_on === true) ||
        Number(b.rule.edit === true) - Number(a.rule.edit === true) ||
        (end(a.rule) === end(b.rule) ? 0 : end(a.rule) > end(b.rule) ? -1 : 1) ||
        a.at - b.at,
    );
  const { rule } = ranked[0]!;
  const foreign = version.foreign?.until === undefined ? Number.POSITIVE_INFINITY : Date.parse(version.foreign.until);
  return { rule: rule.id, until: Math.min(end(rule), foreign) };
}

function someoneIn({ nodes }: World, words: Parties, who: string): boolean {
  const one = nodes[who];
  const tests: boolean[] = [];
  if ('everyone' in words) tests.push(true);
  if (words.nodes !== undefined) tests.push(words.nodes.includes(who));
  if (words.roles !== undefined) tests.push(one !== undefined && words.roles.includes(one.role));
  if (words.owners !== undefined) tests.push(one?.owner !== undefined && words.owners.includes(one.owner));
  if (words.regions !== undefined) tests.push(one?.region !== undefined && words.regions.includes(one.region));
  return tests.length > 0 && tests.every((fits) => fits);
}

function named(pattern: string, category: string): boolean {
  if (pattern === '*') return true;
  if (!pattern.endsWith('/*')) return pattern === category;
  const above = pattern.substring(0, pattern.length - 2).split('/');
  return above.every((word, at) => category.split('/')[at] === word);
}

export const categories = ['a', 'a/b', 'a/b/c', 'ab', 'a0', 'b', 'b/a'];
export const tags = ['red', 'blue', '"', 'green'];
const patterns = ['*', 'a', 'a/*', 'a/b', 'a/b/*', 'a/b/c/*', 'ab/*', 'b', 'b/*', 'c'];

/** At most three of these, in any order. */
const some = <T>(all: readonly T[]) => fc.uniqueArray(fc.constantFrom(...all), { minLength: 1, maxLength: 3 });
const times = [now - 1, now, now + 1, now + 50_000, now + 100_000].map((ms) => new Date(ms).toISOString());

export function policies(nodes: readonly string[]): fc.Arbitrary<Sovereignty> {
  const parties: fc.Arbitrary<Parties> = fc.oneof(
    { weight: 2, arbitrary: fc.constant<Parties>({ everyone: true }) },
    {
      weight: 5,
      arbitrary: fc.record(
        {
          everyone: fc.constant(true as const),
          nodes: some(nodes),
          roles: some(['admin', 'member', 'observer'] as const),
          owners: some(['acme', 'umbrella']),
          regions: some(['eu', 'us']),
        },
        { requiredKeys: [] },
      ),
    },
  );
  const share: fc.Arbitrary<ShareRule> = fc.record(
    {
      id: fc.constant('r'),
      categories: some(patterns),
      with: parties,
      tags: some(tags),
      until: fc.constantFrom(...times),
      keep_seconds: fc.constantFrom(1, 60, 100),
      pass_on: fc.boolean(),
      edit: fc.boolean(),
    },
    { requiredKeys: ['id', 'categories', 'with'] },
  );
  const take: fc.Arbitrary<TakeRule> = fc.record(
    {
      id: fc.constant('t'),
      categories: some(patterns),
      with: parties,
      until: fc.constantFrom(...times),
      foreign: fc.boolean(),
    },
    { requiredKeys: ['id', 'categories', 'with'] },
  );
  const numbered = <R extends { id: string }>(rules: R[]): R[] => rules.map((rule, at) => ({ ...rule, id: `r${at}` }));
  return fc.record({
    shares: fc.array(share, { maxLength: 4 }).map(numbered),
    takes: fc.array(take, { maxLength: 3 }).map(numbered),
  });
}
