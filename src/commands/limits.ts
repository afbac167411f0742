/** The limits of one node that are its own. */
import { isDeepStrictEqual } from 'node:util';
import { refuse } from '../errors.ts';
import type { Limits } from '../events/limits.ts';
import type { Aggregate, Decide } from './execute.ts';

export const limitsStream = (nodeId: string): string => `limits-${nodeId}`;

/** What is left out is the default. */
export type OwnLimits = Partial<Limits>;

export const limits: Aggregate<OwnLimits> = {
  initial: {},
  evolve: (state, event) => (event.type === 'limits.set' ? event.data.limits : state),
};

/** Nodes with limits of their own: they lie in the memory of every replica. */
export const mostOwnLimits = 10_000;

export interface SetLimits {
  readonly nodeId: string;
  /** All of them as from now; none: it has the default again. */
  readonly limits: OwnLimits;
  /** How many nodes have limits of their own, as this replica knows. */
  readonly others: number;
}

/** Refuses `limit_reached`. The node need not be there yet. */
export const setLimits: Decide<OwnLimits, SetLimits, { limits: OwnLimits }> = (state, { nodeId, limits, others }) => {
  if (isDeepStrictEqual(limits, state)) return { events: [], reply: { limits } };
  const isNew = Object.keys(state).length === 0;
  if (isNew && others >= mostOwnLimits)
    return refuse('limit_reached', `${mostOwnLimits} nodes have limits of their own`);
  return { events: [{ type: 'limits.set', data: { node_id: nodeId, limits } }], reply: { limits } };
};
