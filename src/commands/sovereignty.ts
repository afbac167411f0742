/** What a node, or the operators together, share and take: declared as a whole, each time as a new version of the policy. */
import { isDeepStrictEqual } from 'node:util';
import { refuse } from '../errors.ts';
import type { Sovereignty } from '../events/sovereignty.ts';
import type { Aggregate, Decide } from './execute.ts';

export const sovereigntyStream = (subject: string): string => `sovereignty-${subject}`;

export interface SovereigntyState {
  /** Of the last policy; 0 before the first. Goes on counting when another takes the name of a node that was removed. */
  readonly version: number;
  readonly policy: Sovereignty | undefined;
}

export const sovereignty: Aggregate<SovereigntyState> = {
  initial: { version: 0, policy: undefined },
  evolve(state, event) {
    if (event.type !== 'sovereignty.declared') return state;
    const { version, shares, takes } = event.data;
    return { version, policy: { shares, takes } };
  },
};

export interface Declaration {
  readonly subject: string;
  readonly policy: Sovereignty;
  /** The last policy is in force: it went with its node when that was removed. */
  readonly inForce: boolean;
}

/** Puts a whole policy in the place of the last one; the same again changes nothing. Refuses `invalid_input` for rules of one name, and times that are none. */
export const declare: Decide<SovereigntyState, Declaration, { version: number; changed: boolean }> = (
  state,
  { subject, policy, inForce },
) => {
  const { shares, takes } = policy;
  for (const rules of [shares, takes]) {
    if (new Set(rules.map(({ id }) => id)).size < rules.length)
      return refuse('invalid_input', 'two rules have the same id');
  }
  const wrong = [...shares, ...takes].find(({ until }) => until !== undefined && Number.isNaN(Date.parse(until)));
  if (wrong) return refuse('invalid_input', `the rule ${wrong.id} counts until what is no time`);
  const same = inForce && isDeepStrictEqual(state.policy, { shares, takes });
  if (same) return { events: [], reply: { version: state.version, changed: false } };
  const version = state.version + 1;
  return {
    events: [{ type: 'sovereignty.declared', data: { subject, version, shares, takes } }],
    reply: { version, changed: true },
  };
};
