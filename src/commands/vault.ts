/** The master key of the vault: asked to be changed, and changed. Its keys are not here, only their ids. */
import type { Aggregate, Decide } from './execute.ts';

export const vaultStream = 'vault';

export interface VaultState {
  /** A rotation that is not over. `to`: known beforehand where the environment gives the key. */
  readonly rotating: { readonly from: string; readonly to: string | undefined } | undefined;
  /** Keys that were rotated away from, the last of them: none is gone back to. */
  readonly retired: readonly string[];
}

const mostRetired = 32;

export const vault: Aggregate<VaultState> = {
  initial: { rotating: undefined, retired: [] },
  evolve(state, event) {
    switch (event.type) {
      case 'vault.rotation-asked': {
        const { from, to } = event.data;
        return { rotating: { from, to }, retired: [...state.retired, from].slice(-mostRetired) };
      }
      case 'vault.master-rotated':
        return { ...state, rotating: undefined };
      default:
        return state;
    }
  },
};

/**
 * Asks for another master key; while one is being changed, that is answered instead. A key of the environment that was asked for and
 * is not in use yet gives way to another: it may be that nobody has it any more.
 */
export const askRotation: Decide<VaultState, { from: string; to?: string }, { from: string }> = (
  { rotating },
  { from, to },
) => {
  const isOther = rotating?.to !== undefined && rotating.to !== to && rotating.from === from;
  if (rotating && !isOther) return { events: [], reply: { from: rotating.from } };
  return {
    events: [{ type: 'vault.rotation-asked', data: { from, ...(to !== undefined && { to }) } }],
    reply: { from },
  };
};

/** Says that it is done. Said again it changes nothing. */
export const endRotation: Decide<VaultState, { from: string; to: string; keys: number }, { ended: boolean }> = (
  { rotating },
  data,
) => {
  if (rotating?.from !== data.from) return { events: [], reply: { ended: false } };
  return { events: [{ type: 'vault.master-rotated', data }], reply: { ended: true } };
};
