/** One node's membership: registering, changing, being doubted, lost and heard again, leaving. */
import { isDeepStrictEqual } from 'node:util';
import { type Refusal, refuse } from '../errors.ts';
import type { DomainEvent } from '../events/catalog.ts';
import type { Reading } from '../events/heartbeat.ts';
import type { Admission, NodeProfile, NodeRole } from '../events/node.ts';
import type { Aggregate, Decide, Decision } from './execute.ts';

export const nodeStream = (nodeId: string): string => `node-${nodeId}`;
export const heartbeatStream = (nodeId: string): string => `heartbeat-${nodeId}`;

type Presence = 'online' | 'suspect' | 'offline';

export type NodeState =
  | { readonly membership: 'none' }
  /** `since`: milliseconds since 1970. */
  | { readonly membership: 'removed'; readonly since: number }
  | {
      readonly membership: 'member';
      readonly publicKey: string;
      /** Keys that it rotated away, the newest last; the last few. */
      readonly formerKeys: readonly string[];
      readonly role: NodeRole;
      readonly profile: NodeProfile;
      readonly presence: Presence;
      /** When the presence last changed, milliseconds since 1970. */
      readonly since: number;
    };

export const node: Aggregate<NodeState> = {
  initial: { membership: 'none' },
  evolve(state, event) {
    switch (event.type) {
      case 'node.registered':
        return {
          membership: 'member',
          publicKey: event.data.public_key,
          formerKeys: [],
          role: event.data.role,
          profile: event.data.profile,
          presence: 'online',
          since: Date.parse(event.time),
        };
      case 'node.removed':
        return { membership: 'removed', since: Date.parse(event.time) };
      case 'node.role-changed':
        return state.membership === 'member' ? { ...state, role: event.data.role } : state;
      case 'node.key-rotated':
        return state.membership === 'member' ? rotated(state, event.data.public_key) : state;
      case 'node.updated':
        return state.membership === 'member' ? { ...state, profile: event.data.profile } : state;
      case 'node.suspected':
        return become(state, 'suspect', event.time);
      case 'node.cleared':
      case 'node.returned':
        return become(state, 'online', event.time);
      case 'node.lost':
      case 'node.left':
        return become(state, 'offline', event.time);
      default:
        return state;
    }
  },
};

export interface Registration {
  readonly nodeId: string;
  readonly publicKey: string;
  readonly profile: NodeProfile;
  /** Leave to become a member; undefined for a node that was taken for one already. */
  readonly grant: { readonly role: NodeRole; readonly admission: Admission } | undefined;
}

export interface Registered {
  readonly role: NodeRole;
  /** It was a member before. */
  readonly known: boolean;
}

/**
 * Makes a node a member, or, with the same key, brings its profile up to date and back online.
 * Refuses `node_id_taken`, and `conflict` for one that was a member until a moment ago.
 */
export const register: Decide<NodeState, Registration, Registered> = (state, command, { now }) => {
  const { nodeId, publicKey, profile } = command;
  if (state.membership !== 'member') {
    if (!command.grant) return refuse('conflict', `${nodeId} was removed just now; register again`);
    const { role, admission } = command.grant;
    return {
      events: [{ type: 'node.registered', data: { node_id: nodeId, public_key: publicKey, role, profile, admission } }],
      reply: { role, known: false },
    };
  }
  if (state.publicKey !== publicKey) return nodeIdTaken(nodeId);
  const events: DomainEvent[] = [];
  if (!isDeepStrictEqual(state.profile, profile)) {
    events.push({ type: 'node.updated', data: { node_id: nodeId, profile } });
  }
  if (state.presence !== 'online') events.push(back(nodeId, state.presence, state.since, now));
  return { events, reply: { role: state.role, known: true } };
};

export function nodeIdTaken(nodeId: string): Refusal {
  return refuse('node_id_taken', `${nodeId} is registered with another key`);
}

/** Changes the named parts of a profile. */
export const update: Decide<NodeState, { nodeId: string; changes: NodeProfile }, NodeProfile> = (state, command) => {
  if (state.membership !== 'member') return unknown(state, command.nodeId);
  const profile = { ...state.profile, ...command.changes };
  const same = isDeepStrictEqual(profile, state.profile);
  return {
    events: same ? [] : [{ type: 'node.updated', data: { node_id: command.nodeId, profile } }],
    reply: profile,
  };
};

