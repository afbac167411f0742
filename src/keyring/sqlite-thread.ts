/**
 * The thread that holds `keyring.db`. What is deleted is overwritten with zeros, and the rollback journal goes with each
 * commit, so that a destroyed key is in no file afterwards.
 */
import { closeSync, constants, existsSync, fstatSync, fsyncSync, linkSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import Sqlite, { SqliteError } from 'better-sqlite3';
import { serve, threadData } from '../thread.ts';
import type { DataKeyRecord, KeyRecord } from './store.ts';
import { type VaultCalls, vaultCalls, vaultTable } from './vault-keys-sqlite.ts';

export type SqliteKeyring = {
  /** False when there is no such file. */
  open(): boolean;
  /** Makes the file with these keys and opens it; when someone else made it meanwhile, opens theirs. */
  create(first: readonly KeyRecord[]): void;
  keys(): unknown[];
  add(records: readonly KeyRecord[]): void;
  remove(ids: readonly string[]): void;
  dataKey(subject: string): unknown;
  dataKeyIds(subjects: readonly string[]): string[];
  keepDataKey(record: DataKeyRecord): unknown;
  removeDataKeys(subject: string): number;
  close(): void;
} & VaultCalls;

/** Marks the file as a hub's keyring ('fedk'), so that no other SQLite file is taken for one. */
const applicationId = 0x6665646b;

const tables = `
CREATE TABLE federation_keyring (
  id TEXT PRIMARY KEY, purpose TEXT NOT NULL, created_at TEXT NOT NULL, active_at TEXT NOT NULL, secret TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE federation_data_keys (
  id TEXT NOT NULL, subject TEXT PRIMARY KEY, created_at TEXT NOT NULL, wrap_id TEXT NOT NULL, wrapped TEXT NOT NULL
) WITHOUT ROWID;`;
const insertKey = 'INSERT INTO federation_keyring VALUES (@id, @purpose, @created_at, @active_at, @secret)';
const keyColumns = 'id, purpose, created_at, active_at, secret';
const dataKeyColumns = 'id, subject, created_at, wrap_id, wrapped';

const { file } = threadData<{ file: string }>();
let db: Sqlite.Database | undefined;

serve({
  open() {
    if (!existsSync(file)) return false;
    refuseReadableByOthers();
    db = opened(file);
    if (db.pragma('application_id', { simple: true }) !== applicationId) throw notAKeyring();
    ask((it) => it.exec(vaultTable)); // a keyring of before has none
    return true;
  },
  create(first) {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    const draft = `${file}.${process.pid}-${performance.now()}.tmp`;
    closeSync(openSync(draft, 'wx', 0o600));
    try {
      const made = opened(draft);
      made.exec(tables);
      for (const record of first) made.prepare(insertKey).run(record);
      made.pragma(`application_id = ${applicationId}`);
      made.close();
      link(draft);
    } finally {
      rmSync(draft, { force: true });
    }
    syncFolder();
    if (!this.open()) throw new Error(`${file} was made, and is gone again`);
  },
  keys: () => ask((it) => it.prepare(`SELECT ${keyColumns} FROM federation_keyring`).all()),
  add: (records) =>
    ask((it) => it.transaction(() => records.forEach((record) => void it.prepare(insertKey).run(record))).immediate()),
  remove: (ids) =>
    ask((it) => {
      const drop = it.prepare('DELETE FROM federation_keyring WHERE id = ?');
      it.transaction(() => ids.forEach((id) => void drop.run(id))).immediate();
    }),
  dataKey,
  dataKeyIds: (subjects) =>
    ask((it) => {
      const find = it.prepare<[string], string>('SELECT id FROM federation_data_keys WHERE subject = ?').pluck();
      return subjects.flatMap((subject) => find.get(subject) ?? []);
    }),
  keepDataKey: (record) =>
    ask((it) => {
      it.prepare(
        `INSERT INTO federation_data_keys (${dataKeyColumns}) VALUES (@id, @subject, @created_at, @wrap_id, @wrapped)
         ON CONFLICT (subject) DO NOTHING`,
      ).run(record);
      return dataKey(record.subject);
    }),
  removeDataKeys: (subject) =>
    ask((it) => it.prepare('DELETE FROM federation_data_keys WHERE subject = ?').run(subject).changes),
  ...vaultCalls(ask),
  close: () => void db?.close(),
} satisfies SqliteKeyring);

function dataKey(subject: string): unknown {
  return ask((it) => it.prepare(`SELECT ${dataKeyColumns} FROM federation_data_keys WHERE subject = ?`).get(subject));
}

function opened(path: string): Sqlite.Database {
  return told(() => {
    const found = new Sqlite(path, { timeout: 5_000 });
    found.pragma('journal_mode = DELETE');
    found.pragma('synchronous = FULL');
    found.pragma('secure_delete = ON');
    return found;
  });
}

function ask<T>(question: (db: Sqlite.Database) => T): T {
  return told(() => question(db!)); // the store opens the file before it asks anything
}

/** SQLite's complaints in words of ours: they never quote what is in the file. */
function told<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof SqliteError && /^SQLITE_(NOTADB|CORRUPT|ERROR)/.test(error.code)) throw notAKeyring();
    throw error;
  }
}

function notAKeyring(): Error {
  return new Error(
    `${file} is not a keyring: restore it from where you keep it, or move it away to start with new keys`,
  );
}

function refuseReadableByOthers(): void {
  if (process.platform === 'win32') return; // modes mean nothing there
  const handle = openSync(file, constants.O_RDONLY);
  const { mode } = fstatSync(handle);
  closeSync(handle);
  if ((mode & 0o077) === 0) return;
  throw new Error(
    `${file} holds secret keys but others may read it: run chmod 600 ${file}, and replace the keys if they did`,
  );
}

/** Unlike a rename, fails when the name is taken: then someone else made the keyring first, and theirs stays. */
function link(draft: string): void {
  try {
    linkSync(draft, file);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  }
}

/** So that the name survives a power cut, not only the bytes. */
function syncFolder(): void {
  if (process.platform === 'win32') return; // folders cannot be opened there
  const handle = openSync(dirname(file), constants.O_RDONLY);
  fsyncSync(handle);
  closeSync(handle);
}
