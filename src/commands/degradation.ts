/** How much a replica sheds, as it says itself, and the level that administrators order for all replicas. */
import { refuse } from '../errors.ts';
import type { ChangeCause, Level, RaisedSignal } from '../events/degradation.ts';
import { isoTime } from '../kernel.ts';
import type { Aggregate, Decide } from './execute.ts';

export const replicaStream = (replica: string): string => `replica-${replica}`;
export const orderStream = 'degradation-order';

/** The level of one replica. */
export const replicaLevel: Aggregate<Level> = {
  initial: 'normal',
  evolve: (state, event) => (event.type === 'degradation.changed' ? event.data.to : state),
};

export interface ChangeLevel {
  readonly replica: string;
  readonly to: Level;
  readonly cause: ChangeCause;
  readonly signals: readonly RaisedSignal[];
  /** It is said also when nothing changed, unless all is normal. */
  readonly again?: boolean;
}

export const changeLevel: Decide<Level, ChangeLevel, { level: Level }> = (
  from,
  { replica, to, cause, signals, again },
) => {
  if (from === to && (!again || to === 'normal')) return { events: [], reply: { level: to } };
  const data = { replica, from, to, cause, signals: [...signals] };
  return { events: [{ type: 'degradation.changed', data }], reply: { level: to } };
};

/** An order, which counts until its time is over. `until` is ISO 8601 UTC. */
export interface Order {
  readonly level: Level;
  readonly until: string;
  readonly reason?: string;
}

export interface OrderState {
  readonly order: Order | undefined;
}

export const degradationOrder: Aggregate<OrderState> = {
  initial: { order: undefined },
  evolve(state, event) {
    if (event.type === 'degradation.ordered') return { order: event.data };
    return event.type === 'degradation.order-lifted' ? { order: undefined } : state;
  },
};

/** An order is for a bad day, and must not be forgotten: milliseconds. */
export const longestOrderMs = 7 * 86_400_000;

/** Puts an order in the place of the one before. Refuses `invalid_input` for a time that is over or more than seven days away. */
export const giveOrder: Decide<OrderState, Order, Order> = (_state, { level, until, reason }, { now }) => {
  const end = Date.parse(until);
  if (!(end > now)) return refuse('invalid_input', 'until is a time that is over');
  if (end - now > longestOrderMs) return refuse('invalid_input', 'an order counts for seven days at most');
  const order = { level, until: isoTime(end), ...(reason !== undefined && { reason }) };
  return { events: [{ type: 'degradation.ordered', data: order }], reply: order };
};

/** Without an order that counts, nothing has to be lifted. */
export const liftOrder: Decide<OrderState, object, { lifted: boolean }> = ({ order }, _command, { now }) =>
  order && Date.parse(order.until) > now
    ? { events: [{ type: 'degradation.order-lifted', data: {} }], reply: { lifted: true } }
    : { events: [], reply: { lifted: false } };
