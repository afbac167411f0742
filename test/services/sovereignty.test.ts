/** Random policies against an oracle that was written apart: what leaves, by which rule, and who holds what. */
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { holdingsStream, moved, withdrawn } from '../../src/commands/holdings.ts';
import { memoryStream } from '../../src/commands/memory.ts';
import { nodeStream } from '../../src/commands/node.ts';
import { isRefusal } from '../../src/errors.ts';
import type { DomainEvent } from '../../src/events/catalog.ts';
import type { Hub } from '../../src/hub.ts';
import { contentHash, versionId } from '../../src/knowledge.ts';
import { findHoldings } from '../../src/projections/holdings.ts';
import { findMemory } from '../../src/projections/memories.ts';
import { findVersions } from '../../src/projections/memory-versions.ts';
import type { Document } from '../../src/protocol/knowledge.ts';
import { Asks } from '../../src/services/knowledge-sync/asks.ts';
import { Endings } from '../../src/services/knowledge-sync/endings.ts';
import { Holdings } from '../../src/services/knowledge-sync/holdings.ts';
import { type Offered, offeredTo } from '../../src/services/knowledge-sync/offered.ts';
import { Withdrawals } from '../../src/services/knowledge-sync/withdrawals.ts';
import type { WebsocketPool } from '../../src/services/websocket-pool.ts';
import { type Grant, Judge, judge, ownRule, type Purpose } from '../../src/sovereignty.ts';
import { until } from '../projections/backends.ts';
import { type Attributes, clock, type Ground, openGround } from './sovereignty-ground.ts';
import { allowed, categories, type Known, most, now, policies, tags, type World } from './sovereignty-oracle.ts';

const nodes: Record<string, Attributes> = {
  ada: { role: 'member', owner: 'acme', region: 'eu' },
  bob: { role: 'member', owner: 'umbrella', region: 'us' },
  cyd: { role: 'admin', owner: 'acme' },
  dan: { role: 'observer', region: 'eu' },
  eve: { role: 'member' },
};
const subjects = [...Object.keys(nodes), '@federation'];

let ground: Ground;
/** Every version that none replaces, tombstones too. */
const universe: Known[] = [];
let versionOfPolicies = 0;

beforeAll(async () => {
  clock.now = now;
  ground = await openGround();
  await ground.join('eve', { role: 'admin', owner: 'acme', region: 'eu' }); // another, whose name is taken later
  for (const [at, category] of categories.entries())
    await write(`orphan${at}`, 'node:eve', category, [], { orphaned: true });
  await ground.remove('eve');
  for (const [nodeId, attributes] of Object.entries(nodes)) await ground.join(nodeId, attributes);
  for (const subject of subjects) {
    const owner = subject === '@federation' ? 'operator:x' : `node:${subject}`;
    const name = subject.replace('@', '');
    for (const [at, category] of categories.entries()) {
      await write(`${name}-${at}`, owner, category, tags.slice(0, at % 4));
      const until = at % 3 === 0 ? new Date(now + (at - 3) * 20_000).toISOString() : undefined;
      const foreign = { pass_on: at % 2 === 0, ...(until && { until }) };
      await write(`${name}-${at}@there`, 'node:zoe@there', category, tags.slice(0, at % 3), { subject, foreign });
    }
    // Two that do not know of each other, one of them a tombstone.
    await write(`${name}-twice`, owner, 'a', ['red']);
    await write(`${name}-twice`, owner, 'b', ['blue'], { deleted: true, author: 'operator:y' });
  }
  const head = await ground.log.head();
  await ground.views.read(head, async () => undefined);
});
afterAll(() => ground.close());

interface Written {
  readonly subject?: string;
  readonly author?: string;
  readonly orphaned?: boolean;
  readonly deleted?: boolean;
  readonly foreign?: { pass_on: boolean; until?: string };
}

/** As the log holds it after a sync, with an id and a clock that are as they should be. */
async function write(memory_id: string, owner: string, category: string, its: string[], about: Written = {}) {
  const { foreign, deleted = false, orphaned = false, author = owner } = about;
  const subject = about.subject ?? (owner.startsWith('node:') ? owner.slice(5) : '@federation');
  const actor = subject === '@federation' ? 'operator:x' : `node:${subject}`;
  const content_hash = deleted ? null : contentHash({ content: memory_id });
  const ms = String(now - 1_000 + universe.length).padStart(15, '0');
  const stated = { memory_id, clock: `${ms}-000000-${author}`, owner, author, category, tags: its, seen: {}, deleted };
  const version = versionId({ ...stated, content_hash });
  const { deleted: _, ...said } = stated;
  const from = foreign && { foreign: { federation: 'there', hops: ['there'], ...foreign } };
  const { keyId } = await ground.keyring.dataKey(`memory:${owner}`);
  const content = { subject: `memory:${owner}`, key_id: keyId, sealed: '' };
  await ground.executor.note(
    memoryStream(memory_id),
    [
      content_hash === null
        ? { type: 'memory.deleted', data: { ...said, version, ...from } }
        : { type: 'memory.stored', data: { ...said, version, ...from, content, content_hash, bytes: 1 } },
    ],
    { actor },
  );
  universe.push({
    memoryId: memory_id,
    version,
    subject,
    orphaned,
    deleted,
    category,
    tags: its,
    ...(foreign && { foreign }),
  });
}

