/** The federation's founding, its mode, and the one place where it is decided who may join. */
import { type Refusal, refuse } from '../errors.ts';
import type { GovernanceMode } from '../events/federation.ts';
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

/** May a node that is not a member become one? Undefined means yes. */
export function admission(mode: GovernanceMode): Refusal | undefined {
  switch (mode) {
    case 'open':
      return undefined;
    case 'approval':
      return refuse('approval_required', 'new nodes are admitted by an administrator here');
    case 'invite':
      return refuse('invite_required', 'new nodes need an invitation here');
  }
}
