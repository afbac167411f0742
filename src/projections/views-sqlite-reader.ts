/** The thread that reads views in SQLite: a read-only connection to the generation that serves. */
import Database from 'better-sqlite3';
import { serve, threadData } from '../thread.ts';
import { allProjections, deadLetterTable } from './catalog.ts';
import type { StoredSnapshot } from './view-reader.ts';
import { digestOfFile, servingNumber, viewsFile } from './views-sqlite.ts';

export interface ReaderData {
  readonly folder: string;
}

export type ReaderApi = {
  query(sql: string, parameters: readonly unknown[]): unknown[];
  /** All rows of a table with the checkpoint they stand at. */
  snapshot(table: string): StoredSnapshot;
  digest(): Promise<string>;
  /** Another generation serves: read that from now on. */
  reopen(): void;
  close(): void;
};

const { folder } = threadData<ReaderData>();
let db = openServing();

serve({
  query: (sql, parameters) => db.prepare(sql).all(...parameters),
  snapshot: (table) =>
    db.transaction((): StoredSnapshot => {
      const about = db
        .prepare('SELECT log_id AS logId, fingerprint, position FROM federation_views_checkpoint')
        .get() as Pick<StoredSnapshot, 'logId' | 'fingerprint' | 'position'>; // the columns named as the members are
      return {
        ...about,
        rows: db.prepare(`SELECT * FROM ${table}`).all() as Record<string, unknown>[], // rows of `SELECT *`, by column
        parkedIds: db.prepare(`SELECT id FROM ${deadLetterTable.name} WHERE view = ?`).pluck().all(table) as string[], // text
      };
    })(),
  digest: () => digestOfFile(db.name, allProjections),
  reopen() {
    const before = db;
    db = openServing();
    before.close();
  },
  close: () => void db.close(),
} satisfies ReaderApi);

/** Tries again when the pointer moved on and its file went between reading the one and opening the other. */
function openServing(): Database.Database {
  for (let tries = 0; ; tries++) {
    const number = servingNumber(folder);
    if (number === undefined) throw new Error(`there are no views in ${folder}`);
    try {
      return new Database(viewsFile(folder, number), { readonly: true, fileMustExist: true });
    } catch (error) {
      if (tries === 3) throw error;
    }
  }
}
