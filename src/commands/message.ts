/** One message that is kept: sent once, then read, refused or expired, each by whom it concerns and once. */
import { type Refusal, refuse } from '../errors.ts';
import type { EventData } from '../events/catalog.ts';
import type { Aggregate, Decide } from './execute.ts';

export const messageStream = (messageId: string): string => `message-${messageId}`;

/** What later facts repeat of the message. */
type Known = Pick<EventData<'message.read'>, 'message_id' | 'box' | 'from' | 'expires_at'>;

export interface MessageState extends Known {
  /** Who has read it. */
  readonly read: ReadonlySet<string>;
  readonly refused: ReadonlySet<string>;
  readonly expired: boolean;
}

type State = MessageState | undefined;

export const message: Aggregate<State> = {
  initial: undefined,
  evolve(state, event) {
    if (event.type === 'message.sent') {
      const { message_id, box, from, expires_at } = event.data;
      return { message_id, box, from, expires_at, read: new Set(), refused: new Set(), expired: false };
    }
    if (!state) return state;
    switch (event.type) {
      case 'message.read':
        return { ...state, read: new Set(state.read).add(event.data.node_id) };
      case 'message.refused':
        return { ...state, refused: new Set(state.refused).add(event.data.node_id) };
      case 'message.expired':
        return { ...state, expired: true };
      default:
        return state;
    }
  },
};

/** `full`: why there is no room for it. Decided on here, because a message that was sent before is answered as it was, room or not. */
export type Sending = EventData<'message.sent'> & { readonly full: Refusal | undefined };

export interface Sent {
  readonly message_id: string;
  readonly without?: string[];
}

/** Refuses what `full` says, and `conflict` for an id that is taken. */
export const send: Decide<State, Sending, Sent> = (state, { full, ...data }) => {
  if (state) return refuse('conflict', `there is a message ${data.message_id} already`);
  if (full) return full;
  const { message_id, without } = data;
  return { events: [{ type: 'message.sent', data }], reply: { message_id, ...(without && { without }) } };
};

interface Of {
  readonly nodeId: string;
  /** Where the message lies in the log. */
  readonly sentPosition: number;
}

/** Read twice is read once. Refuses `not_found`. */
export const read: Decide<State, Of, undefined> = (state, { nodeId, sentPosition }) => {
  if (!state) return unknown;
  if (state.read.has(nodeId)) return { events: [], reply: undefined };
  const data = { ...knownOf(state), sent_position: sentPosition, node_id: nodeId };
  return { events: [{ type: 'message.read', data }], reply: undefined };
};

/** Refused twice is refused once. Refuses `not_found`, and `message_over` for one that expired. */
export const refuseMessage: Decide<State, Of & { code: string; reason: string }, undefined> = (
  state,
  { nodeId, sentPosition, code, reason },
) => {
  if (!state) return unknown;
  if (state.expired) return refuse('message_over', 'the message has expired');
  if (state.refused.has(nodeId)) return { events: [], reply: undefined };
  const data = { ...knownOf(state), sent_position: sentPosition, node_id: nodeId, code, reason };
  return { events: [{ type: 'message.refused', data }], reply: undefined };
};

/** Of one fact. */
const mostNamed = 1_000;

/** The time of the message is over, and these nodes did not get it: a fact for each thousand of them. Before its time nothing happens. */
export const expire: Decide<State, { sentPosition: number; unreached: readonly string[] }, { expired: boolean }> = (
  state,
  { sentPosition, unreached },
  { now },
) => {
  if (!state || state.expired || now < Date.parse(state.expires_at)) return { events: [], reply: { expired: false } };
  const about = { ...knownOf(state), sent_position: sentPosition, others: 0 };
  const facts = Array.from({ length: Math.max(1, Math.ceil(unreached.length / mostNamed)) }, (_, at) => ({
    type: 'message.expired' as const,
    data: { ...about, unreached: unreached.slice(at * mostNamed, (at + 1) * mostNamed) },
  }));
  return { events: facts, reply: { expired: true } };
};

const unknown = refuse('not_found', 'there is no such message');

function knownOf({ message_id, box, from, expires_at }: MessageState): Known {
  return { message_id, box, from, expires_at };
}