const world: fc.Arbitrary<World> = fc
  .record(Object.fromEntries(subjects.map((subject) => [subject, policies(subjects)])))
  .map((all) => ({ nodes, policies: all }));
const receiver = fc.constantFrom(...Object.keys(nodes));

/** Those who are members, with the policies of a world that nobody declared. */
function standingIn({ policies: all }: World) {
  const standing = {
    party: (subject: string) => ground.members.party(subject),
    policy: (subject: string) => ({ ...all[subject]!, policy_version: 1 }),
  };
  return {
    ...standing,
    sharers: () => subjects,
    judge: (who: string, purpose: Purpose) => new Judge(ground.members.party(who)!, purpose, standing),
  };
}

async function declareAll({ policies: all }: World): Promise<void> {
  versionOfPolicies++;
  await Promise.all(Object.entries(all).map(([subject, policy]) => ground.declare(subject, versionOfPolicies, policy)));
}

/** What the hub would make fingerprints over. */
async function offered(to: string, members: Parameters<typeof offeredTo>[1] = ground.members): Promise<Offered[]> {
  const found: Offered[] = [];
  for await (const page of offeredTo(ground, members, to)) found.push(...page);
  return found;
}

const idsOf = (versions: readonly { version: string }[]) => versions.map(({ version }) => version).sort();
const expectedFor = (one: World, to: string) => universe.filter((version) => allowed(one, version, to, 'move'));

/** Why a grant is not what the oracle says; undefined when it is. */
function wrong(grant: Grant | undefined, version: Known, rules: ReturnType<typeof allowed>): string | undefined {
  if (rules === undefined) return grant && 'it is forbidden';
  if (!grant) return 'it is allowed';
  if (rules === 'own') return grant.rule === ownRule ? undefined : 'it is one’s own';
  const { rule, until } = most(rules, version);
  const same = grant.rule === rule && (grant.until ?? Number.POSITIVE_INFINITY) === until;
  return same && grant.subject === version.subject ? undefined : `${rule} until ${until} gives most`;
}

