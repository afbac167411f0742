/** Who hears one channel. It is there as long as it has members. */
import { refuse } from '../errors.ts';
import type { EventData } from '../events/catalog.ts';
import type { Aggregate, Decide } from './execute.ts';

export const channelStream = (channel: string): string => `channel-${channel}`;

/** Members of one channel, and channels of one node, at most. */
export const mostMembers = 10_000;
export const mostChannels = 256;

export interface ChannelState {
  readonly members: ReadonlySet<string>;
}

export const channelMembers: Aggregate<ChannelState> = {
  initial: { members: new Set() },
  evolve({ members }, event) {
    if (event.type === 'channel.joined') return { members: new Set(members).add(event.data.node_id) };
    if (event.type !== 'channel.left') return { members };
    const left = new Set(members);
    left.delete(event.data.node_id);
    return { members: left };
  },
};

interface Member {
  readonly channel: string;
  readonly nodeId: string;
}

/** `joined`: channels that the node hears already. Refuses `limit_reached`. Joined twice is joined once. */
export const join: Decide<ChannelState, Member & { joined: number }, undefined> = (
  { members },
  { channel, nodeId, joined },
) => {
  if (members.has(nodeId)) return { events: [], reply: undefined };
  if (joined >= mostChannels) return refuse('limit_reached', `a node hears ${mostChannels} channels at most`);
  if (members.size >= mostMembers) return refuse('limit_reached', `a channel has ${mostMembers} members at most`);
  return { events: [{ type: 'channel.joined', data: { channel, node_id: nodeId } }], reply: undefined };
};

/** Refuses `not_found`. */
export const leave: Decide<ChannelState, Member & { cause: EventData<'channel.left'>['cause'] }, undefined> = (
  { members },
  { channel, nodeId, cause },
) => {
  if (!members.has(nodeId)) return refuse('not_found', `${nodeId} does not hear the channel ${channel}`);
  return { events: [{ type: 'channel.left', data: { channel, node_id: nodeId, cause } }], reply: undefined };
};
