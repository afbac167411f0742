/** Which nodes are banned, and why? */
import type { Kysely } from 'kysely';
import type { ViewTables } from './catalog.ts';
import { projection } from './define.ts';

export interface BanRow {
  node_id: string;
  /** Of the key it had; null when none was known. */
  thumbprint: string | null;
  reason: string;
  since: string;
}

export const bans = projection<BanRow>({
  table: {
    name: 'federation_bans',
    key: 'node_id',
    columns: { node_id: 'text', thumbprint: { type: 'text', nullable: true }, reason: 'text', since: 'text' },
  },
  version: 1,
  on: {
    'ban.imposed': {
      key: ({ data }) => data.node_id,
      fold: (_row, { data, time }) => ({ ...data, since: time }),
    },
    'ban.lifted': { key: ({ data }) => data.node_id, fold: () => null },
  },
});

/** Bans in order of node id, after an id ('' for the first), at most `limit`. */
export function findBans(db: Kysely<ViewTables>, after: string, limit: number): Promise<BanRow[]> {
  const query = db.selectFrom('federation_bans').selectAll().where('node_id', '>', after);
  return query.orderBy('node_id').limit(limit).execute();
}
