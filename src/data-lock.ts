/** One process a data folder: a second one would write the same files, each believing itself alone. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite, { SqliteError } from 'better-sqlite3';

export interface DataLock {
  /** Gives the folder free. Twice is harmless. */
  release(): void;
}

/**
 * Takes the folder, making it (mode 0700) when there is none. Throws when another process, or this one, holds it already.
 *
 * The lock is SQLite's own on `lock.db`, which the operating system lets go when the process ends, however it ends: a lock
 * file with a process id would outlive `kill -9`.
 */
export function lockDataFolder(folder: string): DataLock {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const db = new Sqlite(join(folder, 'lock.db'), { timeout: 0 });
  try {
    db.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    db.close();
    if (error instanceof SqliteError && error.code.startsWith('SQLITE_BUSY')) {
      throw new Error(`another hub is running on the data folder ${folder}; stop it, or choose another folder`);
    }
    throw error;
  }
  return { release: () => void db.close() };
}
