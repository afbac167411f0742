/**
 * Restores the log into a file of another name, which becomes `log.db` when it is whole. Until then a crash costs only the
 * file, so nothing is flushed on the way.
 */
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import type { Recorded, RecordedCommand } from './log.ts';
import { createSegment, headOf, prepareSchema, segmentOf, segmentsIn, segmentTable } from './log-sqlite-schema.ts';
import type { LogRestore, RestoredAbout } from './restore.ts';
import { streamClass } from './stream-class.ts';

/** The caller holds the lock of the folder. Throws when there is a log in it. */
export function beginSqliteRestore(folder: string, about: RestoredAbout): LogRestore {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, 'log.db');
  // a journal that was left alone would be taken for that of the new file
  const there = ['', '-wal', '-shm', '-journal'].map((ending) => file + ending).find((path) => existsSync(path));
  if (there) throw new Error(`${there} is there already: a log is restored into an empty place only`);
  const draft = `${file}.restoring`;
  rmSync(draft, { force: true }); // of a restore that was cut short
  return new SqliteRestore(folder, file, draft, about);
}

class SqliteRestore implements LogRestore {
  readonly #folder: string;
  readonly #file: string;
  readonly #draft: string;
  readonly #about: RestoredAbout;
  readonly #db: Sqlite.Database;
  readonly #inserts = new Map<string, Sqlite.Statement<unknown[]>>();

  constructor(folder: string, file: string, draft: string, about: RestoredAbout) {
    this.#folder = folder;
    this.#file = file;
    this.#draft = draft;
    this.#about = about;
    this.#db = new Sqlite(draft);
    this.#db.pragma('journal_mode = OFF');
    this.#db.pragma('synchronous = OFF');
    prepareSchema(this.#db, about);
  }

  async writeEvents(events: readonly Recorded[]): Promise<void> {
    this.#together(() => {
      for (const event of events) {
        const { position, stream, revision, id, type, version, time, data, meta } = event;
        this.#insert(this.#tableOf(event)).run(position, stream, revision, id, type, version, time, data, meta);
      }
    });
  }

  async writeCommands(commands: readonly RecordedCommand[]): Promise<void> {
    const insert = this.#db.prepare('INSERT INTO federation_commands VALUES (?, ?, ?, ?, ?, ?)');
    this.#together(() => {
      for (const { id, bodyHash, reply, time, position, revision } of commands) {
        insert.run(id, bodyHash, reply, time, position, revision);
      }
    });
  }

  async publish(head: number): Promise<void> {
    const found = headOf(this.#db, segmentsIn(this.#db));
    if (found !== head) throw new Error(`the log that was restored ends at ${found}, not at ${head}`);
    this.#db.close();
    sync(this.#draft);
    renameSync(this.#draft, this.#file);
    if (process.platform !== 'win32') sync(this.#folder); // folders cannot be opened there
  }

  async discard(): Promise<void> {
    this.#db.close();
    rmSync(this.#draft, { force: true });
  }

  #tableOf({ stream, position }: Recorded): string {
    if (streamClass(stream) === 'kept') return 'federation_log';
    const from = segmentOf(position, this.#about.segmentSize);
    const table = segmentTable(from);
    if (!this.#inserts.has(table)) createSegment(this.#db, from);
    return table;
  }

  #insert(table: string): Sqlite.Statement<unknown[]> {
    let insert = this.#inserts.get(table);
    if (!insert) {
      insert = this.#db.prepare(`INSERT INTO ${table} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`);
      this.#inserts.set(table, insert);
    }
    return insert;
  }

  /** Without a journal nothing is rolled back: what fails here ends the restore, and the file goes. */
  #together(write: () => void): void {
    this.#db.exec('BEGIN');
    write();
    this.#db.exec('COMMIT');
  }
}

function sync(path: string): void {
  const handle = openSync(path, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
