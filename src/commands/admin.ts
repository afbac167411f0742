/** The set of administrators: operator tokens and nodes. Decided in one stream, so that the last one cannot go, whoever asks where. */
import { refuse } from '../errors.ts';
import type { Aggregate, Decide } from './execute.ts';

export const adminStream = 'admins';

/** `node:<id>` and `operator:<prefix>` of each. */
type State = ReadonlySet<string>;

export const admins: Aggregate<State> = {
  initial: new Set(),
  evolve(state, event) {
    switch (event.type) {
      case 'admin.appointed':
        return new Set(state).add(event.data.admin);
      case 'admin.dismissed':
        return new Set([...state].filter((admin) => admin !== event.data.admin));
      default:
        return state;
    }
  },
};

/** Adds one to the set. Doing it twice is harmless. */
export const appoint: Decide<State, { admin: string }, undefined> = (state, { admin }) => ({
  events: state.has(admin) ? [] : [{ type: 'admin.appointed', data: { admin } }],
  reply: undefined,
});

export interface Dismissal {
  readonly admin: string;
  /** It is no administrator any more as it is: then even the last goes. */
  readonly gone?: true;
}

/** Takes one out of the set; `dismissed` says whether it was in. Refuses `last_admin`. */
export const dismiss: Decide<State, Dismissal, { dismissed: boolean }> = (state, { admin, gone }) => {
  if (!state.has(admin)) return { events: [], reply: { dismissed: false } };
  if (state.size === 1 && !gone)
    return refuse('last_admin', `${admin} is the last administrator; appoint another first`);
  return { events: [{ type: 'admin.dismissed', data: { admin } }], reply: { dismissed: true } };
};
