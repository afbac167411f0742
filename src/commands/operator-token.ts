/** Operator tokens: made once, shown once, kept as hashes. */
import { type Refusal, refuse } from '../errors.ts';
import type { Aggregate, Decide } from './execute.ts';

export const operatorTokenStream = (prefix: string): string => `operator-${prefix}`;

interface State {
  readonly made: boolean;
  readonly revoked: boolean;
  /** Milliseconds since 1970. */
  readonly usedAt: number;
}

export const operatorToken: Aggregate<State> = {
  initial: { made: false, revoked: false, usedAt: Number.NEGATIVE_INFINITY },
  evolve(state, event) {
    switch (event.type) {
      case 'operator-token.created':
        return { ...state, made: true };
      case 'operator-token.revoked':
        return { ...state, revoked: true };
      case 'operator-token.used':
        return { ...state, usedAt: Date.parse(event.time) };
      default:
        return state;
    }
  },
};

export interface NewOperatorToken {
  readonly prefix: string;
  readonly hash: string;
  readonly label: string;
  readonly scopes: string[];
  /** ISO 8601; undefined: good until revoked. */
  readonly expiresAt?: string | undefined;
  /** Why there is no room for it. Decided on here, because a command that was done before is answered so, room or not. */
  readonly full?: Refusal | undefined;
}

/** Refuses `conflict` when the prefix was drawn before, and what `full` says. */
export const createToken: Decide<State, NewOperatorToken, undefined> = (state, { expiresAt, full, ...token }) => {
  if (state.made) return refuse('conflict', `there is a token ${token.prefix} already`);
  if (full) return full;
  const data = { ...token, ...(expiresAt !== undefined && { expires_at: expiresAt }) };
  return { events: [{ type: 'operator-token.created', data }], reply: undefined };
};

/** Makes a token worthless for ever. Doing it twice is harmless. Refuses `not_found`. */
export const revokeToken: Decide<State, { prefix: string }, undefined> = (state, { prefix }) => {
  if (!state.made) return refuse('not_found', `there is no operator token ${prefix}`);
  return { events: state.revoked ? [] : [{ type: 'operator-token.revoked', data: { prefix } }], reply: undefined };
};

/** How exact the last use of a token is known, milliseconds. */
export const usedEveryMs = 15 * 60_000;

/** Remembers that a token was shown and taken; again only after a quarter of an hour. */
export const useToken: Decide<State, { prefix: string; address: string }, undefined> = (state, command, { now }) => ({
  events:
    !state.made || state.revoked || now - state.usedAt < usedEveryMs
      ? []
      : [{ type: 'operator-token.used', data: { prefix: command.prefix, address: command.address } }],
  reply: undefined,
});
