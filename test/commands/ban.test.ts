import { describe, it } from 'vitest';
import { ban, impose, lift } from '../../src/commands/ban.ts';
import type { DomainEvent } from '../../src/events/catalog.ts';
import { given } from './given.ts';

const thumbprint = 'T'.repeat(43);
const imposed: DomainEvent = { type: 'ban.imposed', data: { node_id: 'ada', thumbprint, reason: 'spam' } };
const lifted: DomainEvent = { type: 'ban.lifted', data: { node_id: 'ada' } };

describe('a ban', () => {
  it('is imposed on a node and its key, or on an id that nobody has', () => {
    given(ban).when(impose, { nodeId: 'ada', thumbprint, reason: 'spam' }).gives(imposed);
    given(ban)
      .when(impose, { nodeId: 'ada', thumbprint: null, reason: 'spam' })
      .gives({ type: 'ban.imposed', data: { node_id: 'ada', thumbprint: null, reason: 'spam' } });
  });

  it('keeps its first reason', () => {
    given(ban, imposed).when(impose, { nodeId: 'ada', thumbprint, reason: 'again' }).gives();
    given(ban, imposed).when(impose, { nodeId: 'ada', thumbprint, reason: 'again' }).answers({ reason: 'spam' });
  });

  it('is lifted once, and may be imposed anew', () => {
    given(ban, imposed).when(lift, { nodeId: 'ada' }).gives(lifted);
    given(ban, imposed, lifted).when(lift, { nodeId: 'ada' }).refused('not_found');
    given(ban, imposed, lifted).when(impose, { nodeId: 'ada', thumbprint, reason: 'spam' }).gives(imposed);
  });
});
