/**
 * Views in SQLite: one file a generation, `views-<N>.db`, and a pointer file that names the one that serves.
 *
 * The pointer is written beside and renamed over, so that a kill leaves the old or the new and never a half. The files are
 * not flushed at each commit (`synchronous=NORMAL`): rows and checkpoint go together, so what a power cut takes is folded
 * from the log again.
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { type AnyProjection, columnOf, type DeadLetter, deadLetterTable, type Row, tablesOf } from './catalog.ts';
import type { ColumnType, Sweep, TableSpec } from './define.ts';
import { digestOf, type ViewsDigest } from './digest.ts';
import { type Checkpoint, Fenced, Generation, type RebuildNote, type ViewStore } from './generation.ts';
import type { Batch } from './project.ts';
import { columnNames, fromStored, toStored } from './rows.ts';

/** Pages in the WAL before it is copied into the file: larger than SQLite's own 1,000, so that hot pages are copied once. */
const checkpointPages = 4_000;
const walBytesKept = 64 * 1024 * 1024;

/** Names the serving generation: its number as text. */
const pointer = 'views-current';

const sqlTypes: Record<ColumnType, string> = { text: 'TEXT', integer: 'INTEGER', real: 'REAL', json: 'TEXT' };

/** Opens the views in a folder, which is made when it is missing. One process at a time, by the lock on the data folder. */
export class SqliteViewStore implements ViewStore {
  readonly #folder: string;
  readonly #views: readonly AnyProjection[];
  readonly #open = new Set<SqliteGeneration>();

