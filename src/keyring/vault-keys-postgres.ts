/** The vault's keys in a table beside the keyring's, in the database of the log. */
import type { QueryResult } from 'pg';
import { firstId, type VaultKeyRecord, type VaultKeys } from './vault-keys.ts';

type Query = (text: string, values?: unknown[]) => Promise<QueryResult>;

export const vaultTable = `CREATE TABLE IF NOT EXISTS federation_vault_keys (
  id text PRIMARY KEY, secret_id text NOT NULL, created_at text NOT NULL, master_id text NOT NULL, wrapped text NOT NULL)`;
export const vaultColumns = 'id, secret_id, created_at, master_id, wrapped';

/** `query` says what went wrong as the keyring does. */
export function postgresVaultKeys(query: Query): VaultKeys {
  const find = async (id: string): Promise<unknown> =>
    (await query(`SELECT ${vaultColumns} FROM federation_vault_keys WHERE id = $1`, [id])).rows[0];
  const values = ({ id, secret_id, created_at, master_id, wrapped }: VaultKeyRecord) => [
    id,
    secret_id,
    created_at,
    master_id,
    wrapped,
  ];
  return {
    async begin(first) {
      const insert = `INSERT INTO federation_vault_keys (${vaultColumns}) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`;
      await query(insert, values(first));
      return find(firstId);
    },
    find,
    async keep(record) {
      // The lock keeps the master key in use until the new key is there: whoever wraps all anew then finds it.
      const { rowCount } = await query(
        `WITH in_use AS (SELECT 1 FROM federation_vault_keys WHERE id = '${firstId}' AND master_id = $4 FOR SHARE)
         INSERT INTO federation_vault_keys (${vaultColumns}) SELECT $1, $2, $3, $4, $5 FROM in_use`,
        values(record),
      );
      return rowCount === 1;
    },
    async rewrap(before, after) {
      const { rowCount } = await query(
        'UPDATE federation_vault_keys SET master_id = $1, wrapped = $2 WHERE id = $3 AND wrapped = $4',
        [after.master_id, after.wrapped, before.id, before.wrapped],
      );
      return rowCount === 1;
    },
    async page(after, limit, notWith = '') {
      const { rows } = await query(
        `SELECT ${vaultColumns} FROM federation_vault_keys
         WHERE id COLLATE "C" > $1 AND id <> '${firstId}' AND master_id <> $2 ORDER BY id COLLATE "C" LIMIT $3`,
        [after, notWith, limit],
      );
      return rows;
    },
    async masters() {
      const { rows } = await query(
        'SELECT master_id, count(*)::int AS keys FROM federation_vault_keys GROUP BY master_id',
      );
      return rows as { master_id: string; keys: number }[]; // the columns of the query
    },
    async destroy(ids) {
      const { rowCount } = await query('DELETE FROM federation_vault_keys WHERE id = ANY($1)', [ids]);
      return rowCount ?? 0;
    },
  };
}
