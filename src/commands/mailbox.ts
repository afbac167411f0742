/** What one node has got of its mail: all of it up to a position of the log, which only grows. */
import type { Aggregate, Decide } from './execute.ts';

export const mailboxStream = (nodeId: string): string => `mailbox-${nodeId}`;

export interface MailboxState {
  readonly through: number;
}

export const mailbox: Aggregate<MailboxState> = {
  initial: { through: 0 },
  evolve: (state, event) => (event.type === 'mail.delivered' ? { through: event.data.through } : state),
};

/** What the node had before already changes nothing. */
export const deliver: Decide<MailboxState, { nodeId: string; through: number }, { through: number }> = (
  state,
  { nodeId, through },
) => {
  if (through <= state.through) return { events: [], reply: { through: state.through } };
  return { events: [{ type: 'mail.delivered', data: { node_id: nodeId, through } }], reply: { through } };
};

export const mailStream = 'mail';

/** Lets go of what expired before a time, ISO 8601; of an earlier one than before nothing is left. */
export const purge: Decide<{ readonly before: string }, { before: string }, undefined> = (state, { before }) => ({
  events: before > state.before ? [{ type: 'mail.purged', data: { before } }] : [],
  reply: undefined,
});

export const mail: Aggregate<{ readonly before: string }> = {
  initial: { before: '' },
  evolve: (state, event) => (event.type === 'mail.purged' ? { before: event.data.before } : state),
};
