/** The most that the same table takes in one SQLite file: better-sqlite3 alone, rows in transactions, judging nothing. */
import Sqlite from 'better-sqlite3';
import { aFact, aStream } from '../facts.ts';

export interface SqlitePeer {
  /** Inserts `rows` events in one transaction, each to a stream of its own. */
  insert(rows: number): void;
  close(): void;
}

/** Columns, indexes and settings are those of the hub's log. */
export function sqlitePeer(file: string): SqlitePeer {
  const db = new Sqlite(file);
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = FULL');
  db.pragma('cache_size = -65536');
  db.pragma('wal_autocheckpoint = 4000');
  db.exec(`CREATE TABLE bare_log (
    position INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    revision INTEGER NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    version INTEGER NOT NULL,
    time TEXT NOT NULL,
    data TEXT NOT NULL,
    meta TEXT NOT NULL,
    UNIQUE (stream, revision),
    UNIQUE (id)
  )`);
  const statement = db.prepare('INSERT INTO bare_log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)');
  let position = 0;
  const insert = db.transaction((rows: number) => {
    for (let row = 0; row < rows; row++) {
      const { id, type, version, time, data, meta } = aFact();
      statement.run(++position, aStream(), 0, id, type, version, time, data, meta);
    }
  });
  return { insert, close: () => void db.close() };
}
