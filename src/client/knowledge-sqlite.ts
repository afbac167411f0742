/** What a node knows, in a SQLite file. */
import type { Database } from 'better-sqlite3';
import type { Document } from '../protocol/knowledge.ts';
import { itemOf, type KeptItem, type KeptVersion, type KnowledgeStore } from './knowledge-store.ts';

const tables = `
  CREATE TABLE IF NOT EXISTS versions (
    version TEXT PRIMARY KEY, memory_id TEXT NOT NULL, clock TEXT NOT NULL, author TEXT NOT NULL, category TEXT NOT NULL,
    tags TEXT NOT NULL, through INTEGER, until INTEGER, document TEXT NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS versions_of_memory ON versions (memory_id);
  CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;`;

interface Row {
  readonly document: string;
  readonly through: number | null;
}
type ItemRow = Omit<KeptItem, 'tags' | 'through' | 'until'> & {
  readonly tags: string;
  readonly through: number | null;
  readonly until: number | null;
};

/** Keeps it in a file, of which one process at a time makes use. `close` it in the end. */
export class SqliteKnowledgeStore implements KnowledgeStore {
  readonly #db: Database;

  private constructor(db: Database) {
    this.#db = db;
  }

  /** Opens the file, and makes it where it is not there. Throws what SQLite says. */
  static async open(path: string): Promise<SqliteKnowledgeStore> {
    const { default: Sqlite } = await import('better-sqlite3'); // most nodes have no use for it
    const db = new Sqlite(path);
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = NORMAL');
    db.exec(tables);
    return new SqliteKnowledgeStore(db);
  }

  versionsOf(memoryId: string): KeptVersion[] {
    const rows = this.#all<Row>('SELECT document, through FROM versions WHERE memory_id = ?', memoryId);
    return rows.map(keptOf);
  }

  find(versions: readonly string[]): KeptVersion[] {
    const found = 'SELECT document, through FROM versions WHERE version IN (SELECT value FROM json_each(?))';
    return this.#all<Row>(found, JSON.stringify(versions)).map(keptOf);
  }

  has(versions: readonly string[]): string[] {
    const found = 'SELECT version FROM versions WHERE version IN (SELECT value FROM json_each(?))';
    return this.#all<{ version: string }>(found, JSON.stringify(versions)).map(({ version }) => version);
  }

  items(): KeptItem[] {
    const columns = 'memory_id, version, clock, author, category, tags, through, until';
    return this.#all<ItemRow>(`SELECT ${columns} FROM versions`).map(({ tags, through, until, ...item }) => ({
      ...item,
      tags: JSON.parse(tags) as string[], // as `change` wrote it
      through: through ?? undefined,
      until: until ?? undefined,
    }));
  }

  change({ keep = [], drop = [] }: Parameters<KnowledgeStore['change']>[0]): void {
    const remove = this.#db.prepare('DELETE FROM versions WHERE version = ?');
    const insert = this.#db.prepare(
      'INSERT OR REPLACE INTO versions (version, memory_id, clock, author, category, tags, through, until, document) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
    );
    this.#db.transaction(() => {
      for (const version of drop) remove.run(version);
      for (const kept of keep) {
        const { version, memory_id, clock, author, category, tags, through, until } = itemOf(kept);
        const said = [version, memory_id, clock, author, category, JSON.stringify(tags)];
        insert.run(...said, through ?? null, until ?? null, JSON.stringify(kept.document));
      }
    })();
  }

  settle(versions: readonly string[], through: number): void {
    const update = 'UPDATE versions SET through = ? WHERE version IN (SELECT value FROM json_each(?))';
    this.#db.prepare(update).run(through, JSON.stringify(versions));
  }

  note(name: string): string | undefined {
    return this.#all<{ value: string }>('SELECT value FROM notes WHERE name = ?', name)[0]?.value;
  }

  setNote(name: string, value: string): void {
    this.#db.prepare('INSERT OR REPLACE INTO notes (name, value) VALUES (?, ?)').run(name, value);
  }

  /** Twice is harmless. */
  close(): void {
    this.#db.close();
  }

  #all<R>(sql: string, ...parameters: unknown[]): R[] {
    return this.#db.prepare(sql).all(...parameters) as R[]; // the columns that the statement names
  }
}

function keptOf({ document, through }: Row): KeptVersion {
  return { document: JSON.parse(document) as Document, through: through ?? undefined }; // as `change` wrote it
}
