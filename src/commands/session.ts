/** A node's sessions: opened by proof of its key, renewed, ended. The epoch grows with each, so that a stale one cannot act. */
import { refuse } from '../errors.ts';
import type { DomainEvent } from '../events/catalog.ts';
import type { Aggregate, Decide } from './execute.ts';

export const sessionStream = (nodeId: string): string => `session-${nodeId}`;

export type Transport = 'socket' | 'http';

interface State {
  /** Events so far: the next one's revision, and so the epoch of a session opened now. */
  readonly count: number;
  readonly open: ReadonlyMap<Transport, string>;
}

export const session: Aggregate<State> = {
  initial: { count: 0, open: new Map() },
  evolve(state, event) {
    const count = event.revision + 1;
    switch (event.type) {
      case 'session.opened':
        return { count, open: new Map(state.open).set(event.data.transport, event.data.session_id) };
      case 'session.revoked':
        return { count, open: new Map() };
      case 'session.ended':
        return { count, open: new Map([...state.open].filter(([, id]) => id !== event.data.session_id)) };
      default:
        return { ...state, count };
    }
  },
};

export interface Opening {
  readonly nodeId: string;
  readonly transport: Transport;
  /** Where the node came from, as the door saw it. */
  readonly address: string;
  /** Why all earlier sessions are over, when they are: the node has another key now, or the name another node. */
  readonly anew?: string | undefined;
}

/** Opens a session; of sockets, the newest takes over. */
export const open: Decide<State, Opening, { sessionId: string; epoch: number }> = (state, command, { id }) => {
  const { nodeId, transport, address, anew } = command;
  const sessionId = `${transport}.${id}`;
  const before: DomainEvent[] =
    anew !== undefined && state.count > 0 ? [{ type: 'session.revoked', data: { node_id: nodeId, reason: anew } }] : [];
  const opened: DomainEvent = {
    type: 'session.opened',
    data: { node_id: nodeId, session_id: sessionId, transport, address },
  };
  return { events: [...before, opened], reply: { sessionId, epoch: state.count + before.length } };
};

/** Ends all sessions of a node, those included that nobody knows of: tokens of before are worth nothing. */
export const revoke: Decide<State, { nodeId: string; reason: string }, undefined> = (state, { nodeId, reason }) => ({
  events: state.count > 0 ? [{ type: 'session.revoked', data: { node_id: nodeId, reason } }] : [],
  reply: undefined,
});

/** Lets a session go on. Refuses `session_superseded` for one that ended or was taken over. */
export const renew: Decide<State, { nodeId: string; sessionId: string; expiresAt: string }, undefined> = (
  state,
  command,
) => {
  const live = [...state.open.values()].includes(command.sessionId);
  if (!live) return refuse('session_superseded', 'the session ended, or a newer one took over');
  const { nodeId, sessionId, expiresAt } = command;
  return {
    events: [{ type: 'session.renewed', data: { node_id: nodeId, session_id: sessionId, expires_at: expiresAt } }],
    reply: undefined,
  };
};

/** Ends a session. One that is not open any more stays as it is: a stale goodbye changes nothing. */
export const end: Decide<State, { nodeId: string; sessionId: string; cause: string }, undefined> = (state, command) => {
  const { nodeId, sessionId, cause } = command;
  const live = [...state.open.values()].includes(sessionId);
  return {
    events: live ? [{ type: 'session.ended', data: { node_id: nodeId, session_id: sessionId, cause } }] : [],
    reply: undefined,
  };
};
