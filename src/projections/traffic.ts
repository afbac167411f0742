/** How many messages that are not kept went from whom to whom? One row a reading; they go with its segment. */
import type { Kysely } from 'kysely';
import { idOf } from './audit-log.ts';
import type { ViewTables } from './catalog.ts';
import { projection } from './define.ts';

export interface TrafficRow {
  /** The position in 16 digits. */
  counted: string;
  sender: string;
  box: string;
  minute: string;
  messages: number;
  bytes: number;
}

export const traffic = projection<TrafficRow>({
  table: {
    name: 'federation_traffic',
    key: 'counted',
    columns: { counted: 'text', sender: 'text', box: 'text', minute: 'text', messages: 'integer', bytes: 'integer' },
    indexes: [['minute'], ['sender', 'minute']],
    appendOnly: true,
  },
  version: 1,
  on: {
    'messages.counted': {
      key: ({ position }) => idOf(position),
      fold: (_none, { data: { from, to, ...counts }, position }) => ({
        counted: idOf(position),
        sender: from,
        box: to,
        ...counts,
      }),
    },
  },
  sweep: { 'log.segment-dropped': ({ data }) => ({ from: idOf(data.from), to: idOf(data.to) }) },
});

/** The newest first, before a place ('' for the end). */
export function findTraffic(db: Kysely<ViewTables>, before: string, limit: number): Promise<TrafficRow[]> {
  const query = db.selectFrom('federation_traffic').selectAll();
  const earlier = before === '' ? query : query.where('counted', '<', before);
  return earlier.orderBy('counted', 'desc').limit(limit).execute();
}
