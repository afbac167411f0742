/** Chains as they come home: whatever comes in whatever order, each place has one entry, and what is home stays so. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Happened } from '../../src/commands/execute.ts';
import {
  type ChainState,
  type Claim,
  chain,
  claim,
  come,
  isBroughtBadly,
  type Judging,
  judge,
  timed,
} from '../../src/commands/p2p.ts';
import { isRefusal, refuse } from '../../src/errors.ts';
import { type MessageEntry, mostEntries } from '../../src/protocol/p2p.ts';

const context = { now: 0, id: 'id' };
const hash = (seq: number, fork = 0) => `${fork}${seq}`.padEnd(43, 'x');
const claimOf = (seq: number, fork = 0): Claim => ({
  seq,
  entry: hash(seq, fork),
  prev: seq === 1 ? null : hash(seq - 1),
  refusal: undefined,
});

function run(state: ChainState, by: string, claims: Claim[]) {
  const sorted = [...claims].sort((a, b) => a.seq - b.seq);
  const decision = claim(state, { nodeId: 'ada', chain: 'c', by, claims: sorted }, context);
  if (isRefusal(decision)) throw new Error(decision.detail);
  let next = state;
  decision.events.forEach((event, revision) => {
    next = chain.evolve(next, { ...event, time: '', revision } as Happened);
  });
  return { next, events: decision.events, verdicts: decision.reply.verdicts };
}

describe('a chain', () => {
  it('keeps the first entry at a place, whoever brings what in whatever order, and takes nothing twice', () =>
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            seq: fc.integer({ min: 1, max: 6 }),
            fork: fc.constantFrom(0, 0, 0, 1),
            by: fc.constantFrom('ada', 'bob'),
          }),
        ),
        (brought) => {
          let state = chain.initial;
          const first = new Map<number, string>();
          for (const { seq, fork, by } of brought) {
            const before = state;
            const { next, verdicts } = run(state, by, [claimOf(seq, fork)]);
            state = next;
            const [verdict] = verdicts;
            const known = first.get(seq);
            if (known !== undefined) expect(verdict!.status).toBe(known === hash(seq, fork) ? 'open' : 'refused');
            if (verdict!.status === 'open') first.set(seq, known ?? hash(seq, fork));
            else expect(state.entries).toEqual(before.entries);
          }
          expect(new Map(state.entries)).toEqual(first);
        },
      ),
    ));

  it('comes without a gap from its author, and may come with gaps from others', () => {
    expect(run(chain.initial, 'ada', [claimOf(2)]).verdicts).toMatchObject([{ code: 'chain_gap' }]);
    const { next } = run(chain.initial, 'bob', [claimOf(2)]);
    expect(run(next, 'ada', [claimOf(1), claimOf(2), claimOf(3)]).verdicts.map(({ status }) => status)).toEqual([
      'open',
      'open',
      'open',
    ]);
  });

  it('goes on behind an entry that is refused, and says the same of it each time, once to the log', () => {
    const bad = { ...claimOf(1), refusal: refuse('banned', 'rude') };
    const { next, events } = run(chain.initial, 'ada', [bad, claimOf(2)]);
    expect(events.map(({ type }) => type)).toEqual(['p2p.claimed', 'p2p.refused']);
    const again = run(next, 'ada', [claimOf(1), claimOf(2)]);
    expect(again.verdicts).toMatchObject([{ code: 'banned' }, { status: 'open', known: true }]);
    expect(again.events).toEqual([]);
  });

  it('is read in no time, also when its entries came one by one', () => {
    const began = performance.now();
    let state = chain.initial;
    for (let seq = 1; seq <= mostEntries; seq++) {
      const data = { node_id: 'ada', chain: 'c', by: 'ada', entries: [{ seq, entry: hash(seq) }] };
      state = chain.evolve(state, { type: 'p2p.claimed', data, time: '', revision: seq } as Happened);
    }
    expect([state.entries.get(1), state.entries.get(mostEntries)]).toEqual([hash(1), hash(mostEntries)]);
    expect(performance.now() - began).toBeLessThan(3_000); // it was half a minute once
  });

  it('is home up to a place that only grows', () => {
    const state = { ...chain.initial, through: 5 };
    const at = (through: number) => come(state, { nodeId: 'ada', chain: 'c', by: 'ada', through }, context);
    expect(at(5)).toMatchObject({ events: [] });
    expect(at(6)).toMatchObject({ events: [{ type: 'p2p.returned', data: { through: 6 } }] });
  });
});

describe('an entry', () => {
  const time = Date.parse('2026-03-01T10:00:00.000Z');
  const entry = {
    kind: 'message',
    author: 'ada',
    federation_id: 'f',
    time: new Date(time).toISOString(),
    expires_at: new Date(time + 30_000).toISOString(),
  } as MessageEntry;
  const fair: Judging = {
    now: time + 1_000,
    federationId: 'f',
    roster: { issuedAt: time - 1_000, expiresAt: time + 1_000 },
    standing: { publicKey: 'k', mayAct: true },
    today: undefined,
    signed: true,
    contentFits: true,
  };
  const code = (more: Partial<Judging>) => judge(entry, { ...fair, ...more })?.refused;

  it('is judged by its roster, by today, by the role of its author and by what it says', () => {
    expect(code({})).toBeUndefined();
    expect(code({ roster: { issuedAt: time - 9, expiresAt: time } })).toBe('roster_expired');
    expect(code({ today: refuse('banned', '') })).toBe('banned');
    expect(code({ standing: { publicKey: 'k', mayAct: false } })).toBe('forbidden');
    expect(code({ contentFits: false })).toBe('content_mismatch');
  });

  it('counts from the time of its roster to that of the hub, whatever the clock of its author; its ttl stays', () => {
    const times = (now: number, issuedAt: number) => {
      const { time: said, expires_at } = timed(entry, { now, roster: { issuedAt, expiresAt: time + 1_000 } });
      return [Date.parse(said) - time, Date.parse(expires_at) - time];
    };
    expect(times(time + 5, time - 5)).toEqual([0, 30_000]);
    expect(times(time - 3_600_000, time - 7_200_000)).toEqual([-3_600_000, -3_570_000]);
    expect(times(time + 900_000, time + 600_000)).toEqual([600_000, 630_000]);
  });

  it('cannot be burned by whoever brings another’s', () => {
    expect(isBroughtBadly(entry, 'eve', refuse('content_mismatch', ''))).toBeDefined();
    expect(isBroughtBadly(entry, 'eve', refuse('banned', ''))).toBeUndefined();
    expect(isBroughtBadly(entry, 'ada', refuse('content_mismatch', ''))).toBeUndefined();
  });
});
