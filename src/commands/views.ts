/** Rebuilding the views: one at a time, asked for by an operator, done by the replica that projects. */
import { refuse } from '../errors.ts';
import type { Aggregate, Decide } from './execute.ts';

export const viewsStream = 'views';

interface State {
  readonly running: string | undefined;
}

export const viewsState: Aggregate<State> = {
  initial: { running: undefined },
  evolve(state, event) {
    switch (event.type) {
      case 'views.rebuild-requested':
        return { running: event.data.rebuild_id };
      case 'views.rebuilt':
        return { running: undefined };
      default:
        return state;
    }
  },
};

/** Refuses `rebuild_running`. */
export const requestRebuild: Decide<State, Record<never, never>, { rebuild_id: string }> = (state, _command, { id }) =>
  state.running
    ? refuse('rebuild_running', 'a rebuild is running; see its progress in the status', { rebuild_id: state.running })
    : { events: [{ type: 'views.rebuild-requested', data: { rebuild_id: id } }], reply: { rebuild_id: id } };
