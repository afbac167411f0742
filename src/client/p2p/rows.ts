/** A SQLite file of a node, read and written by prepared statements. */
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import type { Database, Statement } from 'better-sqlite3';

type Value = string | number | null;
export type Row = Readonly<Record<string, Value>>;

export class Rows {
  readonly #db: Database;
  readonly #statements = new Map<string, Statement<unknown[]>>();

  private constructor(db: Database) {
    this.#db = db;
  }

  /** Opens a file in a folder, and makes both where they are not there, for their owner alone. Without a folder: in memory. Throws what SQLite says. */
  static async open(folder: string | undefined, file: string, tables: string): Promise<Rows> {
    const { default: Sqlite } = await import('better-sqlite3'); // most nodes have no use for it
    let path = ':memory:';
    if (folder !== undefined) {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      path = join(folder, file);
      closeSync(openSync(path, 'a', 0o600)); // what SQLite puts beside it has the same mode
    }
    const db = new Sqlite(path);
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    db.exec(tables);
    return new Rows(db);
  }

  close(): void {
    this.#db.close();
  }

  get(sql: string, ...values: Value[]): Row | undefined {
    return this.#prepared(sql).get(...values) as Row | undefined; // what columns of SQLite hold
  }

  all(sql: string, ...values: Value[]): Row[] {
    return this.#prepared(sql).all(...values) as Row[]; // as above
  }

  run(sql: string, ...values: Value[]): void {
    this.#prepared(sql).run(...values);
  }

  /** All of it or nothing. */
  whole<T>(work: () => T): T {
    return this.#db.transaction(work)();
  }

  #prepared(sql: string): Statement<unknown[]> {
    let statement = this.#statements.get(sql);
    if (!statement) {
      statement = this.#db.prepare<unknown[]>(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}
