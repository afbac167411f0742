/** The federation's founding, its mode, and what is said to all of it. */
import type { AnnouncementLevel, GovernanceMode } from '../events/federation.ts';
import type { Aggregate, Decide } from './execute.ts';

export const federationStream = 'federation';

interface State {
  readonly federationId: string | undefined;
  readonly mode: GovernanceMode;
}

export const federation: Aggregate<State> = {
  initial: { federationId: undefined, mode: 'open' },
  evolve(state, event) {
    switch (event.type) {
      case 'federation.founded':
        return { federationId: event.data.federation_id, mode: event.data.mode };
      case 'governance.mode-changed':
        return { ...state, mode: event.data.mode };
      default:
        return state;
    }
  },
};

export interface Founding {
  readonly federationId: string;
  readonly mode: GovernanceMode;
}

/** Founds the federation once; later replicas and starts get what the first one wrote. `founded` says whether it was this call. */
export const found: Decide<State, Founding, Founding & { founded: boolean }> = (state, command) =>
  state.federationId === undefined
    ? {
        events: [{ type: 'federation.founded', data: { federation_id: command.federationId, mode: command.mode } }],
        reply: { ...command, founded: true },
      }
    : { events: [], reply: { federationId: state.federationId, mode: state.mode, founded: false } };

export const changeMode: Decide<State, { mode: GovernanceMode }, { mode: GovernanceMode; previous: GovernanceMode }> = (
  state,
  { mode },
) => ({
  events: mode === state.mode ? [] : [{ type: 'governance.mode-changed', data: { mode, previous: state.mode } }],
  reply: { mode, previous: state.mode },
});

export const announcementStream = 'announcements';

/** Nothing has to be known to say something. */
export const announcements: Aggregate<undefined> = { initial: undefined, evolve: () => undefined };

/** Says something to everyone. */
export const announce: Decide<
  undefined,
  { message: string; level: AnnouncementLevel },
  { announcement_id: string; message: string; level: AnnouncementLevel }
> = (_state, { message, level }, { id }) => {
  const data = { announcement_id: id, message, level };
  return { events: [{ type: 'governance.announced', data }], reply: data };
};
