/** The thread that reads views in SQLite: a read-only connection to the generation that serves. */
import Database from 'better-sqlite3';
import { serve, threadData } from '../thread.ts';
import { allProjections, deadLetterTable } from './catalog.ts';
import type { ViewsDigest } from './digest.ts';
import type { StoredSnapshot } from './view-reader.ts';
import { digestOfFile, servingNumber, viewsFile } from './views-sqlite.ts';

export interface ReaderData {
  readonly folder: string;
}

export type ReaderApi = {
  query(sql: string, parameters: readonly unknown[]): unknown[];
  /** All rows of a table with the checkpoint they stand at. */
  snapshot(table: string): StoredSnapshot;
  digest(): Promise<ViewsDigest>;
  /** Another generation serves: read that from now on. */
  reopen(): void;
  close(): void;
};

const { folder } = threadData<ReaderData>();
/** Opened by the first query, so that the thread can start before there are views. */
let opened: Database.Database | undefined;

serve({
  query: (sql, parameters) =>
    serving()
      .prepare(sql)
      .all(...parameters),
  snapshot(table) {
    const db = serving();
    return db.transaction((): StoredSnapshot => {
      const about = db
        .prepare('SELECT log_id AS logId, fingerprint, position FROM federation_views_checkpoint')
        .get() as Pick<StoredSnapshot, 'logId' | 'fingerprint' | 'position'>; // the columns named as the members are
      return {
        ...about,
        rows: db.prepare(`SELECT * FROM ${table}`).all() as Record<string, unknown>[], // rows of `SELECT *`, by column
        parkedIds: db.prepare(`SELECT id FROM ${deadLetterTable.name} WHERE view = ?`).pluck().all(table) as string[], // text
      };
    })();
  },
  digest: () => digestOfFile(serving().name, allProjections),
  reopen() {
    opened?.close();
    opened = undefined;
  },
  close: () => void opened?.close(),
} satisfies ReaderApi);

function serving(): Database.Database {
  opened ??= openServing();
  return opened;
}

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
