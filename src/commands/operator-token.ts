/** Operator tokens: made once, shown once, kept as hashes. */
import { refuse } from '../errors.ts';
import type { Aggregate, Decide } from './execute.ts';

export const operatorTokenStream = (prefix: string): string => `operator-${prefix}`;

export const operatorToken: Aggregate<{ made: boolean }> = {
  initial: { made: false },
  evolve: (state, event) => (event.type === 'operator-token.created' ? { made: true } : state),
};

export interface NewOperatorToken {
  readonly prefix: string;
  readonly hash: string;
  readonly label: string;
  readonly scopes: string[];
}

export const createToken: Decide<{ made: boolean }, NewOperatorToken, undefined> = (state, command) =>
  state.made
    ? refuse('conflict', `there is a token ${command.prefix} already`)
    : { events: [{ type: 'operator-token.created', data: { ...command } }], reply: undefined };
