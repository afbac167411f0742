/** Who hears which channel, and since when? */
import type { Kysely } from 'kysely';
import type { ViewTables } from './catalog.ts';
import { projection } from './define.ts';

export interface ChannelMemberRow {
  /** Channel and node, with a slash between them: neither can hold one. */
  member: string;
  channel: string;
  node_id: string;
  joined_at: string;
  joined_position: number;
}

export const channels = projection<ChannelMemberRow>({
  table: {
    name: 'federation_channels',
    key: 'member',
    columns: { member: 'text', channel: 'text', node_id: 'text', joined_at: 'text', joined_position: 'integer' },
    indexes: [['channel'], ['node_id']],
  },
  version: 1,
  on: {
    'channel.joined': {
      key: ({ data }) => memberOf(data.channel, data.node_id),
      fold: (_row, { data: { channel, node_id }, time, position }) => ({
        member: memberOf(channel, node_id),
        channel,
        node_id,
        joined_at: time,
        joined_position: position,
      }),
    },
    'channel.left': { key: ({ data }) => memberOf(data.channel, data.node_id), fold: () => null },
  },
});

export function memberOf(channel: string, nodeId: string): string {
  return `${channel}/${nodeId}`;
}

/** By name, after one. */
export async function findChannels(
  db: Kysely<ViewTables>,
  after: string,
  limit: number,
): Promise<{ channel: string; members: number }[]> {
  const rows = await db
    .selectFrom('federation_channels')
    .select(({ fn }) => ['channel', fn.countAll().as('members')])
    .where('channel', '>', after)
    .groupBy('channel')
    .orderBy('channel')
    .limit(limit)
    .execute();
  return rows.map(({ channel, members }) => ({ channel, members: Number(members) })); // PostgreSQL counts in text
}

/** Of one channel, by node, after one. */
export function findMembers(
  db: Kysely<ViewTables>,
  channel: string,
  after: string,
  limit: number,
): Promise<Pick<ChannelMemberRow, 'node_id' | 'joined_at'>[]> {
  return db
    .selectFrom('federation_channels')
    .select(['node_id', 'joined_at'])
    .where('channel', '=', channel)
    .where('node_id', '>', after)
    .orderBy('node_id')
    .limit(limit)
    .execute();
}
