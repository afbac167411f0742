import { describe, it } from 'vitest';
import {
  acknowledge,
  advance,
  create,
  pause,
  remove,
  resume,
  seek,
  subscription,
} from '../../src/commands/subscription.ts';
import { refuse } from '../../src/errors.ts';
import type { DomainEvent } from '../../src/events/catalog.ts';
import { given } from './given.ts';

const subscription_id = 's';
const subscriptionId = 's';
const about = { label: 'mine', patterns: ['node.*'], delivery: { kind: 'cursor' } as const, after: 7 };
const created: DomainEvent = { type: 'subscription.created', data: { subscription_id, owner: 'node:ada', ...about } };
const advanced = (position: number): DomainEvent => ({
  type: 'subscription.advanced',
  data: { subscription_id, position },
});
const paused: DomainEvent = { type: 'subscription.paused', data: { subscription_id, reason: 'enough', failures: 3 } };
const resumed: DomainEvent = { type: 'subscription.resumed', data: { subscription_id } };
const deleted: DomainEvent = { type: 'subscription.deleted', data: { subscription_id } };
const ada = { actor: 'node:ada', governs: false };
const bob = { actor: 'node:bob', governs: false };
const operator = { actor: 'operator:x', governs: true };

describe('a subscription', () => {
  it('is made for its owner', () => {
    const wish = { subscriptionId, owner: 'node:ada', filter: undefined, full: undefined, ...about };
    given(subscription).when(create, wish).gives(created);
    given(subscription).when(create, wish).answers({ subscriptionId });
    given(subscription)
      .when(create, { ...wish, filter: { node_id: 'a' } })
      .gives({ type: 'subscription.created', data: { ...created.data, filter: { node_id: 'a' } } } as DomainEvent);
    given(subscription, created).when(create, wish).refused('conflict');
    given(subscription)
      .when(create, { ...wish, full: refuse('limit_reached', 'there are too many') })
      .refused('limit_reached');
  });

  it('is acknowledged by its owner alone, and only forward', () => {
    const ack = (position: number, asker = ada) => ({ subscriptionId, position, asker });
    given(subscription, created).when(acknowledge, ack(9)).gives(advanced(9));
    given(subscription, created).when(acknowledge, ack(9)).answers({ position: 9 });
    given(subscription, created, advanced(12)).when(acknowledge, ack(9)).gives();
    given(subscription, created, advanced(12)).when(acknowledge, ack(9)).answers({ position: 12 });
    for (const other of [bob, operator]) {
      given(subscription, created).when(acknowledge, ack(9, other)).refused('not_found');
      given(subscription, created).when(seek, ack(9, other)).refused('not_found');
    }
    given(subscription, created, deleted).when(acknowledge, ack(9)).refused('not_found');
  });

  it('goes on from wherever its owner wants', () => {
    given(subscription, created, advanced(12))
      .when(seek, { subscriptionId, position: 3, asker: ada })
      .gives(advanced(3));
    given(subscription, created).when(seek, { subscriptionId, position: 7, asker: ada }).gives();
  });

  it('moves on by deliveries from where it is, and stays where it was put meanwhile', () => {
    given(subscription, created).when(advance, { subscriptionId, from: 7, to: 20 }).gives(advanced(20));
    given(subscription, created, advanced(3)).when(advance, { subscriptionId, from: 7, to: 20 }).gives();
    given(subscription, created, advanced(20)).when(advance, { subscriptionId, from: 7, to: 20 }).gives();
    given(subscription, created, deleted).when(advance, { subscriptionId, from: 7, to: 20 }).gives();
  });

  it('is paused, resumed and ended by its owner or who governs, each once', () => {
    for (const asker of [ada, operator]) {
      const of = { subscriptionId, asker };
      given(subscription, created)
        .when(pause, { ...of, reason: 'enough', failures: 3 })
        .gives(paused);
      given(subscription, created, paused)
        .when(pause, { ...of, reason: 'again', failures: 0 })
        .gives();
      given(subscription, created, paused).when(resume, of).gives(resumed);
      given(subscription, created).when(resume, of).gives();
      given(subscription, created).when(remove, of).gives(deleted);
      given(subscription, created, deleted).when(remove, of).refused('not_found');
    }
    const other = { subscriptionId, asker: bob };
    given(subscription, created)
      .when(pause, { ...other, reason: 'x', failures: 0 })
      .refused('not_found');
    given(subscription, created, paused).when(resume, other).refused('not_found');
    given(subscription, created).when(remove, other).refused('not_found');
  });
});