  constructor(folder: string, views: readonly AnyProjection[]) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#folder = folder;
    this.#views = views;
  }

  /** One more than the newest epoch that wrote here: each start of the process is an epoch of its own. */
  nextEpoch(): number {
    const number = servingNumber(this.#folder);
    if (number === undefined) return 1;
    const db = new Database(viewsFile(this.#folder, number));
    try {
      return 1 + (db.prepare('SELECT epoch FROM federation_views_checkpoint').pluck().get() as number);
    } finally {
      db.close();
    }
  }

  async current(epoch: number): Promise<Generation | undefined> {
    await this.close(); // what a tenure that failed left open
    const number = servingNumber(this.#folder);
    return number === undefined ? undefined : this.#openGeneration(number, epoch);
  }

  async create(number: number, epoch: number, start: Omit<Checkpoint, 'position'>): Promise<Generation> {
    removeGeneration(this.#folder, number);
    const db = new Database(viewsFile(this.#folder, number));
    db.pragma('journal_mode = WAL');
    db.transaction(() => {
      db.exec(`CREATE TABLE federation_views_checkpoint (log_id TEXT NOT NULL, fingerprint TEXT NOT NULL,
        position INTEGER NOT NULL, epoch INTEGER NOT NULL, rebuild TEXT)`);
      db.prepare('INSERT INTO federation_views_checkpoint VALUES (?, ?, 0, ?, ?)').run(
        start.logId,
        start.fingerprint,
        epoch,
        start.rebuild && JSON.stringify(start.rebuild),
      );
      for (const table of tablesOf(this.#views)) db.exec(createTable(table));
    })();
    db.close();
    return this.#openGeneration(number, epoch);
  }

  async serve(generation: Generation, rebuild: RebuildNote | null): Promise<void> {
    await generation.note(rebuild);
    const path = join(this.#folder, pointer);
    const file = openSync(`${path}.new`, 'w', 0o600);
    writeSync(file, `${generation.number}\n`);
    fsyncSync(file);
    closeSync(file);
    renameSync(`${path}.new`, path);
  }

  async retireAllBut(numbers: readonly number[]): Promise<boolean> {
    for (const name of readdirSync(this.#folder)) {
      const number = Number(/^views-(\d+)\.db$/.exec(name)?.[1] ?? Number.NaN);
      if (Number.isNaN(number) || numbers.includes(number)) continue;
      for (const generation of this.#open) if (generation.number === number) await generation.close();
      removeGeneration(this.#folder, number);
    }
    return true;
  }

  async close(): Promise<void> {
    for (const generation of this.#open) await generation.close();
  }

  #openGeneration(number: number, epoch: number): Generation {
    const db = new Database(viewsFile(this.#folder, number));
    db.pragma('synchronous = NORMAL');
    db.pragma('cache_size = -65536');
    db.pragma(`wal_autocheckpoint = ${checkpointPages}`);
    db.pragma(`journal_size_limit = ${walBytesKept}`);
    db.prepare('UPDATE federation_views_checkpoint SET epoch = ? WHERE epoch < ?').run(epoch, epoch);
    const generation = new SqliteGeneration(db, number, epoch, this.#views, () => this.#open.delete(generation));
    this.#open.add(generation);
    return generation;
  }
}

/** The file of a generation. */
export function viewsFile(folder: string, number: number): string {
  return join(folder, `views-${number}.db`);
}

/** The generation that serves, undefined before the first. */
export function servingNumber(folder: string): number | undefined {
  try {
    const number = Number(readFileSync(join(folder, pointer), 'utf8'));
    return Number.isSafeInteger(number) && number > 0 ? number : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined; // readFileSync throws nothing else
    throw error;
  }
}

/** Over a connection and a snapshot of its own, in pages with a breath between, so that its thread goes on with other things. */
export async function digestOfFile(file: string, views: readonly AnyProjection[]): Promise<ViewsDigest> {
  const db = new Database(file, { readonly: true });
  try {
    db.exec('BEGIN');
    const { position, fingerprint } = readCheckpoint(db);
    const digest = await digestOf(views, async (table, after, limit) => {
      await new Promise((breathed) => setImmediate(breathed));
      return db
        .prepare(`SELECT * FROM ${table.name} WHERE ${table.key} > ? ORDER BY ${table.key} LIMIT ?`)
        .all(after ?? '', limit)
        .map((stored) => fromStored(table, stored as Row)); // rows of `SELECT *`, by column
    });
    return { digest, position, fingerprint };
  } finally {
    db.close();
  }
}

class SqliteGeneration extends Generation {
  readonly #db: Database.Database;
  readonly #views: readonly AnyProjection[];
  readonly #statements = new Map<string, Database.Statement>();
  readonly #onClose: () => void;

  constructor(
    db: Database.Database,
    number: number,
    epoch: number,
    views: readonly AnyProjection[],
    onClose: () => void,
  ) {
    super(number, epoch, readCheckpoint(db), readDeadLetters(db));
    this.#db = db;
    this.#views = views;
    this.#onClose = onClose;
  }

  async digest(): Promise<string> {
    return (await digestOfFile(this.#db.name, this.#views)).digest;
  }

  async close(): Promise<void> {
    this.#onClose();
    this.#db.close();
  }

  protected async fetch(table: TableSpec, keys: readonly string[]): Promise<ReadonlyMap<string, Row>> {
    const one = this.#statement(`SELECT * FROM ${table.name} WHERE ${table.key} = ?`);
    const rows = new Map<string, Row>();
    for (const key of keys) {
      const stored = one.get(key);
      if (stored) rows.set(key, fromStored(table, stored as Row)); // a row of `SELECT *`, by column
    }
    return rows;
  }

  protected async write(batch: Batch, next: Checkpoint): Promise<void> {
    this.#db
      .transaction(() => {
        const moved = this.#statement(
          'UPDATE federation_views_checkpoint SET position = ?, rebuild = ? WHERE epoch = ?',
        ).run(next.position, next.rebuild && JSON.stringify(next.rebuild), this.epoch);
        if (moved.changes === 0) throw new Fenced();
        for (const [table, sweeps] of batch.sweeps) for (const sweep of sweeps) this.#sweep(table, sweep);
        for (const [table, rows] of batch.changes) this.#upsert(table, rows);
        this.#upsert(deadLetterTable, batch.parked as ReadonlyMap<string, Row & DeadLetter>);
      })
      .immediate();
  }

  #upsert(table: TableSpec, rows: ReadonlyMap<string, Row | null>): void {
    if (rows.size === 0) return;
    const put = this.#statement(upsertSql(table));
    const remove = this.#statement(`DELETE FROM ${table.name} WHERE ${table.key} = ?`);
    for (const [key, row] of rows) {
      if (row) put.run(toStored(table, row));
      else remove.run(key);
    }
  }

  #sweep({ name, key }: TableSpec, { from, to, only }: Sweep): void {
    const sql = `DELETE FROM ${name} WHERE ${key} >= ? AND ${key} <= ?`;
    if (only) this.#statement(`${sql} AND ${only.column} = ?`).run(from, to, only.value);
    else this.#statement(sql).run(from, to);
  }

  #statement(sql: string): Database.Statement {
    let statement = this.#statements.get(sql);
    if (!statement) {
      statement = this.#db.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}

function createTable(table: TableSpec): string {
  const columns = columnNames(table).map((name) => {
    const { type, nullable } = columnOf(table, name);
    return `${name} ${sqlTypes[type]}${nullable ? '' : ' NOT NULL'}`;
  });
  const indexes = (table.indexes ?? []).map(
    (names) => `CREATE INDEX ${table.name}_by_${names.join('_')} ON ${table.name} (${names.join(', ')});`,
  );
  // Rows that come in the order of their keys lie in that order: one tree less to write to.
  const order = table.appendOnly ? ' WITHOUT ROWID' : '';
  return `CREATE TABLE ${table.name} (${columns.join(', ')}, PRIMARY KEY (${table.key}))${order};\n${indexes.join('\n')}`;
}

function upsertSql(table: TableSpec): string {
  const names = columnNames(table);
  if (table.appendOnly)
    return `INSERT INTO ${table.name} (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`;
  const updates = names.filter((name) => name !== table.key).map((name) => `${name} = excluded.${name}`);
  return `INSERT INTO ${table.name} (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})
    ON CONFLICT (${table.key}) DO UPDATE SET ${updates.join(', ')}`;
}

function readCheckpoint(db: Database.Database): Checkpoint {
  const row = db.prepare('SELECT * FROM federation_views_checkpoint').get() as {
    log_id: string;
    fingerprint: string;
    position: number;
    rebuild: string | null;
  }; // one row, made with the table
  return {
    logId: row.log_id,
    fingerprint: row.fingerprint,
    position: row.position,
    rebuild: row.rebuild === null ? null : JSON.parse(row.rebuild),
  };
}

function readDeadLetters(db: Database.Database): DeadLetter[] {
  return db.prepare(`SELECT * FROM ${deadLetterTable.name}`).all() as DeadLetter[]; // its columns are named as the members are
}

function removeGeneration(folder: string, number: number): void {
  for (const ending of ['', '-wal', '-shm', '-journal']) rmSync(viewsFile(folder, number) + ending, { force: true });
}
