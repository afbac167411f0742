/**
 * One invite and its uses. A use spans two streams, the invite's and the node's: it is claimed before the node is registered
 * and becomes used, or is released, after. So of two nodes that race for the last use one gets in, on whichever replicas.
 */
import { type Refusal, refuse } from '../errors.ts';
import type { NodeRole } from '../events/node.ts';
import { isoTime } from '../kernel.ts';
import type { Aggregate, Decide } from './execute.ts';

export const inviteStream = (inviteId: string): string => `invite-${inviteId}`;

/** How long a registration may take between claiming a use and using it, milliseconds. */
export const claimMs = 60_000;

interface Use {
  readonly thumbprint: string;
  readonly status: 'claimed' | 'used';
  readonly expires: number;
}

export interface Invited {
  /** Of the whole invite; see shown-once.ts. */
  readonly hash: string;
  readonly role: NodeRole;
  readonly uses: number;
  readonly nodeId: string | undefined;
  readonly publicKey: string | undefined;
  /** Milliseconds since 1970. */
  readonly expires: number;
  readonly revoked: boolean;
  /** By node id. A claim counts until it is released, lapsed or not: only then is it known that the node did not get in. */
  readonly usedBy: ReadonlyMap<string, Use>;
}

type State = Invited | undefined;

export const invite: Aggregate<State> = {
  initial: undefined,
  evolve(state, event) {
    if (event.type === 'invite.created') {
      const { hash, role, uses, node_id, public_key, expires_at } = event.data;
      const expires = Date.parse(expires_at);
      return { hash, role, uses, nodeId: node_id, publicKey: public_key, expires, revoked: false, usedBy: new Map() };
    }
    if (!state) return state;
    switch (event.type) {
      case 'invite.claimed': {
        const { node_id, thumbprint, expires_at } = event.data;
        return withUse(state, node_id, { thumbprint, status: 'claimed', expires: Date.parse(expires_at) });
      }
      case 'invite.used': {
        const use = state.usedBy.get(event.data.node_id);
        return use ? withUse(state, event.data.node_id, { ...use, status: 'used' }) : state;
      }
      case 'invite.released':
        return { ...state, usedBy: new Map([...state.usedBy].filter(([nodeId]) => nodeId !== event.data.node_id)) };
      case 'invite.revoked':
        return { ...state, revoked: true };
      default:
        return state;
    }
  },
};

export interface NewInvite {
  readonly inviteId: string;
  readonly hash: string;
  readonly label: string;
  readonly role: NodeRole;
  readonly uses: number;
  /** Only this node id, and only this key, may use it. */
  readonly nodeId?: string | undefined;
  readonly publicKey?: string | undefined;
  readonly lifetimeMs: number;
  /** Why there is no room for it. Decided on here, because a command that was done before is answered so, room or not. */
  readonly full?: Refusal | undefined;
}

/** Refuses `conflict` when the id was drawn before, and what `full` says. */
export const create: Decide<State, NewInvite, { expiresAt: string }> = (state, command, { now }) => {
  const { inviteId: invite_id, hash, label, role, uses, nodeId, publicKey, lifetimeMs, full } = command;
  if (state) return refuse('conflict', `there is an invite ${invite_id} already`);
  if (full) return full;
  const expires_at = isoTime(now + lifetimeMs);
  const bound = { ...(nodeId && { node_id: nodeId }), ...(publicKey && { public_key: publicKey }) };
  return {
    events: [{ type: 'invite.created', data: { invite_id, hash, label, role, uses, ...bound, expires_at } }],
    reply: { expiresAt: expires_at },
  };
};

export interface Claim {
  readonly inviteId: string;
  readonly nodeId: string;
  readonly publicKey: string;
  readonly thumbprint: string;
}

/** One answer to whatever is wrong with an invite: who guesses learns nothing. */
export const inviteInvalid = refuse('invite_invalid', 'this invite does not let this node in');

/** Holds a use for a node; a node that holds one goes on with it. Refuses `invite_invalid`, whatever is wrong. */
export const claim: Decide<State, Claim, { role: NodeRole }> = (state, command, { now }) => {
  const { inviteId: invite_id, nodeId: node_id, publicKey, thumbprint } = command;
  if (!state || state.revoked || state.expires <= now) return inviteInvalid;
  if (state.nodeId !== undefined && state.nodeId !== node_id) return inviteInvalid;
  if (state.publicKey !== undefined && state.publicKey !== publicKey) return inviteInvalid;
  const held = state.usedBy.get(node_id);
  if (held ? held.status === 'used' || held.thumbprint !== thumbprint : state.usedBy.size >= state.uses)
    return inviteInvalid;
  const reply = { role: state.role };
  if (held && held.expires > now) return { events: [], reply };
  const expires_at = isoTime(now + claimMs);
  return { events: [{ type: 'invite.claimed', data: { invite_id, node_id, thumbprint, expires_at } }], reply };
};

interface Holder {
  readonly inviteId: string;
  readonly nodeId: string;
  readonly thumbprint: string;
}

/** The node got in. One whose claim was released meanwhile is written down all the same: it is in. */
export const use: Decide<State, Holder, undefined> = (state, command, { now }) => {
  const { inviteId: invite_id, nodeId: node_id, thumbprint } = command;
  const held = state?.usedBy.get(node_id);
  if (!state || held?.status === 'used') return { events: [], reply: undefined };
  const used = { type: 'invite.used', data: { invite_id, node_id } } as const;
  if (held) return { events: [used], reply: undefined };
  const data = { invite_id, node_id, thumbprint, expires_at: isoTime(now) };
  return { events: [{ type: 'invite.claimed', data }, used], reply: undefined };
};

/** The node did not get in: its use is free again. */
export const release: Decide<State, Holder, undefined> = (state, { inviteId: invite_id, nodeId, thumbprint }) => {
  const held = state?.usedBy.get(nodeId);
  const holds = held?.status === 'claimed' && held.thumbprint === thumbprint;
  return {
    events: holds ? [{ type: 'invite.released', data: { invite_id, node_id: nodeId } }] : [],
    reply: undefined,
  };
};

/** Nobody may use it from now on; who got in by it stays. Refuses `not_found`. */
export const revoke: Decide<State, { inviteId: string }, undefined> = (state, { inviteId }) =>
  state
    ? { events: state.revoked ? [] : [{ type: 'invite.revoked', data: { invite_id: inviteId } }], reply: undefined }
    : refuse('not_found', `there is no invite ${inviteId}`);

function withUse(state: Invited, nodeId: string, held: Use): Invited {
  return { ...state, usedBy: new Map(state.usedBy).set(nodeId, held) };
}
