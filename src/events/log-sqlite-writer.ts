/** The thread that holds the one write connection to the log's file, and judges and writes the flushes. */
import Sqlite, { SqliteError } from 'better-sqlite3';
import { LRUCache } from 'lru-cache';
import { Fault } from '../errors.ts';
import { serve, threadData } from '../thread.ts';
import type { CommandRecord, StoredCommand } from './log.ts';
import {
  anyRevision,
  conflict,
  duplicate,
  type FlatFlush,
  type FlatVerdicts,
  fieldsOfEvent,
  noRevision,
  someRevision,
  written,
} from './log-sqlite-flush.ts';
import {
  type About,
  createSegment,
  headOf,
  prepareSchema,
  segmentOf,
  segmentsIn,
  segmentTable,
} from './log-sqlite-schema.ts';

export interface WriterData {
  readonly file: string;
  /** For a file that is made now; an old one keeps its own. */
  readonly about: About;
  /** Pages the file may grow to, where the operator bounds it. */
  readonly maxPages?: number;
}

export type Writer = {
  open(): About & { head: number };
  flush(flush: FlatFlush): FlatVerdicts;
  /** The caller has made sure that it is closed. */
  dropSegment(from: number): void;
  forgetCommands(before: string): number;
  close(): void;
};

/** Streams whose last revision is remembered; this connection is the only writer, so what it remembers stays true. */
const rememberedStreams = 50_000;
const cacheKib = 64 * 1024;
/** Pages in the WAL before it is copied into the file: larger than SQLite's own 1,000, so that hot index pages are copied once. */
const checkpointPages = 4_000;
const walBytesKept = 64 * 1024 * 1024;

const { file, about, maxPages } = threadData<WriterData>();
let db: Sqlite.Database;
let segmentSize: number;
let head: number;
let statements: ReturnType<typeof prepare>;
const revisions = new LRUCache<string, number>({ max: rememberedStreams });
/** The segment written last; writing goes on in the newest only. */
let segment: { from: number; insert: Sqlite.Statement<unknown[]> } | undefined;

serve({
  open() {
    db = new Sqlite(file, { timeout: 1_000 });
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    db.pragma('recursive_triggers = ON'); // so that no REPLACE slips by the trigger that refuses DELETE
    db.pragma(`cache_size = -${cacheKib}`);
    db.pragma(`wal_autocheckpoint = ${checkpointPages}`);
    db.pragma(`journal_size_limit = ${walBytesKept}`);
    if (maxPages !== undefined) db.pragma(`max_page_count = ${maxPages}`);
    const found = prepareSchema(db, about);
    segmentSize = found.segmentSize;
    head = headOf(db, segmentsIn(db));
    statements = prepare();
    return { ...found, head };
  },
  flush: (flush) => atomically(() => write(flush)),
  dropSegment(from) {
    if (!segmentsIn(db).includes(from)) return;
    atomically(() => db.exec(`DROP TABLE ${segmentTable(from)}`));
  },
  forgetCommands: (before) => atomically(() => statements.forget.run(before).changes),
  close: () => db.close(),
} satisfies Writer);

function prepare() {
  return {
    begin: db.prepare('BEGIN IMMEDIATE'),
    commit: db.prepare('COMMIT'),
    insertFirst: db.prepare(
      'INSERT INTO federation_log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING',
    ),
    insert: db.prepare('INSERT INTO federation_log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)'),
    revision: db
      .prepare<[string], number>('SELECT revision FROM federation_log WHERE stream = ? ORDER BY revision DESC LIMIT 1')
      .pluck(),
    byId: db.prepare<[string], { position: number; revision: number }>(
      'SELECT position, revision FROM federation_log WHERE id = ?',
    ),
    command: db.prepare<[string], StoredCommand & { revision: number }>(
      'SELECT id, body_hash AS bodyHash, reply, time, position, revision FROM federation_commands WHERE id = ?',
    ),
    insertCommand: db.prepare('INSERT INTO federation_commands VALUES (?, ?, ?, ?, ?, ?)'),
    forget: db.prepare('DELETE FROM federation_commands WHERE time < ?'),
  };
}

