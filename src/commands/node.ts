/** One node's membership: registering, changing, being doubted, lost and heard again, leaving. */
import { isDeepStrictEqual } from 'node:util';
import { type Refusal, refuse } from '../errors.ts';
import type { DomainEvent } from '../events/catalog.ts';
import type { GovernanceMode } from '../events/federation.ts';
import type { Reading } from '../events/heartbeat.ts';
import type { NodeProfile, NodeRole } from '../events/node.ts';
import type { Aggregate, Decide, Decision } from './execute.ts';
import { admission } from './governance.ts';

export const nodeStream = (nodeId: string): string => `node-${nodeId}`;
export const heartbeatStream = (nodeId: string): string => `heartbeat-${nodeId}`;

type Presence = 'online' | 'suspect' | 'offline';

export type NodeState =
  | { readonly membership: 'none' | 'removed' }
  | {
      readonly membership: 'member';
      readonly publicKey: string;
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
          role: event.data.role,
          profile: event.data.profile,
          presence: 'online',
          since: Date.parse(event.time),
        };
      case 'node.removed':
        return { membership: 'removed' };
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
  /** How the federation admits nodes now. */
  readonly mode: GovernanceMode;
}

export interface Registered {
  readonly role: NodeRole;
  /** It was a member before. */
  readonly known: boolean;
}

/**
 * Makes a node a member, or, with the same key, brings its profile up to date and back online.
 * Refuses `node_id_taken`, `approval_required`, `invite_required`.
 */
export const register: Decide<NodeState, Registration, Registered> = (state, command, { now }) => {
  const { nodeId, publicKey, profile } = command;
  if (state.membership !== 'member') {
    const refused = admission(command.mode);
    if (refused) return refused;
    return {
      events: [{ type: 'node.registered', data: { node_id: nodeId, public_key: publicKey, role: 'member', profile } }],
      reply: { role: 'member', known: false },
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

function become(state: NodeState, presence: Presence, time: string): NodeState {
  return state.membership === 'member' ? { ...state, presence, since: Date.parse(time) } : state;
}

function unknown(state: NodeState, nodeId: string): Refusal {
  return state.membership === 'removed'
    ? refuse('node_removed', `${nodeId} was removed from the federation`)
    : refuse('not_found', `there is no node ${nodeId}`);
}
