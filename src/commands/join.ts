/** A node's request to join where nodes are admitted by approval: asked, repeated, approved, rejected, lapsed. */
import { type Refusal, refuse } from '../errors.ts';
import type { DomainEvent } from '../events/catalog.ts';
import type { NodeProfile, NodeRole } from '../events/node.ts';
import { isoTime } from '../kernel.ts';
import type { Aggregate, Decide } from './execute.ts';
import { nodeIdTaken } from './node.ts';

export const joinStream = (nodeId: string): string => `join-${nodeId}`;

/** For how long a rejected node is not heard again, milliseconds. */
export const rejectionMs = 24 * 3_600_000;

interface Asked {
  readonly publicKey: string;
  readonly profile: NodeProfile;
  /** When it asked first, ISO 8601. */
  readonly requestedAt: string;
}

export type JoinState =
  | { readonly status: 'none' }
  | { readonly status: 'expired' }
  | (Asked & { readonly status: 'pending'; readonly expiresAt: string })
  /** `at`: when that was decided, milliseconds since 1970. */
  | (Asked & { readonly status: 'approved'; readonly role: NodeRole; readonly at: number })
  | (Asked & { readonly status: 'rejected'; readonly reason: string; readonly at: number });

export const join: Aggregate<JoinState> = {
  initial: { status: 'none' },
  evolve(state, event) {
    switch (event.type) {
      case 'join.requested': {
        const { public_key: publicKey, profile, expires_at: expiresAt } = event.data;
        return { status: 'pending', publicKey, profile, requestedAt: event.time, expiresAt };
      }
      case 'join.approved':
        return asked(state, (of) => ({
          ...of,
          status: 'approved',
          role: event.data.role,
          at: Date.parse(event.time),
        }));
      case 'join.rejected':
        return asked(state, (of) => ({
          ...of,
          status: 'rejected',
          reason: event.data.reason,
          at: Date.parse(event.time),
        }));
      case 'join.expired':
        return { status: 'expired' };
      default:
        return state;
    }
  },
};

export interface Request {
  readonly nodeId: string;
  readonly publicKey: string;
  readonly profile: NodeProfile;
  readonly address: string;
  /** After which it lapses, milliseconds. */
  readonly lifetimeMs: number;
  /** When a membership of this node ended, milliseconds since 1970: an approval from before is used up. */
  readonly removedAt?: number | undefined;
}

export type Standing =
  | { readonly standing: 'waiting'; readonly requestedAt: string; readonly expiresAt: string }
  | { readonly standing: 'approved'; readonly role: NodeRole };

/**
 * Asks to be let in, or asks again. Each writes something down, which uses up the nonce of the proof. Nothing is written for
 * one that was approved meanwhile. Refuses `node_id_taken` while another key waits under this id, and `join_rejected`.
 */
export const request: Decide<JoinState, Request, Standing> = (state, command, { now }) => {
  const { nodeId, publicKey, address } = command;
  const another = state.status !== 'none' && state.status !== 'expired' && state.publicKey !== publicKey;
  switch (state.status) {
    case 'pending': {
      if (lapsed(state, now)) return ask(command, now, { type: 'join.expired', data: { node_id: nodeId } });
      if (another) return nodeIdTaken(nodeId);
      const { requestedAt, expiresAt } = state;
      return {
        events: [{ type: 'join.repeated', data: { node_id: nodeId, address } }],
        reply: { standing: 'waiting', requestedAt, expiresAt },
      };
    }
    case 'approved':
      if (isSpent(state, command.removedAt)) return ask(command, now);
      return another ? nodeIdTaken(nodeId) : { events: [], reply: { standing: 'approved', role: state.role } };
    case 'rejected':
      if (another || now - state.at >= rejectionMs) return ask(command, now);
      return refuse('join_rejected', state.reason, { again_at: isoTime(state.at + rejectionMs) });
    default:
      return ask(command, now);
  }
};