/** All of `work` or nothing of it, also in what this thread remembers. */
function atomically<T>(work: () => T): T {
  const before = head;
  try {
    statements.begin.run();
    const value = work();
    statements.commit.run();
    return value;
  } catch (error) {
    if (db.inTransaction) db.exec('ROLLBACK');
    head = before;
    revisions.clear();
    segment = undefined;
    if (error instanceof SqliteError && error.code === 'SQLITE_FULL') {
      throw new Fault('log_full', 'the disk or the space allowed for the log is full');
    }
    throw error;
  }
}

function write(flush: FlatFlush): FlatVerdicts {
  const { streams, expected, counts } = flush;
  const answer: FlatVerdicts = { before: head, head, verdicts: [], commands: [] };
  let nextCommand = 0;
  let offset = 0;
  for (let at = 0; at < streams.length; at++) {
    const carried = flush.commands[nextCommand]?.at === at ? flush.commands[nextCommand++]!.command : undefined;
    const known = carried && statements.command.get(carried.id);
    if (known) {
      const { revision, ...command } = known;
      answer.verdicts.push(duplicate, command.position, revision);
      answer.commands.push({ at, command });
    } else if (counts[at]! < 0) {
      writeTransient(flush, at, offset, carried, answer.verdicts);
    } else {
      writeKept(flush, at, offset, expected[at]!, carried, answer.verdicts);
    }
    offset += Math.abs(counts[at]!) * fieldsOfEvent;
  }
  return { ...answer, head };
}

/** Pushes the verdict: status, position, revision. The command was judged already. */
function writeKept(
  { streams, counts, events }: FlatFlush,
  at: number,
  offset: number,
  expected: number,
  command: CommandRecord | undefined,
  verdicts: number[],
): void {
  const stream = streams[at]!;
  const count = counts[at]!;
  const revision = revisions.get(stream) ?? statements.revision.get(stream) ?? noRevision;
  const meets = expected === anyRevision || (expected === someRevision ? revision >= 0 : expected === revision);
  // Ids are new nearly always, so that the unique index is asked by writing, and read only for a conflict or a duplicate.
  const fresh = meets && insert(statements.insertFirst, stream, revision + 1, events, offset);
  if (!fresh) {
    const first = statements.byId.get(events[offset] as string);
    if (!first) return void verdicts.push(conflict, 0, revision);
    const last = statements.byId.get(events[offset + (count - 1) * fieldsOfEvent] as string) ?? first;
    return void verdicts.push(duplicate, last.position, last.revision);
  }
  for (let i = 1; i < count; i++) {
    insert(statements.insert, stream, revision + 1 + i, events, offset + i * fieldsOfEvent);
  }
  revisions.set(stream, revision + count);
  record(command, revision + count);
  verdicts.push(written, head, revision + count);
}

function writeTransient(
  { streams, counts, events }: FlatFlush,
  at: number,
  offset: number,
  command: CommandRecord | undefined,
  verdicts: number[],
): void {
  const count = -counts[at]!;
  for (let i = 0; i < count; i++) {
    insert(segmentInsert(head + 1), streams[at]!, head + 1, events, offset + i * fieldsOfEvent);
  }
  record(command, head);
  verdicts.push(written, head, head);
}

/** Writes one event at the next position; false when its id is in the log and the statement bears that. */
function insert(
  statement: Sqlite.Statement<unknown[]>,
  stream: string,
  revision: number,
  events: FlatFlush['events'],
  o: number,
): boolean {
  const { changes } = statement.run(
    head + 1,
    stream,
    revision,
    events[o],
    events[o + 1],
    events[o + 2],
    events[o + 3],
    events[o + 4],
    events[o + 5],
  );
  if (changes === 0) return false;
  head++;
  return true;
}

function segmentInsert(position: number): Sqlite.Statement<unknown[]> {
  const from = segmentOf(position, segmentSize);
  if (segment?.from !== from) {
    createSegment(db, from);
    segment = { from, insert: db.prepare(`INSERT INTO ${segmentTable(from)} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`) };
  }
  return segment.insert;
}

function record(command: CommandRecord | undefined, revision: number): void {
  if (command) statements.insertCommand.run(command.id, command.bodyHash, command.reply, command.time, head, revision);
}
