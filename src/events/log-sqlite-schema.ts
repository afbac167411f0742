/** The tables of the log in SQLite: made here, refused here when they are not ours or newer than this hub. */
import type { Database } from 'better-sqlite3';

/** Marks the file as a hub's log ('fedl'), so that no other SQLite file is taken for one. */
const applicationId = 0x6665646c;
const schemaVersion = 1;

const columns = `
  stream TEXT NOT NULL,
  revision INTEGER NOT NULL,
  id TEXT NOT NULL,
  type TEXT NOT NULL,
  version INTEGER NOT NULL,
  time TEXT NOT NULL,
  data TEXT NOT NULL,
  meta TEXT NOT NULL`;

const tables = `
CREATE TABLE federation_log_about (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  log_id TEXT NOT NULL,
  segment_size INTEGER NOT NULL
);
CREATE TABLE federation_log (
  position INTEGER PRIMARY KEY, ${columns},
  UNIQUE (stream, revision),
  UNIQUE (id)
);
${immutable('federation_log')}
CREATE TABLE federation_commands (
  id TEXT PRIMARY KEY,
  body_hash TEXT NOT NULL,
  reply TEXT,
  time TEXT NOT NULL,
  position INTEGER NOT NULL,
  revision INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX federation_commands_time ON federation_commands (time);
`;

export interface About {
  readonly id: string;
  readonly segmentSize: number;
}

/**
 * Makes the tables in an empty file, or reads what a file of ours says of itself; the segment size is fixed at creation.
 * Throws for a file of something else, or of a newer schema.
 */
export function prepareSchema(db: Database, about: About): About {
  const version = db.pragma('user_version', { simple: true });
  if (version === 0 && db.prepare('SELECT count(*) FROM sqlite_master').pluck().get() === 0) create(db, about);
  else if (db.pragma('application_id', { simple: true }) !== applicationId) {
    throw new Error(`${db.name} is not the log of a hub; it is left alone`);
  } else if (typeof version === 'number' && version > schemaVersion) {
    throw new Error(
      `${db.name} was written by a newer hub (schema ${version}, this one knows ${schemaVersion}); start that version`,
    );
  }
  return aboutOf(db);
}

/** What a file of ours says of itself. */
export function aboutOf(db: Database): About {
  const [id, segmentSize] = db.prepare('SELECT log_id, segment_size FROM federation_log_about').raw().get() as [
    string,
    number,
  ]; // the columns are NOT NULL and of these types, and the row is made with the table
  return { id, segmentSize };
}

function create(db: Database, about: About): void {
  db.transaction(() => {
    db.exec(tables);
    db.prepare('INSERT INTO federation_log_about VALUES (1, ?, ?)').run(about.id, about.segmentSize);
    db.pragma(`application_id = ${applicationId}`);
    db.pragma(`user_version = ${schemaVersion}`);
  }).immediate();
}

const segmentPrefix = 'federation_log_transient_';

/** First position of the segment that a position lies in. */
export function segmentOf(position: number, segmentSize: number): number {
  return position - ((position - 1) % segmentSize);
}

export function segmentTable(from: number): string {
  return `${segmentPrefix}${from}`;
}

/** A segment has no global unique index: what is in it is dropped whole, and readings need none. */
export function createSegment(db: Database, from: number): void {
  const table = segmentTable(from);
  db.exec(`
    CREATE TABLE IF NOT EXISTS ${table} (position INTEGER PRIMARY KEY, ${columns});
    CREATE INDEX IF NOT EXISTS ${table}_stream ON ${table} (stream);
    ${immutable(table)}`);
}

/** First positions of the segments that exist, oldest first. */
export function segmentsIn(db: Database): number[] {
  return db
    .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB ?")
    .pluck()
    .all(`${segmentPrefix}[0-9]*`)
    .map((name) => Number(String(name).slice(segmentPrefix.length)))
    .sort((a, b) => a - b);
}

/**
 * The last position ever given. It need not be written down at each flush: the last event lies in `federation_log` or in
 * the newest segment, which is open and so never dropped.
 */
export function headOf(db: Database, segments: readonly number[]): number {
  const newest = segments.at(-1);
  const last = (table: string) =>
    db.prepare<[], number | null>(`SELECT max(position) FROM ${table}`).pluck().get() ?? 0;
  return Math.max(last('federation_log'), newest === undefined ? 0 : last(segmentTable(newest)));
}

function immutable(table: string): string {
  return ['UPDATE', 'DELETE']
    .map(
      (verb) => `CREATE TRIGGER IF NOT EXISTS ${table}_no_${verb.toLowerCase()} BEFORE ${verb} ON ${table}
      BEGIN SELECT RAISE(ABORT, 'the log is never changed, only added to'); END;`,
    )
    .join('\n');
}
