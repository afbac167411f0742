/** Who is a member of what, from the maps in memory. */
import type { Hub } from '../../hub.ts';
import type { Members } from './mailroom.ts';

/** Channels are looked up by name often, and change seldom: their members are kept by channel. */
export function membersOf({ live }: { readonly live: Pick<Hub['live'], 'nodes' | 'channels'> }): {
  readonly members: Members;
  close(): void;
} {
  const channels = new Map<string, Map<string, number>>();
  const close = live.channels.onChange((member, row) => {
    const [channel = '', nodeId = ''] = member.split('/');
    const known = channels.get(channel) ?? new Map<string, number>();
    if (row) channels.set(channel, known.set(nodeId, row.joined_position));
    else if (known.delete(nodeId) && known.size === 0) channels.delete(channel);
  });
  for (const { channel, node_id, joined_position } of live.channels.values()) {
    channels.set(channel, (channels.get(channel) ?? new Map<string, number>()).set(node_id, joined_position));
  }
  const members: Members = {
    since: (nodeId) => live.nodes.get(nodeId)?.registered_position,
    *channel(name) {
      for (const [nodeId, joined] of channels.get(name) ?? []) {
        const registered = live.nodes.get(nodeId)?.registered_position;
        if (registered !== undefined && registered < joined) yield [nodeId, joined];
      }
    },
    *all() {
      for (const { node_id, registered_position } of live.nodes.values()) yield [node_id, registered_position];
    },
  };
  return { members, close };
}
