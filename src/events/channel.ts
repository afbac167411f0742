/** Facts of who hears a channel, in the stream `channel-<name>`. */
import { Type } from 'typebox';
import { kept } from './define.ts';
import { NodeId } from './node.ts';

/** Same alphabet as a node id, so that no two names look alike. */
export const ChannelName = Type.String({
  pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$',
  description: 'Name of a channel; it is there as long as it has members',
});

export const channelEvents = {
  /** The node hears what is said in the channel from here on. */
  'channel.joined': kept(Type.Object({ channel: ChannelName, node_id: NodeId })),
  'channel.left': kept(
    Type.Object({
      channel: ChannelName,
      node_id: NodeId,
      cause: Type.Union([Type.Literal('itself'), Type.Literal('operator'), Type.Literal('node_removed')]),
    }),
  ),
} as const;
