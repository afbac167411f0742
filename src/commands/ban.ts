/** A ban of a node id, known or not, and of the key it had then. */
import { refuse } from '../errors.ts';
import type { Aggregate, Decide } from './execute.ts';

export const banStream = (nodeId: string): string => `ban-${nodeId}`;

interface State {
  /** Undefined: not banned. */
  readonly reason: string | undefined;
}

export const ban: Aggregate<State> = {
  initial: { reason: undefined },
  evolve(state, event) {
    switch (event.type) {
      case 'ban.imposed':
        return { reason: event.data.reason };
      case 'ban.lifted':
        return { reason: undefined };
      default:
        return state;
    }
  },
};

export interface Ban {
  readonly nodeId: string;
  /** Of the key the node has; null when none is known. */
  readonly thumbprint: string | null;
  readonly reason: string;
}

/** Bans. Of one that is banned the first reason stays, and is answered. */
export const impose: Decide<State, Ban, { reason: string }> = (state, { nodeId, thumbprint, reason }) =>
  state.reason === undefined
    ? { events: [{ type: 'ban.imposed', data: { node_id: nodeId, thumbprint, reason } }], reply: { reason } }
    : { events: [], reply: { reason: state.reason } };

/** Refuses `not_found` for one that is not banned. */
export const lift: Decide<State, { nodeId: string }, undefined> = (state, { nodeId }) =>
  state.reason === undefined
    ? refuse('not_found', `${nodeId} is not banned`)
    : { events: [{ type: 'ban.lifted', data: { node_id: nodeId } }], reply: undefined };
