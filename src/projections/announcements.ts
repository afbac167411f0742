/** What was announced to everyone? */

import type { Kysely } from 'kysely';
import type { AnnouncementLevel } from '../events/federation.ts';
import type { ViewTables } from './catalog.ts';
import { projection } from './define.ts';

export interface AnnouncementRow {
  announcement_id: string;
  message: string;
  level: AnnouncementLevel;
  /** Of the event: the newest announcement has the highest. */
  position: number;
  time: string;
}

export const announcements = projection<AnnouncementRow>({
  table: {
    name: 'federation_announcements',
    key: 'announcement_id',
    columns: { announcement_id: 'text', message: 'text', level: 'text', position: 'integer', time: 'text' },
    indexes: [['position']],
  },
  version: 1,
  on: {
    'governance.announced': {
      key: ({ data }) => data.announcement_id,
      fold: (_row, { data, position, time }) => ({ ...data, position, time }),
    },
  },
});

/** Announcements, newest first, before a position (undefined for the newest), at most `limit`. */
export function findAnnouncements(
  db: Kysely<ViewTables>,
  before: number | undefined,
  limit: number,
): Promise<AnnouncementRow[]> {
  let query = db.selectFrom('federation_announcements').selectAll();
  if (before !== undefined) query = query.where('position', '<', before);
  return query.orderBy('position', 'desc').limit(limit).execute();
}
