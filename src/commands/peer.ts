/** Other hubs that this one is a member of: joined, left, and what came of each sync with them. */
import { isDeepStrictEqual } from 'node:util';
import { refuse } from '../errors.ts';
import type { EventData } from '../events/catalog.ts';
import type { Aggregate, Decide } from './execute.ts';

export const peerStream = (peerId: string): string => `peer-${peerId}`;

/** Each is a connection of one replica, and a set to compare now and then. */
export const mostPeers = 64;

export type PeerLink = EventData<'peer.joined'>;

/** The link as it stands; undefined: there is none. */
export const peer: Aggregate<PeerLink | undefined> = {
  initial: undefined,
  evolve(state, event) {
    if (event.type === 'peer.joined') return event.data;
    return event.type === 'peer.left' ? undefined : state;
  },
};

export interface Join {
  readonly link: PeerLink;
  /** How many there are, as this replica knows. */
  readonly others: number;
}

/** Joins another hub; joined again, the link is as said from now on, but its URL and name there are firm. Refuses `limit_reached`, `conflict`. */
export const joinPeer: Decide<PeerLink | undefined, Join, PeerLink> = (state, { link, others }) => {
  if (!state && others >= mostPeers) return refuse('limit_reached', `a hub is a member of ${mostPeers} others at most`);
  if (state && (state.url !== link.url || state.node_id !== link.node_id))
    return refuse('conflict', `${link.peer_id} is another hub, or another name there: leave it first`);
  if (isDeepStrictEqual(state, link)) return { events: [], reply: link };
  return { events: [{ type: 'peer.joined', data: link }], reply: link };
};

/** Refuses `not_found`. */
export const leavePeer: Decide<PeerLink | undefined, { peerId: string }, undefined> = (state, { peerId }) => {
  if (!state) return refuse('not_found', `there is no peer ${peerId}`);
  return { events: [{ type: 'peer.left', data: { peer_id: peerId } }], reply: undefined };
};

/** What came of a sync; nothing is written of a peer that was left meanwhile. */
export const syncedPeer: Decide<PeerLink | undefined, EventData<'peer.synced'>, undefined> = (state, synced) => ({
  events: state ? [{ type: 'peer.synced', data: synced }] : [],
  reply: undefined,
});
