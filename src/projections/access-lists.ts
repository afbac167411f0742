/** Who is blocked, and who is allowed in without an invite? */
import type { Kysely } from 'kysely';
import type { ViewTables } from './catalog.ts';
import { projection } from './define.ts';

export interface AccessRow {
  /** `<list>/<subject>` */
  id: string;
  list: 'block' | 'allow';
  /** Node id, entity id or public key. */
  subject: string;
  /** Why blocked, or a note; null without. */
  reason: string | null;
  since: string;
}

export const accessLists = projection<AccessRow>({
  table: {
    name: 'federation_access_lists',
    key: 'id',
    columns: { id: 'text', list: 'text', subject: 'text', reason: { type: 'text', nullable: true }, since: 'text' },
    indexes: [['list', 'subject']],
  },
  version: 1,
  on: {
    'access.blocked': {
      key: ({ data }) => `block/${data.subject}`,
      fold: (_row, { data: { subject, reason }, time }) => ({
        id: `block/${subject}`,
        list: 'block',
        subject,
        reason,
        since: time,
      }),
    },
    'access.unblocked': { key: ({ data }) => `block/${data.subject}`, fold: () => null },
    'access.allowed': {
      key: ({ data }) => `allow/${data.subject}`,
      fold: (_row, { data: { subject, note }, time }) => ({
        id: `allow/${subject}`,
        list: 'allow',
        subject,
        reason: note ?? null,
        since: time,
      }),
    },
    'access.disallowed': { key: ({ data }) => `allow/${data.subject}`, fold: () => null },
  },
});

/** Entries of one list in order of subject, after a subject ('' for the first), at most `limit`. */
export function findAccess(
  db: Kysely<ViewTables>,
  list: AccessRow['list'],
  after: string,
  limit: number,
): Promise<AccessRow[]> {
  const query = db.selectFrom('federation_access_lists').selectAll().where('list', '=', list);
  return query.where('subject', '>', after).orderBy('subject').limit(limit).execute();
}
