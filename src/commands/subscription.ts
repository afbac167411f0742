/** One durable subscription: made, moved on as events are delivered, paused, resumed, ended. */
import { type Refusal, refuse } from '../errors.ts';
import type { DomainEvent } from '../events/catalog.ts';
import type { Delivery, EventFilter } from '../events/subscription.ts';
import type { Aggregate, Decide } from './execute.ts';

export const subscriptionStream = (subscriptionId: string): string => `subscription-${subscriptionId}`;

export type SubscriptionState =
  | { readonly there: false }
  | {
      readonly there: true;
      readonly owner: string;
      readonly status: 'active' | 'paused';
      /** Everything up to here was delivered or read. */
      readonly position: number;
    };

export const subscription: Aggregate<SubscriptionState> = {
  initial: { there: false },
  evolve(state, event) {
    if (event.type === 'subscription.created') {
      return { there: true, owner: event.data.owner, status: 'active', position: event.data.after };
    }
    if (!state.there) return state;
    switch (event.type) {
      case 'subscription.advanced':
        return { ...state, position: event.data.position };
      case 'subscription.paused':
        return { ...state, status: 'paused' };
      case 'subscription.resumed':
        return { ...state, status: 'active' };
      case 'subscription.deleted':
        return { there: false };
      default:
        return state;
    }
  },
};

/** Who asks: as `meta.actor` names it, and whether it governs, which lets it at what is not its own. */
export interface Asker {
  readonly actor: string;
  readonly governs: boolean;
}

export interface NewSubscription {
  readonly subscriptionId: string;
  readonly owner: string;
  readonly label: string;
  readonly patterns: readonly string[];
  readonly filter: EventFilter | undefined;
  readonly delivery: Delivery;
  readonly after: number;
  /** Why there is no room for it. Decided on here, because a command that was done before is answered as it was, room or not. */
  readonly full: Refusal | undefined;
}

/** Refuses `conflict` for an id that is taken, and what `full` says. */
export const create: Decide<SubscriptionState, NewSubscription, { subscriptionId: string }> = (state, command) => {
  const { subscriptionId, owner, label, patterns, filter, delivery, after, full } = command;
  if (state.there) return refuse('conflict', `there is a subscription ${subscriptionId} already`);
  if (full) return full;
  const about = { subscription_id: subscriptionId, owner, label, patterns: [...patterns], delivery, after };
  return {
    events: [{ type: 'subscription.created', data: { ...about, ...(filter && { filter }) } }],
    reply: { subscriptionId },
  };
};

/** The owner has read up to a position; one before what it said already changes nothing. Refuses `not_found`. */
export const acknowledge: Decide<SubscriptionState, Of & { position: number }, { position: number }> = (
  state,
  { position, ...of },
) => {
  if (!isOwn(state, of)) return unknown(of);
  return moved(of, state.position, Math.max(position, state.position));
};

/** Goes on from another position, earlier or later. Refuses `not_found`. */
export const seek: Decide<SubscriptionState, Of & { position: number }, { position: number }> = (
  state,
  { position, ...of },
) => (isOwn(state, of) ? moved(of, state.position, position) : unknown(of));

/**
 * Events from after `from` up to `to` were delivered. When it was moved meanwhile, it stays where it was put; one that is gone needs
 * nothing more.
 */
export const advance: Decide<
  SubscriptionState,
  { subscriptionId: string; from: number; to: number },
  { advanced: boolean }
> = (state, { subscriptionId, from, to }) => {
  if (!state.there || state.position !== from || to === from) return { events: [], reply: { advanced: false } };
  return { events: moveTo(subscriptionId, to), reply: { advanced: true } };
};

/** Refuses `not_found`. One that is paused stays as it is. */
export const pause: Decide<SubscriptionState, Of & { reason: string; failures: number }, undefined> = (
  state,
  { subscriptionId, asker, reason, failures },
) => {
  if (!mayManage(state, asker)) return unknown({ subscriptionId });
  if (state.status === 'paused') return { events: [], reply: undefined };
  const data = { subscription_id: subscriptionId, reason, failures };
  return { events: [{ type: 'subscription.paused', data }], reply: undefined };
};

/** Refuses `not_found`. */
export const resume: Decide<SubscriptionState, Of, undefined> = (state, { subscriptionId, asker }) => {
  if (!mayManage(state, asker)) return unknown({ subscriptionId });
  if (state.status === 'active') return { events: [], reply: undefined };
  return {
    events: [{ type: 'subscription.resumed', data: { subscription_id: subscriptionId } }],
    reply: undefined,
  };
};

/** Refuses `not_found`. */
export const remove: Decide<SubscriptionState, Of, undefined> = (state, { subscriptionId, asker }) =>
  mayManage(state, asker)
    ? { events: [{ type: 'subscription.deleted', data: { subscription_id: subscriptionId } }], reply: undefined }
    : unknown({ subscriptionId });

interface Of {
  readonly subscriptionId: string;
  readonly asker: Asker;
}

type There = Extract<SubscriptionState, { there: true }>;

/** What is read is read by its owner alone, with its rights. */
function isOwn(state: SubscriptionState, { asker }: Of): state is There {
  return state.there && state.owner === asker.actor;
}

function mayManage(state: SubscriptionState, { actor, governs }: Asker): state is There {
  return state.there && (governs || state.owner === actor);
}

function moved({ subscriptionId }: Of, from: number, to: number) {
  return { events: from === to ? [] : moveTo(subscriptionId, to), reply: { position: to } };
}

function moveTo(subscriptionId: string, position: number): DomainEvent[] {
  return [{ type: 'subscription.advanced', data: { subscription_id: subscriptionId, position } }];
}

/** What belongs to others is not told of. */
function unknown({ subscriptionId }: { subscriptionId: string }): Refusal {
  return refuse('not_found', `there is no subscription ${subscriptionId} of yours`);
}