describe('sovereignty', () => {
  it('lets nothing leave that the oracle forbids, keeps nothing back that it allows, and names the rule that it names', {
    timeout: 300_000,
  }, async () => {
    const seen = { allowed: 0, forbidden: 0 };
    await fc.assert(
      fc.asyncProperty(world, receiver, async (one, to) => {
        const standing = standingIn(one);
        const move = new Map<string, { version: Known; ms: number; rules: ReturnType<typeof allowed> }>();
        for (const purpose of ['show', 'move', 'edit'] as const) {
          for (const [at, version] of universe.entries()) {
            const rules = allowed(one, version, to, purpose);
            const grant = judge(ground.members.party(to)!, purpose, matterOf(version), now, standing);
            const why = wrong(grant, version, rules);
            if (why) throw new Error(`${version.memoryId} to ${to} (${purpose}): ${why}`);
            seen[rules ? 'allowed' : 'forbidden']++;
            if (purpose === 'move' && rules) move.set(version.version, { version, ms: now - 1_000 + at, rules });
          }
        }
        const found = await offered(to, standing);
        for (const { version, ms, grant, memoryId } of found) {
          const expected = move.get(version);
          const why = expected ? wrong(grant, expected.version, expected.rules) : 'it is forbidden, or comes twice';
          if (why) throw new Error(`${memoryId} is offered to ${to}: ${why}`);
          if (ms !== expected?.ms) throw new Error(`${memoryId} is of ${expected?.ms}, not of ${ms}`);
          move.delete(version);
        }
        for (const { version } of move.values()) throw new Error(`${version.memoryId} is not offered to ${to}`);
      }),
      { numRuns: 10_000 },
    );
    expect(Math.min(seen.allowed, seen.forbidden)).toBeGreaterThan(100_000); // of both kinds there were many
  });

  it('counts from the moment it is declared, for everyone', { timeout: 60_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(world, async (one) => {
        await declareAll(one);
        for (const to of Object.keys(nodes)) expect(idsOf(await offered(to))).toEqual(idsOf(expectedFor(one, to)));
      }),
      { numRuns: 50 },
    );
  });

  it('knows who holds what, and asks back what the oracle no longer allows', { timeout: 120_000 }, async () => {
    const withdrawals = new Withdrawals(ground, ground.members, await ground.log.head());
    const holdings = new Holdings(ground, ground.members);
    let askedBack = 0;
    await fc.assert(
      fc.asyncProperty(world, world, async (one, other) => {
        await declareAll(one);
        const held = new Map<string, Set<string>>();
        for (const to of Object.keys(nodes)) {
          const moves = (await offered(to)).filter(
            ({ grant, version }) =>
              grant.rule !== ownRule && !universe.some((known) => known.version === version && known.deleted),
          ); // a tombstone is no copy
          await holdings.recordMoves(to, moves, { actor: `node:${to}` });
          for (const { memoryId } of moves) held.set(memoryId, (held.get(memoryId) ?? new Set()).add(to));
        }
        await declareAll(other);
        for (const { memoryId } of universe) {
          const expected = [...(held.get(memoryId) ?? [])].sort().map((holder) => {
            const heads = universe.filter((version) => version.memoryId === memoryId && !version.deleted);
            const may = heads.some((version) => allowed(other, version, holder, 'move'));
            if (!may) askedBack++;
            return `${holder} ${may ? 'held' : 'asked'}`;
          });
          await until(`who holds ${memoryId}`, async () => {
            const rows = await holdersNow(holdings, memoryId);
            return isDeepStrictEqual(rows, expected);
          });
        }
        for (const to of Object.keys(nodes)) {
          const all = [...held].filter(([, holders]) => holders.has(to)).map(([memoryId]) => memoryId);
          const answers = withdrawn(to, all, 'honoured', await ground.log.head());
          if (answers.length > 0) await ground.tell(`holdings-${to}`, ...answers);
        }
      }),
      { numRuns: 75 },
    );
    expect(askedBack).toBeGreaterThan(100);
    await withdrawals.close();
  });

  it('keeps nothing of another federation beyond its time, and takes it as new when it comes again', async () => {
    const author = 'node:ada@there';
    const foreign = (id: string, until?: string): Document => {
      const memory = { memory_id: `${id}@there`, clock: `${String(now).padStart(15, '0')}-000000-${author}` };
      const said = { ...memory, owner: author, author, category: 'c', tags: [], seen: {}, deleted: false };
      const content = { content: id };
      const version = versionId({ ...said, content_hash: contentHash(content) });
      const passed = { federation: 'there', hops: ['there'], pass_on: true, ...(until && { until }) };
      return { ...said, version, content, foreign: passed };
    };
    const bring = (document: Document) => ground.memories.take(document, 'hub', { actor: 'hub' });
    const brief = foreign('brief', new Date(now + 1_000).toISOString());
    await bring(brief);
    await bring(foreign('long', new Date(now + 60_000).toISOString()));
    await bring(foreign('always'));
    const endings = new Endings(ground, ground.memories);
    const there = async () => {
      const { value } = await ground.views.read(await ground.log.head(), async (db) => {
        const ids = ['brief', 'long', 'always'].map((id) => `${id}@there`);
        const rows = await Promise.all(ids.map((id) => findMemory(db, id)));
        const versions = await Promise.all(ids.map((id) => findVersions(db, id, '', 10)));
        return rows.map((row, at) => [row !== undefined, versions[at]!.length]);
      });
      return value;
    };
    const kept = [true, 1];
    expect(await there()).toEqual([kept, kept, kept]);
    clock.now = now + 1_000;
    await until('the one whose time is over is gone', async () => {
      await endings.look(); // does nothing before it has the duty
      return !(await there())[0]![0];
    });
    expect(await there()).toEqual([[false, 0], kept, kept]);
    expect(await bring(foreign('brief'))).toMatchObject({ reply: { taken: true } });
    expect(await there()).toEqual([kept, kept, kept]);
    clock.now = now;
    await endings.close();
  });

  it('an answer about a copy says nothing of one that went there while it was on its way', async () => {
    const rule = { subject: 'ada', rule: 'r', policy_version: 1, pass_on: false };
    const item = { memory_id: 'on-its-way', version: '0'.repeat(64), ...rule };
    const moves = () => ground.tell(holdingsStream('bob'), ...moved('bob', [item], undefined));
    const state = async () => {
      const { value } = await ground.views.read(await ground.log.head(), (db) =>
        findHoldings(db, { memoryIds: [item.memory_id], states: ['held', 'honoured'] }, '', 1),
      );
      return value[0]?.state;
    };
    const read: typeof ground.views.read = async (position, query) => {
      const answer = await ground.views.read(position, query);
      await moves(); // it asked for another copy right after it said that the last one is gone
      return answer;
    };
    const nothing = () => () => {};
    const hub = { ...ground, views: { db: ground.views.db, read } } as unknown as Hub;
    const sockets = { handle: nothing, onOpen: nothing, has: () => false } as unknown as WebsocketPool;
    const asks = new Asks(hub, sockets, ground.members, await hub.log.head());
    await moves();
    await asks.answer('bob', [item.memory_id], 'honoured', { actor: 'node:bob' });
    expect(await state()).toBe('held');
    const later = new Asks(ground as unknown as Hub, sockets, ground.members, await ground.log.head());
    await later.answer('bob', [item.memory_id], 'honoured', { actor: 'node:bob' });
    expect(await state()).toBe('honoured');
    await asks.close();
    await later.close();
  });

  it('offers since a position what a change of role, region or owner, of either side, lets move since then', async () => {
    await ground.join('olga', { role: 'member' });
    await ground.join('nora', { role: 'member' });
    const everything = { id: 'all', categories: ['*'] };
    await ground.declare('olga', 1, {
      shares: [{ ...everything, with: { roles: ['admin'], regions: ['eu'] } }],
      takes: [],
    });
    await ground.declare('nora', 1, { shares: [], takes: [{ ...everything, with: { owners: ['guild'] } }] });
    const author = 'node:olga';
    const clocked = { memory_id: 'olga-0', clock: `${String(now).padStart(15, '0')}-000000-${author}` };
    const said = { ...clocked, owner: author, author, category: 'c', tags: [], seen: {}, deleted: false };
    const content = { content: 'hers' };
    const version = versionId({ ...said, content_hash: contentHash(content) });
    await ground.memories.take({ ...said, version, content }, author, { actor: author });
    const updated = (nodeId: string, profile: object): DomainEvent => ({
      type: 'node.updated',
      data: { node_id: nodeId, profile },
    });
    const promoted: DomainEvent = {
      type: 'node.role-changed',
      data: { node_id: 'nora', role: 'admin', previous: 'member' },
    };
    const since = async (position: number) => {
      await ground.views.read(await ground.log.head(), async () => undefined);
      const found: Offered[] = [];
      for await (const page of offeredTo(ground, ground.members, 'nora', { since: position })) found.push(...page);
      return found.map(({ memoryId }) => memoryId);
    };
    await ground.tell(nodeStream('nora'), promoted, updated('nora', { labels: { region: 'eu' } }));
    const before = await ground.log.head();
    expect(await since(before)).toEqual([]);
    await ground.tell(nodeStream('olga'), updated('olga', { owner: 'guild' })); // now it may
    expect(await since(before)).toEqual(['olga-0']);
    const later = await ground.log.head();
    expect(await since(later)).toEqual([]);
    await ground.tell(nodeStream('nora'), updated('nora', {}));
    await ground.tell(nodeStream('nora'), updated('nora', { labels: { region: 'eu' } }));
    expect(await since(later)).toEqual(['olga-0']);
  });

  it('finds what changed while no replica had the duty', async () => {
    const all = { id: 'all', categories: ['*'], with: { everyone: true } } as const;
    const open = { shares: [{ ...all, categories: ['*'] }], takes: [{ ...all, categories: ['*'] }] };
    await declareAll({ nodes, policies: Object.fromEntries(subjects.map((subject) => [subject, open])) });
    const holdings = new Holdings(ground, ground.members);
    const copy = (await offered('bob')).filter(({ memoryId }) => memoryId === 'ada-0');
    await holdings.recordMoves('bob', copy, { actor: 'node:bob' });
    expect(await holdersNow(holdings, 'ada-0')).toEqual(['bob held']);
    await ground.declare('ada', ++versionOfPolicies, { shares: [], takes: [] });
    const withdrawals = new Withdrawals(ground, ground.members, await ground.log.head());
    await until('the copy is asked back', async () => (await holdersNow(holdings, 'ada-0'))[0] === 'bob asked');
    await withdrawals.close();
  });
});

/** As who governs is told: a line a holder. */
async function holdersNow(holdings: Holdings, memoryId: string): Promise<string[]> {
  const minPosition = await ground.log.head();
  const governor = { kind: 'operator', prefix: 'x', scopes: ['govern'] } as const;
  const { value } = await holdings.holdersOf(memoryId, governor, { minPosition, after: '', limit: 100 });
  if (isRefusal(value)) throw new Error(value.detail);
  return value.map(({ holder, state }) => `${holder} ${state}`);
}

function matterOf({ subject, orphaned, category, tags: its, foreign }: Known) {
  return { subject, subject_position: orphaned ? 1 : Number.MAX_SAFE_INTEGER, category, tags: its, foreign };
}
