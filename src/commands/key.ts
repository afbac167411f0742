/**
 * One key belongs to one node. The rule spans two streams, the key's and the node's, so it is kept by reserve, confirm
 * and release on the key's stream: the reservation is the lock, and one that nobody confirmed lapses.
 */
import { refuse } from '../errors.ts';
import { isoTime } from '../kernel.ts';
import type { Aggregate, Decide } from './execute.ts';

export const keyStream = (thumbprint: string): string => `key-${thumbprint}`;

/** How long a registration may take between reserving its key and confirming it, milliseconds. */
export const reservationMs = 60_000;

type State =
  | { readonly held: 'free' }
  | { readonly held: 'reserved'; readonly nodeId: string; readonly expires: number }
  | { readonly held: 'confirmed'; readonly nodeId: string }
  | { readonly held: 'retired'; readonly nodeId: string; readonly cause: Retirement['cause'] };

export const key: Aggregate<State> = {
  initial: { held: 'free' },
  evolve(state, event) {
    switch (event.type) {
      case 'key.reserved':
        return { held: 'reserved', nodeId: event.data.node_id, expires: Date.parse(event.data.expires_at) };
      case 'key.confirmed':
        return { held: 'confirmed', nodeId: event.data.node_id };
      case 'key.retired':
        return { held: 'retired', nodeId: event.data.node_id, cause: event.data.cause };
      case 'key.released':
        return { held: 'free' };
      default:
        return state;
    }
  },
};

export interface KeyUse {
  readonly thumbprint: string;
  readonly nodeId: string;
}

/** Holds the key for the node. Doing it twice is harmless. Refuses `key_taken`, `key_revoked`. */
export const reserve: Decide<State, KeyUse, { confirmed: boolean }> = (state, { thumbprint, nodeId }, { now }) => {
  if (state.held === 'retired') return keyRevoked;
  const free = state.held === 'free' || (state.held === 'reserved' && state.expires <= now);
  if (!free && state.nodeId !== nodeId) return refuse('key_taken', 'another node uses this public key');
  if (!free) return { events: [], reply: { confirmed: state.held === 'confirmed' } };
  const expires_at = isoTime(now + reservationMs);
  return {
    events: [{ type: 'key.reserved', data: { thumbprint, node_id: nodeId, expires_at } }],
    reply: { confirmed: false },
  };
};

/** Makes the reservation last. Refuses `key_taken` when it lapsed and went to another node, and `key_revoked`. */
export const confirm: Decide<State, KeyUse, undefined> = (state, { thumbprint, nodeId }) => {
  if (state.held === 'retired') return keyRevoked;
  if (state.held !== 'free' && state.nodeId !== nodeId) return refuse('key_taken', 'another node uses this public key');
  const done = state.held === 'confirmed';
  return {
    events: done ? [] : [{ type: 'key.confirmed', data: { thumbprint, node_id: nodeId } }],
    reply: undefined,
  };
};

export interface Retirement extends KeyUse {
  readonly cause: 'rotated' | 'revoked';
}

/** Ends the use of a key for ever; `retired` says whether it was this call. Refuses `key_taken` for a key that is another node's. */
export const retire: Decide<State, Retirement, { retired: boolean }> = (state, { thumbprint, nodeId, cause }) => {
  if (state.held === 'retired') return { events: [], reply: { retired: false } };
  if (state.held !== 'free' && state.nodeId !== nodeId) return refuse('key_taken', 'another node uses this public key');
  return { events: [{ type: 'key.retired', data: { thumbprint, node_id: nodeId, cause } }], reply: { retired: true } };
};

export const keyRevoked = refuse('key_revoked', 'this key was rotated away or revoked; nobody may use it again');

/** Frees the key, if this node holds it. */
export const release: Decide<State, KeyUse, undefined> = (state, { thumbprint, nodeId }) => ({
  events:
    (state.held === 'reserved' || state.held === 'confirmed') && state.nodeId === nodeId
      ? [{ type: 'key.released', data: { thumbprint, node_id: nodeId } }]
      : [],
  reply: undefined,
});
