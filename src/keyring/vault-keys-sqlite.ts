/** The vault's keys in a table of `keyring.db`, as its thread asks for them: what is deleted there is overwritten with zeros. */
import type Sqlite from 'better-sqlite3';
import { firstId, type VaultKeyRecord } from './vault-keys.ts';

export const vaultTable = `CREATE TABLE IF NOT EXISTS federation_vault_keys (
  id TEXT PRIMARY KEY, secret_id TEXT NOT NULL, created_at TEXT NOT NULL, master_id TEXT NOT NULL, wrapped TEXT NOT NULL
) WITHOUT ROWID`;

const columns = 'id, secret_id, created_at, master_id, wrapped';
const insert = `INSERT INTO federation_vault_keys (${columns}) VALUES (@id, @secret_id, @created_at, @master_id, @wrapped)`;

type Ask = <T>(question: (db: Sqlite.Database) => T) => T;

/** The calls of the port, each of them one transaction. */
export function vaultCalls(ask: Ask) {
  const find = (id: string): unknown =>
    ask((db) => db.prepare(`SELECT ${columns} FROM federation_vault_keys WHERE id = ?`).get(id));
  return {
    vaultBegin(first: VaultKeyRecord): unknown {
      ask((db) => db.prepare(`${insert} ON CONFLICT DO NOTHING`).run(first));
      return find(firstId);
    },
    vaultFind: find,
    vaultKeep: (record: VaultKeyRecord): boolean =>
      ask((db) => {
        const inUse = db.prepare('SELECT 1 FROM federation_vault_keys WHERE id = ? AND master_id = ?');
        const keep = () =>
          inUse.get(firstId, record.master_id) !== undefined && db.prepare(insert).run(record).changes > 0;
        return db.transaction(keep).immediate();
      }),
    vaultRewrap: (before: VaultKeyRecord, after: VaultKeyRecord): boolean =>
      ask((db) => {
        const update = db.prepare(
          'UPDATE federation_vault_keys SET master_id = ?, wrapped = ? WHERE id = ? AND wrapped = ?',
        );
        return update.run(after.master_id, after.wrapped, before.id, before.wrapped).changes === 1;
      }),
    vaultPage: (after: string, limit: number, notWith: string): unknown[] =>
      ask((db) =>
        db
          .prepare(
            `SELECT ${columns} FROM federation_vault_keys
             WHERE id > ? AND id <> '${firstId}' AND master_id <> ? ORDER BY id LIMIT ?`,
          )
          .all(after, notWith, limit),
      ),
    vaultMasters: (): { master_id: string; keys: number }[] =>
      ask((db) =>
        db
          .prepare<[], { master_id: string; keys: number }>(
            'SELECT master_id, count(*) AS keys FROM federation_vault_keys GROUP BY master_id',
          )
          .all(),
      ),
    vaultDestroy: (ids: readonly string[]): number =>
      ask((db) => {
        const drop = db.prepare('DELETE FROM federation_vault_keys WHERE id = ?');
        return db.transaction(() => ids.reduce((gone, id) => gone + drop.run(id).changes, 0)).immediate();
      }),
  };
}

export type VaultCalls = ReturnType<typeof vaultCalls>;