/** What an approval gave: who is to be registered, as what. */
export interface Approved {
  readonly publicKey: string;
  readonly profile: NodeProfile;
  readonly role: NodeRole;
}

/** Lets a waiting node in. Refuses `not_found`, and `conflict` for a request that was decided or has lapsed. */
export const approve: Decide<JoinState, { nodeId: string; role: NodeRole }, Approved> = (
  state,
  { nodeId, role },
  { now },
) => {
  const refused = undecided(state, nodeId, now);
  if (refused) return refused;
  const { publicKey, profile } = state as Asked; // what is undecided was asked
  return {
    events: [{ type: 'join.approved', data: { node_id: nodeId, public_key: publicKey, role } }],
    reply: { publicKey, profile, role },
  };
};

/** Sends a waiting node away. Refuses `not_found`, and `conflict` for a request that was decided or has lapsed. */
export const reject: Decide<JoinState, { nodeId: string; reason: string }, undefined> = (
  state,
  { nodeId, reason },
  { now },
) =>
  undecided(state, nodeId, now) ?? {
    events: [{ type: 'join.rejected', data: { node_id: nodeId, reason } }],
    reply: undefined,
  };

/** An approval that could not be carried out becomes a rejection. */
export const takeBack: Decide<JoinState, { nodeId: string; reason: string }, undefined> = (
  state,
  { nodeId, reason },
) => ({
  events: state.status === 'approved' ? [{ type: 'join.rejected', data: { node_id: nodeId, reason } }] : [],
  reply: undefined,
});

/** The node got in by other means while its request waited: the request is answered by that. */
export const settle: Decide<JoinState, { nodeId: string; publicKey: string; role: NodeRole }, undefined> = (
  state,
  { nodeId, publicKey, role },
) => ({
  events:
    state.status === 'pending' && state.publicKey === publicKey
      ? [{ type: 'join.approved', data: { node_id: nodeId, public_key: publicKey, role } }]
      : [],
  reply: undefined,
});

/** Writes down that a request lapsed, or that a rejection counts no more; nothing before its time. */
export const expire: Decide<JoinState, { nodeId: string }, undefined> = (state, { nodeId }, { now }) => {
  const over =
    (state.status === 'pending' && lapsed(state, now)) ||
    (state.status === 'rejected' && now - state.at >= rejectionMs);
  return { events: over ? [{ type: 'join.expired', data: { node_id: nodeId } }] : [], reply: undefined };
};

/** Whether an approval let a node in whose membership is over: it does not let it in twice. */
export function isSpent({ at }: { readonly at: number }, removedAt: number | undefined): boolean {
  return removedAt !== undefined && removedAt >= at;
}

function ask(command: Request, now: number, ...before: DomainEvent[]) {
  const { nodeId: node_id, publicKey: public_key, profile, address, lifetimeMs } = command;
  const expires_at = isoTime(now + lifetimeMs);
  const requested: DomainEvent = {
    type: 'join.requested',
    data: { node_id, public_key, profile, address, expires_at },
  };
  return {
    events: [...before, requested],
    reply: { standing: 'waiting', requestedAt: isoTime(now), expiresAt: expires_at } as const,
  };
}

function undecided(state: JoinState, nodeId: string, now: number): Refusal | undefined {
  if (state.status === 'none') return refuse('not_found', `${nodeId} does not ask to join`);
  if (state.status !== 'pending') return refuse('conflict', `the request of ${nodeId} is ${state.status} already`);
  return lapsed(state, now) ? refuse('conflict', `the request of ${nodeId} has lapsed`) : undefined;
}

function lapsed({ expiresAt }: { readonly expiresAt: string }, now: number): boolean {
  return Date.parse(expiresAt) <= now;
}

/** Judges a request that there is; what comes without one changes nothing. */
function asked(state: JoinState, judged: (asked: Asked) => JoinState): JoinState {
  if (state.status === 'none' || state.status === 'expired') return state;
  const { publicKey, profile, requestedAt } = state;
  return judged({ publicKey, profile, requestedAt });
}
