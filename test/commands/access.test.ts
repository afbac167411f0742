import { describe, expect, it } from 'vitest';
import {
  type AccessState,
  accessLists,
  allow,
  block,
  disallow,
  mostEntries,
  reset,
  unblock,
} from '../../src/commands/access.ts';
import type { Aggregate, Happened } from '../../src/commands/execute.ts';
import { isRefusal } from '../../src/errors.ts';
import type { DomainEvent } from '../../src/events/catalog.ts';
import { given, past } from './given.ts';

const blocked = (subject = 'eve', reason = 'spam'): DomainEvent => ({
  type: 'access.blocked',
  data: { subject, reason },
});
const unblocked = (subject = 'eve'): DomainEvent => ({ type: 'access.unblocked', data: { subject } });
const allowed = (subject = 'eve', note?: string): DomainEvent => ({
  type: 'access.allowed',
  data: { subject, ...(note && { note }) },
});
const disallowed = (subject = 'eve'): DomainEvent => ({ type: 'access.disallowed', data: { subject } });
const blocking = { subject: 'eve', reason: 'spam' };

describe('the block list', () => {
  it('takes a subject with a reason, and another reason later', () => {
    given(accessLists).when(block, blocking).gives(blocked());
    given(accessLists, blocked()).when(block, blocking).gives();
    given(accessLists, blocked())
      .when(block, { ...blocking, reason: 'worse' })
      .gives(blocked('eve', 'worse'));
  });

  it('takes a subject off the allow list', () => {
    given(accessLists, allowed()).when(block, blocking).gives(disallowed(), blocked());
  });

  it('lets go of what is on it alone', () => {
    given(accessLists, blocked()).when(unblock, { subject: 'eve' }).gives(unblocked());
    given(accessLists, blocked(), unblocked()).when(unblock, { subject: 'eve' }).refused('not_found');
    given(accessLists, allowed()).when(unblock, { subject: 'eve' }).refused('not_found');
  });
});

describe('the allow list', () => {
  it('takes a subject, with a note or without', () => {
    given(accessLists).when(allow, { subject: 'eve', note: undefined }).gives(allowed());
    given(accessLists, allowed()).when(allow, { subject: 'eve', note: undefined }).gives();
    given(accessLists, allowed()).when(allow, { subject: 'eve', note: 'known' }).gives(allowed('eve', 'known'));
  });

  it('takes a subject off the block list', () => {
    given(accessLists, blocked()).when(allow, { subject: 'eve', note: undefined }).gives(unblocked(), allowed());
  });

  it('lets go of what is on it alone', () => {
    given(accessLists, allowed()).when(disallow, { subject: 'eve' }).gives(disallowed());
    given(accessLists, blocked()).when(disallow, { subject: 'eve' }).refused('not_found');
  });
});

describe('both lists', () => {
  it('are emptied at once, each entry in its own words', () => {
    const facts = [blocked('eve'), allowed('ada'), blocked('mallory'), unblocked('mallory')];
    given(accessLists, ...facts)
      .when(reset, {})
      .answers({ removed: 2 });
    expect(entriesAfter(facts, reset)).toBe(0);
    given(accessLists).when(reset, {}).gives();
  });

  it('are full at a stated length; an entry may still change its list, and one that goes makes room', () => {
    const facts = Array.from({ length: mostEntries }, (_, n) => (n % 2 ? blocked(`n-${n}`) : allowed(`n-${n}`)));
    const full = given(accessLists, ...facts);
    full.when(block, blocking).refused('limit_reached');
    full.when(allow, { subject: 'eve', note: undefined }).refused('limit_reached');
    full.when(block, { ...blocking, subject: 'n-0' }).gives(disallowed('n-0'), blocked('n-0'));
    given(accessLists, ...facts, unblocked('n-1'))
      .when(block, blocking)
      .gives(blocked());
    given(accessLists, ...facts)
      .when(reset, {})
      .answers({ removed: mostEntries });
  });
});

/** Entries that are left when what `decide` gives has happened too. */
function entriesAfter(facts: readonly DomainEvent[], decide: typeof reset): number {
  const state = all(accessLists, facts, accessLists.initial);
  const decision = decide(state, {}, { now: 0, id: '' });
  if (isRefusal(decision)) throw new Error(decision.refused);
  return all(accessLists, decision.events, state).size;
}

function all(aggregate: Aggregate<AccessState>, facts: readonly DomainEvent[], from: AccessState): AccessState {
  return facts.reduce((state, fact) => aggregate.evolve(state, { ...fact, time: past, revision: 0 } as Happened), from);
}
