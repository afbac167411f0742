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
  /** Who got it from another node. */
  readonly received: ReadonlySet<string>;
  /** The entry that it came home in, of what nodes passed among themselves. */
  readonly entry: string | undefined;
}

type State = MessageState | undefined;

export const message: Aggregate<State> = {
  initial: undefined,
  evolve(state, event) {
    if (event.type === 'message.sent') {
      const { message_id, box, from, expires_at, p2p } = event.data;
      const none: ReadonlySet<string> = new Set();
      const over = { read: none, refused: none, received: none, expired: false };
      return { message_id, box, from, expires_at, ...over, entry: p2p?.entry };
    }
    if (!state) return state;
    switch (event.type) {
      case 'message.read':
        return { ...state, read: new Set(state.read).add(event.data.node_id) };
      case 'message.refused':
        return { ...state, refused: new Set(state.refused).add(event.data.node_id) };
      case 'message.received':
        return { ...state, received: new Set(state.received).add(event.data.node_id) };
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

/**
 * Takes a message that nodes passed among themselves. One that the hub had already, under the same key, is that one. Refuses what
 * `full` says, and `idempotency_mismatch` when another entry brought it.
 */
export const bring: Decide<State, Sending, { known: boolean }> = (state, { full, ...data }) => {
  if (state) {
    const same = state.entry === undefined || state.entry === data.p2p?.entry;
    return same
      ? { events: [], reply: { known: true } }
      : refuse('idempotency_mismatch', 'its key was used for another');
  }
  return full ?? { events: [{ type: 'message.sent', data }], reply: { known: false } };
};

/** The node got it from another node. Twice is once. Refuses `not_found`, and `idempotency_mismatch` when what it got is another. */
export const receive: Decide<State, Of & { at: string }, undefined> = (state, { nodeId, sentPosition, at, entry }) => {
  if (!state) return unknown;
  if (isOther(state, entry)) return another;
  if (state.received.has(nodeId)) return { events: [], reply: undefined };
  const data = { ...knownOf(state), sent_position: sentPosition, node_id: nodeId, at };
  return { events: [{ type: 'message.received', data }], reply: undefined };
};

interface Of {
  readonly nodeId: string;
  /** The entry in which the node got it from another node, if it did. */
  readonly entry?: string;
  /** Where the message lies in the log. */
  readonly sentPosition: number;
}

/** Read twice is read once. Refuses `not_found`, and as `receive` does. */
export const read: Decide<State, Of, undefined> = (state, { nodeId, sentPosition, entry }) => {
  if (!state) return unknown;
  if (isOther(state, entry)) return another;
  if (state.read.has(nodeId)) return { events: [], reply: undefined };
  const data = { ...knownOf(state), sent_position: sentPosition, node_id: nodeId };
  return { events: [{ type: 'message.read', data }], reply: undefined };
};

/** Refused twice is refused once. Refuses `not_found`, `message_over` for one that expired, and as `receive` does. */
export const refuseMessage: Decide<State, Of & { code: string; reason: string }, undefined> = (
  state,
  { nodeId, sentPosition, code, reason, entry },
) => {
  if (!state) return unknown;
  if (isOther(state, entry)) return another;
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
const another = refuse('idempotency_mismatch', 'what the node got under this name is not what came home');

/** Whether its author said one thing to the node and another to the hub. What came by the hub alone cannot be told apart. */
function isOther(state: MessageState, entry: string | undefined): boolean {
  return entry !== undefined && state.entry !== undefined && state.entry !== entry;
}

function knownOf({ message_id, box, from, expires_at }: MessageState): Known {
  return { message_id, box, from, expires_at };
}
