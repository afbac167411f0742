/** Which operator tokens are there, and what may they do? Hashes only. */
import type { Kysely } from 'kysely';
import type { ViewTables } from './catalog.ts';
import { projection } from './define.ts';

export interface OperatorTokenRow {
  prefix: string;
  hash: string;
  label: string;
  scopes: string[];
  created_at: string;
  /** Null: good until revoked. */
  expires_at: string | null;
  revoked_at: string | null;
  /** To within a quarter of an hour; null before the first use. */
  last_used_at: string | null;
  last_address: string | null;
}

export const operatorTokens = projection<OperatorTokenRow>({
  table: {
    name: 'federation_operator_tokens',
    key: 'prefix',
    columns: {
      prefix: 'text',
      hash: 'text',
      label: 'text',
      scopes: 'json',
      created_at: 'text',
      expires_at: { type: 'text', nullable: true },
      revoked_at: { type: 'text', nullable: true },
      last_used_at: { type: 'text', nullable: true },
      last_address: { type: 'text', nullable: true },
    },
  },
  version: 1,
  on: {
    'operator-token.created': {
      key: ({ data }) => data.prefix,
      fold: (_row, { data, time }) => ({
        prefix: data.prefix,
        hash: data.hash,
        label: data.label,
        scopes: data.scopes,
        created_at: time,
        expires_at: data.expires_at ?? null,
        revoked_at: null,
        last_used_at: null,
        last_address: null,
      }),
    },
    'operator-token.revoked': {
      key: ({ data }) => data.prefix,
      fold: (row, { time }) => row && { ...row, revoked_at: time },
    },
    'operator-token.used': {
      key: ({ data }) => data.prefix,
      fold: (row, { data, time }) => row && { ...row, last_used_at: time, last_address: data.address },
    },
  },
});

/** Tokens in order of prefix, after a prefix ('' for the first), at most `limit`. */
export function findOperatorTokens(db: Kysely<ViewTables>, after: string, limit: number): Promise<OperatorTokenRow[]> {
  const query = db.selectFrom('federation_operator_tokens').selectAll().where('prefix', '>', after);
  return query.orderBy('prefix').limit(limit).execute();
}
