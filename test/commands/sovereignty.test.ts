import { describe, expect, it } from 'vitest';
import { asked, moved, withdrawn } from '../../src/commands/holdings.ts';
import { declare, sovereignty } from '../../src/commands/sovereignty.ts';
import type { DomainEvent } from '../../src/events/catalog.ts';
import type { Sovereignty } from '../../src/events/sovereignty.ts';
import { given } from './given.ts';

const open: Sovereignty = {
  shares: [{ id: 'all', categories: ['*'], with: { everyone: true } }],
  takes: [{ id: 'all', categories: ['*'], with: { everyone: true } }],
};
const nothing: Sovereignty = { shares: [], takes: [] };
const declared = (version: number, policy: Sovereignty): DomainEvent => ({
  type: 'sovereignty.declared',
  data: { subject: 'ada', version, ...policy },
});

describe('a policy', () => {
  it('counts its versions from 1', () => {
    given(sovereignty).when(declare, { subject: 'ada', policy: open, inForce: false }).gives(declared(1, open));
    given(sovereignty, declared(1, open))
      .when(declare, { subject: 'ada', policy: nothing, inForce: true })
      .gives(declared(2, nothing));
  });

  it('that says the same again changes nothing, unless it went with the node that said it', () => {
    const again = { subject: 'ada', policy: structuredClone(open), inForce: true };
    given(sovereignty, declared(1, open)).when(declare, again).gives();
    given(sovereignty, declared(1, open)).when(declare, again).answers({ version: 1, changed: false });
    given(sovereignty, declared(1, open))
      .when(declare, { ...again, inForce: false })
      .gives(declared(2, open));
  });

  it('has each rule once, and times that are some', () => {
    const twice = { ...open, shares: [open.shares[0]!, open.shares[0]!] };
    const never = { ...open, takes: [{ ...open.takes[0]!, until: 'tomorrow' }] };
    for (const policy of [twice, never]) {
      given(sovereignty).when(declare, { subject: 'ada', policy, inForce: false }).refused('invalid_input');
    }
  });
});

it('facts of copies name 256 of them at most', () => {
  const ids = Array.from({ length: 600 }, (_, at) => `m${at}`);
  const items = ids.map((memory_id) => ({
    memory_id,
    version: 'a'.repeat(64),
    subject: 'ada',
    rule: 'all',
    policy_version: 1,
    pass_on: false,
  }));
  const counts = (events: DomainEvent[]) =>
    events.map(({ data }) => ('items' in data ? data.items.length : 'memory_ids' in data ? data.memory_ids.length : 0));
  expect(counts(moved('bob', items, undefined))).toEqual([256, 256, 88]);
  expect(counts(asked('bob', ids, 'policy'))).toEqual([256, 256, 88]);
  expect(counts(withdrawn('bob', ids, 'honoured', 7))).toEqual([256, 256, 88]);
  expect(moved('bob', [], undefined)).toEqual([]);
});
