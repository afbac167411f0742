/** What is told of the hub's own keys: that they were rotated, and whose data keys were destroyed. The keys are not here. */
import type { Aggregate, Decide } from './execute.ts';

export const keyringStream = 'keyring';

interface State {
  /** The signing key that was announced last. */
  readonly kid: string | undefined;
}

export const keyring: Aggregate<State> = {
  initial: { kid: undefined },
  evolve: (state, event) => (event.type === 'keyring.rotated' ? { kid: event.data.kid } : state),
};

export interface Rotated {
  readonly kid: string;
  /** ISO 8601. */
  readonly activeAt: string;
}

/** Tells every replica of a new key. One that was told of already is not told again. */
export const announce: Decide<State, Rotated, Rotated> = (state, { kid, activeAt }) => ({
  events: kid === state.kid ? [] : [{ type: 'keyring.rotated', data: { kid, active_at: activeAt } }],
  reply: { kid, activeAt },
});

/** Tells every replica that the data keys of a subject are gone; also when there were none, as one may remember them still. */
export const tellErased: Decide<State, { subject: string; keys: number }, { keys: number }> = (_state, erased) => ({
  events: [{ type: 'keyring.subject-erased', data: erased }],
  reply: { keys: erased.keys },
});
