/** Limits of one replica alone, at a clock that the test holds. */
import { describe, expect, it } from 'vitest';
import { anonymous, type Identity, type Passage } from '../../src/doors.ts';
import type { Limits } from '../../src/events/limits.ts';
import { Limiter } from '../../src/services/rate-limiter/limiter.ts';

const ada: Identity = { kind: 'node', nodeId: 'ada', sessionId: 's', role: 'member' };
const operator: Identity = { kind: 'operator', prefix: 'fht_x', scopes: ['admin'] };
const defaults: Limits = { requests: 100, megabytes: 1, messages: 50 };

function alone(own: Record<string, Partial<Limits>> = {}) {
  let nowMs = 1_000_000.25;
  const warned: string[] = [];
  const limiter = new Limiter({
    kernel: { monotonicMs: () => nowMs, every: () => () => {} },
    limitsOf: (identity) => ({ ...defaults, ...(identity.kind === 'node' && own[identity.nodeId]) }),
    strangerLimit: 20,
    warn: ({ who, kind }) => warned.push(`${who} ${kind}`),
  });
  const enter = (identity: Identity, kind: 'requests' | 'messages' = 'requests', bytes = 0, address = '192.0.2.1') =>
    limiter.enter(identity, address, kind, bytes) as Passage; // nothing is shared here, so it is no promise
  /** How many pass before one is refused; at most 100,000. */
  const passes = (...asked: Parameters<typeof enter>) => {
    let count = 0;
    while (count < 100_000 && !enter(...asked).short) count++;
    return count;
  };
  const wait = (ms: number) => {
    nowMs += ms;
  };
  return { limiter, warned, own, enter, passes, wait };
}

describe('a minute’s allowance', () => {
  it('may be used at once, comes back evenly, and is told in each answer', () => {
    const { enter, passes, wait } = alone();
    expect(enter(ada).allowances).toMatchObject([
      { limit: 'requests', allowed: 100, remaining: 99, resetMs: 600, retryAfterMs: undefined },
      { limit: 'megabytes', allowed: 1, remaining: 1, resetMs: 0 },
    ]);
    expect(passes(ada)).toBe(99);
    expect(enter(ada).short).toMatchObject({ limit: 'requests', remaining: 0, resetMs: 60_000, retryAfterMs: 600 });
    wait(599);
    expect(enter(ada).short).toMatchObject({ retryAfterMs: 1 });
    wait(1);
    expect(passes(ada)).toBe(1);
    wait(30_000);
    expect(passes(ada)).toBe(50);
    wait(3_600_000);
    expect(passes(ada)).toBe(100);
  });

  it('says the longest wait when two are used up', () => {
    const { limiter, enter, passes } = alone();
    limiter.spend(ada, '', 2_000_000);
    expect(enter(ada).short).toMatchObject({ limit: 'megabytes', retryAfterMs: 60_000 });
    limiter.spend(operator, '', 999_999);
    expect(passes(operator)).toBe(100);
    expect(enter(operator, 'requests', 100_000).short).toMatchObject({ limit: 'megabytes', retryAfterMs: 6_000 });
  });

  it('is one for each kind and for each identity', () => {
    const { passes } = alone();
    expect([passes(ada), passes(ada, 'messages'), passes(operator), passes({ ...ada, nodeId: 'bob' })]).toEqual([
      100, 50, 100, 100,
    ]);
  });

  it('is not touched by a request whose bytes do not fit, nor the bytes by one that is too many', () => {
    const { enter, passes, limiter } = alone();
    limiter.spend(ada, '', 900_000);
    expect(enter(ada, 'requests', 200_000).short).toMatchObject({ limit: 'megabytes', retryAfterMs: 6_000 });
    expect(passes(ada)).toBe(100);
    expect(enter(ada, 'requests', 50_000).short).toMatchObject({ limit: 'requests' });
    expect(enter(ada, 'messages', 100_000).short).toBeUndefined();
    expect(enter(ada, 'messages', 1).short).toMatchObject({ limit: 'megabytes' });
  });

  it('of bytes may go into debt for a minute, and in debt nothing passes', () => {
    const { enter, limiter, wait } = alone();
    limiter.spend(ada, '', 1_500_000_000);
    expect(enter(ada).short).toMatchObject({ limit: 'megabytes', retryAfterMs: 60_000, remaining: 0 });
    wait(60_000);
    expect(enter(ada).short).toBeUndefined();
    expect(enter(ada, 'requests', 1).short).toMatchObject({ limit: 'megabytes' });
  });

  it('lets pass at once what is larger than itself, when nothing else was used', () => {
    const { enter } = alone();
    expect(enter(ada, 'requests', 5_000_000).short).toBeUndefined();
    expect(enter(ada, 'requests', 1).short).toMatchObject({ limit: 'megabytes' });
  });

  it('of a node’s own holds from the next request on, larger or smaller', () => {
    const { own, passes, wait } = alone({ ada: { requests: 5 } });
    expect(passes(ada)).toBe(5);
    own.ada = { requests: 1_000 };
    wait(60);
    expect(passes(ada)).toBe(996);
    own.ada = { requests: 5 };
    wait(72_000);
    expect(passes(ada)).toBe(1);
  });
});

describe('strangers', () => {
  it('have one allowance for requests and packets together, each address its own, IPv6 by networks', () => {
    const { enter, passes } = alone();
    expect(enter(anonymous, 'messages').allowances[0]).toMatchObject({ limit: 'messages', allowed: 20, remaining: 19 });
    expect(passes(anonymous, 'requests')).toBe(19);
    expect(passes(anonymous, 'messages')).toBe(0);
    expect(passes(anonymous, 'requests', 0, '192.0.2.2')).toBe(20);
    expect(passes(anonymous, 'requests', 0, '2001:db8::1')).toBe(20);
    expect(passes(anonymous, 'requests', 0, '2001:db8::ffff')).toBe(0);
  });

  it('that flood touch no node, and of any number of addresses a bounded number is remembered', () => {
    const { limiter, enter, passes, warned } = alone();
    expect(passes(ada)).toBe(100);
    for (let at = 0; at < 120_000; at++)
      enter(anonymous, 'requests', 0, `10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`);
    expect(limiter.accounts.size).toEqual({ known: 1, strangers: 50_000 });
    expect(passes(ada)).toBe(0); // what ada used was not forgotten either
    expect(warned).toEqual(['node:ada requests']);
  });
});

describe('a warning', () => {
  it('is given at four fifths, once a minute an identity and kind', () => {
    const { passes, warned, enter, wait } = alone();
    for (let at = 0; at < 79; at++) enter(ada);
    expect(warned).toEqual([]);
    enter(ada);
    expect(warned).toEqual(['node:ada requests']);
    passes(ada);
    passes(ada, 'messages');
    wait(59_000);
    passes(ada);
    expect(warned).toEqual(['node:ada requests', 'node:ada messages']);
    wait(1_000);
    passes(ada);
    expect(warned).toHaveLength(3);
  });
});

it('the busiest are told of first', () => {
  const { limiter, enter, passes } = alone();
  enter(operator);
  passes(ada);
  limiter.spend(ada, '', 500_000);
  expect(limiter.busiest(2)).toEqual([
    { who: 'node:ada', limit: 'requests', used: 100, allowed: 100 },
    { who: 'node:ada', limit: 'megabytes', used: 0.5, allowed: 1 },
  ]);
});