/** Gives a member another key, if `previous` is the one it has. Refuses `not_found`, `node_removed`, and `conflict`. */
export const rotateKey: Decide<NodeState, { nodeId: string; publicKey: string; previous: string }, undefined> = (
  state,
  { nodeId, publicKey, previous },
) => {
  if (state.membership !== 'member') return unknown(state, nodeId);
  if (state.publicKey !== previous) return refuse('conflict', 'the key of the node was changed meanwhile');
  const event = { type: 'node.key-rotated', data: { node_id: nodeId, public_key: publicKey, previous } } as const;
  return { events: [event], reply: undefined };
};

/** Gives a member another role. Refuses `not_found`, `node_removed`. */
export const changeRole: Decide<
  NodeState,
  { nodeId: string; role: NodeRole },
  { role: NodeRole; previous: NodeRole }
> = (state, { nodeId, role }) => {
  if (state.membership !== 'member') return unknown(state, nodeId);
  const { role: previous } = state;
  const same = role === previous;
  return {
    events: same ? [] : [{ type: 'node.role-changed', data: { node_id: nodeId, role, previous } }],
    reply: { role, previous },
  };
};

/** A reading goes into the log only for a member. Refuses `not_found`, `node_removed`. */
export const heartbeat: Decide<NodeState, { nodeId: string; reading: Reading }, { presence: Presence }> = (
  state,
  command,
) =>
  state.membership === 'member'
    ? {
        events: [{ type: 'heartbeat.received', data: { node_id: command.nodeId, ...command.reading } }],
        reply: { presence: state.presence },
      }
    : unknown(state, command.nodeId);

/** What the failure detector found. `last` guards against judging a node by what was known before it spoke. */
export interface Judgement {
  readonly nodeId: string;
  readonly verdict: 'suspect' | 'lost' | 'clear';
  readonly cause: 'suspicion' | 'hard_limit';
  /** Phi of the accrual detector, and how long nothing was heard. */
  readonly phi: number;
  readonly silentMs: number;
}

/** Writes down a change of presence; none when the node is there already, or is no member any more. */
export const judge: Decide<NodeState, Judgement, { changed: boolean }> = (state, { nodeId, ...judgement }, { now }) => {
  if (state.membership !== 'member') return none;
  const suspicion = { node_id: nodeId, phi: judgement.phi, silent_ms: judgement.silentMs };
  switch (judgement.verdict) {
    case 'suspect':
      return state.presence === 'online' ? changed({ type: 'node.suspected', data: suspicion }) : none;
    case 'lost':
      return state.presence === 'offline'
        ? none
        : changed({ type: 'node.lost', data: { ...suspicion, cause: judgement.cause } });
    case 'clear':
      return state.presence === 'online' ? none : changed(back(nodeId, state.presence, state.since, now));
  }
};

/** The node said goodbye: offline at once, and still a member. */
export const leave: Decide<NodeState, { nodeId: string }, { changed: boolean }> = (state, { nodeId }) =>
  state.membership === 'member' && state.presence !== 'offline'
    ? changed({ type: 'node.left', data: { node_id: nodeId } })
    : none;

export type RemovalCause = 'itself' | 'operator' | 'reaped';

/** Ends a membership. Answers the key that is free now. Refuses `not_found`; a node removed before is `node_removed`. */
export const remove: Decide<NodeState, { nodeId: string; cause: RemovalCause }, { publicKey: string }> = (
  state,
  command,
) =>
  state.membership === 'member'
    ? {
        events: [{ type: 'node.removed', data: { node_id: command.nodeId, cause: command.cause } }],
        reply: { publicKey: state.publicKey },
      }
    : unknown(state, command.nodeId);

const none: Decision<{ changed: boolean }> = { events: [], reply: { changed: false } };

function changed(event: DomainEvent): Decision<{ changed: boolean }> {
  return { events: [event], reply: { changed: true } };
}

function back(nodeId: string, from: Presence, since: number, now: number): DomainEvent {
  return from === 'suspect'
    ? { type: 'node.cleared', data: { node_id: nodeId } }
    : { type: 'node.returned', data: { node_id: nodeId, away_ms: Math.max(0, now - since) } };
}

const rememberedKeys = 16;

function rotated(state: NodeState & { membership: 'member' }, publicKey: string): NodeState {
  return { ...state, publicKey, formerKeys: [...state.formerKeys, state.publicKey].slice(-rememberedKeys) };
}

function become(state: NodeState, presence: Presence, time: string): NodeState {
  return state.membership === 'member' ? { ...state, presence, since: Date.parse(time) } : state;
}

function unknown(state: NodeState, nodeId: string): Refusal {
  return state.membership === 'removed'
    ? refuse('node_removed', `${nodeId} was removed from the federation`)
    : refuse('not_found', `there is no node ${nodeId}`);
}
