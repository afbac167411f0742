/** Rebuilding the views: one at a time, asked for by an operator, done by the replica that projects. */
import { refuse } from '../errors.ts';
import type { Aggregate, Decide } from './execute.ts';

export const viewsStream = 'views';

/** A request that got no answer for so long was lost with the views it was made to, and stands in nobody's way. */
export const forgottenAfterMs = 3_600_000;

interface State {
  readonly running: { readonly rebuildId: string; readonly since: number } | undefined;
}

export const viewsState: Aggregate<State> = {
  initial: { running: undefined },
  evolve(state, event) {
    switch (event.type) {
      case 'views.rebuild-requested':
        return { running: { rebuildId: event.data.rebuild_id, since: Date.parse(event.time) } };
      case 'views.rebuilt':
        return { running: undefined };
      default:
        return state;
    }
  },
};

/** Refuses `rebuild_running`. */
export const requestRebuild: Decide<State, Record<never, never>, { rebuild_id: string }> = (
  { running },
  _command,
  { id, now },
) => {
  if (running && now - running.since < forgottenAfterMs) {
    const detail = 'a rebuild is running; see its progress in the state of the views';
    return refuse('rebuild_running', detail, { rebuild_id: running.rebuildId });
  }
  return { events: [{ type: 'views.rebuild-requested', data: { rebuild_id: id } }], reply: { rebuild_id: id } };
};
