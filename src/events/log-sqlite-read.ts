/** Reading the log's file: a read-only connection for the reader thread, and for any thread that follows the log itself. */
import Sqlite from 'better-sqlite3';
import type { Page, Recorded, RecordedCommand, Segment, StoredCommand } from './log.ts';
import { type About, aboutOf, headOf, segmentOf, segmentsIn, segmentTable } from './log-sqlite-schema.ts';
import { streamClass } from './stream-class.ts';

/** Positions that one page looks through at most, so that a filter that matches little does not hold the thread for long. */
const positionsLooked = 50_000;
const columns = 'position, stream, revision, id, type, version, time, data, meta';

/** Values in the order of `columns`: arrays come out of SQLite at half the cost of objects. */
type RawRow = [number, string, number, string, string, number, string, string, string];
type Statement = Sqlite.Statement<unknown[], RawRow>;

/** Synchronous: give it a thread. The file must have been made by the writer. */
export class SqliteLogReader {
  readonly about: About;
  readonly #db: Sqlite.Database;
  readonly #segmentSize: number;
  readonly #command: Sqlite.Statement<[string], StoredCommand>;
  readonly #commands: Sqlite.Statement<[string, number, number], RecordedCommand>;
  readonly #schemaVersion: Sqlite.Statement<[], number>;
  #schema = -1;
  #segments: number[] = [];
  #statements = new Map<string, Statement>();

  constructor(file: string) {
    this.#db = new Sqlite(file, { readonly: true, fileMustExist: true, timeout: 1_000 });
    this.about = aboutOf(this.#db);
    this.#segmentSize = this.about.segmentSize;
    this.#command = this.#db.prepare(
      'SELECT id, body_hash AS bodyHash, reply, time, position FROM federation_commands WHERE id = ?',
    );
    this.#commands = this.#db.prepare(
      `SELECT id, body_hash AS bodyHash, reply, time, position, revision FROM federation_commands
        WHERE id > ? AND position <= ? ORDER BY id LIMIT ?`,
    );
    this.#schemaVersion = this.#db.prepare<[], number>('PRAGMA schema_version').pluck();
  }

  head(): number {
    return this.#snapshot(() => headOf(this.#db, this.#segments));
  }

  /** As `EventLog.readAll`. Looks through a bounded number of positions, so that `through` may lie before the head. */
  readAll(after: number, limit: number, types?: readonly string[]): Page {
    return this.#snapshot(() => {
      const head = headOf(this.#db, this.#segments);
      const end = Math.min(head, after + positionsLooked);
      const filter = types && JSON.stringify(types);
      const events: Recorded[] = [];
      let through = after;
      let span = limit;
      while (through < end && events.length < limit) {
        const window = { after: through, upto: Math.min(end, through + span), limit: limit - events.length, filter };
        const found = this.#window(window);
        for (const event of found) events.push(event);
        through = events.length === limit ? events.at(-1)!.position : window.upto;
        if (found.length < span / 4) span *= 4; // dropped or filtered away: take longer steps
      }
      return { events, through };
    });
  }

  readStream(stream: string, from: number, limit: number): Recorded[] {
    return this.#snapshot(() => {
      if (streamClass(stream) === 'kept') {
        const sql = `SELECT ${columns} FROM federation_log WHERE stream = ? AND revision >= ? ORDER BY revision LIMIT ?`;
        return this.#prepare(sql).all(stream, from, limit).map(recordedOf);
      }
      const events: Recorded[] = [];
      for (const segment of this.#segments) {
        if (events.length >= limit) break;
        if (segment + this.#segmentSize <= from) continue;
        const sql = `SELECT ${columns} FROM ${segmentTable(segment)} WHERE stream = ? AND position >= ? ORDER BY position LIMIT ?`;
        events.push(
          ...this.#prepare(sql)
            .all(stream, from, limit - events.length)
            .map(recordedOf),
        );
      }
      return events;
    });
  }

  readSegment(from: number, after: number, limit: number): Recorded[] {
    return this.#snapshot(() => (this.#segments.includes(from) ? this.#range(segmentTable(from), after, limit) : []));
  }

  segments(): Segment[] {
    return this.#snapshot(() => {
      const head = headOf(this.#db, this.#segments);
      return this.#segments.map((from) => {
        const to = from + this.#segmentSize - 1;
        return { from, to, closed: head > to };
      });
    });
  }

  findCommand(id: string): StoredCommand | undefined {
    return this.#command.get(id);
  }

  readCommands(through: number, after: string | undefined, limit: number): RecordedCommand[] {
    return this.#commands.all(after ?? '', through, limit);
  }

  close(): void {
    this.#db.close();
  }

  /** Events of a range of positions, kept and transient merged, at most `limit`. */
  #window(window: { after: number; upto: number; limit: number; filter: string | undefined }): Recorded[] {
    const { after, upto, limit, filter } = window;
    const kept = this.#range('federation_log', after, limit, upto, filter);
    const transient: Recorded[] = [];
    const first = segmentOf(after + 1, this.#segmentSize);
    for (const segment of this.#segments) {
      if (transient.length >= limit || segment > upto) break;
      if (segment < first) continue;
      transient.push(...this.#range(segmentTable(segment), after, limit - transient.length, upto, filter));
    }
    return merge(kept, transient, limit);
  }

  #range(table: string, after: number, limit: number, upto = Number.MAX_SAFE_INTEGER, filter?: string): Recorded[] {
    const wanted = filter === undefined ? '' : 'AND type IN (SELECT value FROM json_each(?))';
    const sql = `SELECT ${columns} FROM ${table} WHERE position > ? AND position <= ? ${wanted} ORDER BY position LIMIT ?`;
    const statement = this.#prepare(sql);
    const rows = filter === undefined ? statement.all(after, upto, limit) : statement.all(after, upto, filter, limit);
    return rows.map(recordedOf);
  }

  /** Runs `read` on one state of the file, with the segments that are there in it. */
  #snapshot<T>(read: () => T): T {
    this.#db.exec('BEGIN');
    try {
      const schema = this.#schemaVersion.get() ?? -1;
      if (schema !== this.#schema) {
        this.#segments = segmentsIn(this.#db);
        this.#statements = new Map(); // those of dropped segments must go; there are few to make again
        this.#schema = schema;
      }
      return read();
    } finally {
      this.#db.exec('COMMIT');
    }
  }

  #prepare(sql: string): Statement {
    let statement = this.#statements.get(sql);
    if (!statement) {
      if (this.#statements.size >= 200) this.#statements.clear();
      statement = this.#db.prepare<unknown[], RawRow>(sql).raw();
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}

function recordedOf([position, stream, revision, id, type, version, time, data, meta]: RawRow): Recorded {
  return { position, stream, revision, id, type, version, time, data, meta };
}

function merge(a: readonly Recorded[], b: readonly Recorded[], limit: number): Recorded[] {
  if (b.length === 0) return a.slice(0, limit);
  const merged: Recorded[] = [];
  for (let i = 0, j = 0; merged.length < limit && (i < a.length || j < b.length); ) {
    const left = a[i];
    const right = b[j];
    if (left && (!right || left.position < right.position)) {
      merged.push(left);
      i++;
    } else {
      merged.push(right!);
      j++;
    }
  }
  return merged;
}
