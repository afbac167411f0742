/**
 * The index in `search.db`. FTS5 holds which words a document has and nothing else; the words themselves lie in a table beside it, as it
 * is told them again when they go. What is deleted is overwritten with zeros, in its pages and in the write-ahead log.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import Sqlite, { SqliteError } from 'better-sqlite3';
import { checkOf, fts5Match, fts5Word } from './match.ts';
import type { SearchPlan } from './query.ts';
import type { Candidate } from './rank.ts';
import {
  type Bounds,
  type Gone,
  type HavingWord,
  keptOf,
  type Matching,
  type NumberRange,
  nothing,
  type Place,
  type SearchDocument,
  type SearchStore,
  searchVersion,
} from './store.ts';
import { tokensIn } from './words.ts';

const walBytesKept = 64 * 1024 * 1024;

/** Marks the file as an index of this hub ('feds'). */
const applicationId = 0x66656473;

const tables = `
CREATE TABLE federation_search_about (log_id TEXT NOT NULL, position INTEGER NOT NULL, documents INTEGER NOT NULL);
CREATE TABLE federation_search_documents (
  number INTEGER PRIMARY KEY, position INTEGER NOT NULL UNIQUE, kind TEXT NOT NULL, id TEXT NOT NULL, rank TEXT NOT NULL,
  subject TEXT, expires_at INTEGER, labels TEXT NOT NULL, title TEXT NOT NULL, text TEXT NOT NULL, UNIQUE (kind, id)
);
CREATE INDEX federation_search_subjects ON federation_search_documents (subject) WHERE subject IS NOT NULL;
CREATE INDEX federation_search_expiries ON federation_search_documents (expires_at) WHERE expires_at IS NOT NULL;
CREATE VIRTUAL TABLE federation_search_words USING fts5(
  tokens, content='', columnsize=0, detail=none, tokenize="ascii tokenchars '='"
);
INSERT INTO federation_search_words (federation_search_words, rank) VALUES ('secure-delete', 1);`;

interface Row extends Candidate {
  readonly number: number;
  readonly kind: string;
  readonly rank: string;
  readonly subject: string | null;
  readonly expiresAt: number | null;
  readonly labels: string;
}

export class SqliteSearchStore implements SearchStore {
  readonly #file: string;
  /** Opened by the first call that needs it. */
  #opened: Sqlite.Database | undefined;
  /** Of the database that is open, with its tables. */
  #prepared: Statements | undefined;
  /** What went may still be in the write-ahead log. */
  #traces = true;

  /** @param file made when it is not there, and made anew when it is broken. */
  constructor(file: string) {
    this.#file = file;
  }

  async begin(logId: string, head: number): Promise<number> {
    const position = await this.position(logId);
    if (position !== undefined && position <= head) return position;
    this.#discard();
    this.#ask((db) => {
      const make = db.transaction(() => {
        db.exec(tables);
        db.prepare('INSERT INTO federation_search_about VALUES (?, 0, 0)').run(logId);
        db.pragma(`application_id = ${applicationId}`);
        db.pragma(`user_version = ${searchVersion}`);
      });
      make.immediate();
    });
    return 0;
  }

  async apply(documents: readonly SearchDocument[], from: number, to: number): Promise<void> {
    this.#ask((db) => {
      const write = db.transaction(() => {
        const statements = this.#statements(db);
        const about = statements.about.get();
        if (about?.position !== from) throw new Error(`the search index is at ${about?.position}, not at ${from}`);
        for (const [at, document] of documents.entries()) this.#put(statements, document, about.documents + at);
        statements.advance.run(to, documents.length);
      });
      write.immediate();
    });
  }

  async remove(what: Gone, most: number): Promise<number> {
    return this.#ask((db) => {
      const [condition, value] =
        'subject' in what ? ['subject = ?', what.subject] : ['expires_at < ?', what.expiredBefore];
      const find = `SELECT *, expires_at AS expiresAt FROM federation_search_documents WHERE ${condition} LIMIT ?`;
      const write = db.transaction(() => {
        const rows = db.prepare<[string | number, number], Row>(find).all(value, most);
        const statements = this.#statements(db);
        for (const row of rows) {
          this.#forget(statements, row);
          if (row.rank !== '') statements.insert.run({ ...row, ...nothing });
        }
        return rows.length;
      });
      return write.immediate();
    });
  }

  async settle(): Promise<void> {
    if (!this.#traces) return;
    this.#ask((db) => db.pragma('wal_checkpoint(TRUNCATE)')); // nobody else has the file open, so it is all of it
    this.#traces = false;
  }

  async position(logId: string): Promise<number | undefined> {
    return this.#ask((db) => {
      if (db.pragma('user_version', { simple: true }) !== searchVersion) return undefined;
      const find = 'SELECT position FROM federation_search_about WHERE log_id = ?';
      return db.prepare<[string], number>(find).pluck().get(logId);
    });
  }

  async newest(upTo: { readonly position: number } | { readonly number: number }): Promise<Place | undefined> {
    const [column, value] = 'position' in upTo ? ['position', upTo.position] : ['number', upTo.number];
    const find = `SELECT number, position FROM federation_search_documents WHERE ${column} <= ? ORDER BY ${column} DESC LIMIT 1`;
    return this.#ask((db) => db.prepare<[number], Place>(find).get(value));
  }

  async having(words: readonly HavingWord[], { from, to }: NumberRange): Promise<number[]> {
    return this.#ask((db) => {
      const count = db
        .prepare<[string, number, number], number>(
          `SELECT count(*) FROM federation_search_words WHERE federation_search_words MATCH ? AND rowid BETWEEN ? AND ?`,
        )
        .pluck();
      return words.map((word) => count.get(fts5Word(word), from, to) ?? 0);
    });
  }

  async matching(plan: SearchPlan, { from, to }: NumberRange, { most, letters }: Bounds): Promise<Matching> {
    const check = checkOf(plan, 'instr');
    const sql = `SELECT document.id, document.position, document.title, document.text
      FROM federation_search_words AS words CROSS JOIN federation_search_documents AS document ON document.number = words.rowid
      WHERE words.federation_search_words MATCH ? AND words.rowid BETWEEN ? AND ? ${check ? `AND ${check.sql}` : ''}
      ORDER BY words.rowid DESC`;
    return this.#ask((db) => {
      const candidates: Candidate[] = [];
      let read = 0;
      const found = db.prepare<unknown[], Candidate>(sql).iterate(fts5Match(plan), from, to, ...(check?.values ?? []));
      for (const candidate of found) {
        if (candidates.length === most || read >= letters) return { candidates, more: true };
        candidates.push(candidate);
        read += candidate.title.length + candidate.text.length;
      }
      return { candidates, more: false };
    });
  }

  async close(): Promise<void> {
    this.#opened?.close();
    this.#opened = undefined;
    this.#prepared = undefined;
  }

  #put(statements: Statements, document: SearchDocument, number: number): void {
    const { kind, id, rank, position } = document;
    const there = statements.find.get(kind, id);
    if (there && there.rank > rank) return;
    if (there) this.#forget(statements, there);
    const words = document.gone ? nothing : keptOf(document);
    statements.insert.run({ number, position, kind, id, rank, ...words });
    if (!document.gone) statements.insertWords.run(number, tokensOf(words));
  }

  /** FTS5 is told what it was told then, else it would not find what to take away. */
  #forget(statements: Statements, row: Row): void {
    this.#traces = true;
    const tokens = tokensOf(row);
    if (tokens !== '') statements.removeWords.run(row.number, tokens);
    statements.remove.run(row.number);
  }

  #statements(db: Sqlite.Database): Statements {
    this.#prepared ??= prepare(db);
    return this.#prepared;
  }

  #ask<T>(work: (db: Sqlite.Database) => T): T {
    try {
      this.#opened ??= opened(this.#file);
      return work(this.#opened);
    } catch (error) {
      // Nothing is lost with it: whoever fills it begins anew.
      if (error instanceof SqliteError && /^SQLITE_(NOTADB|CORRUPT)/.test(error.code)) this.#discard();
      throw error;
    }
  }

  #discard(): void {
    this.#opened?.close();
    this.#opened = undefined;
    this.#prepared = undefined;
    for (const file of [this.#file, `${this.#file}-wal`, `${this.#file}-shm`]) rmSync(file, { force: true });
  }
}

type Statements = ReturnType<typeof prepare>;

function prepare(db: Sqlite.Database) {
  return {
    about: db.prepare<[], { position: number; documents: number }>('SELECT * FROM federation_search_about'),
    advance: db.prepare('UPDATE federation_search_about SET position = ?, documents = documents + ?'),
    find: db.prepare<[string, string], Row>('SELECT * FROM federation_search_documents WHERE kind = ? AND id = ?'),
    insert: db.prepare(`INSERT INTO federation_search_documents
      VALUES (@number, @position, @kind, @id, @rank, @subject, @expiresAt, @labels, @title, @text)`),
    remove: db.prepare('DELETE FROM federation_search_documents WHERE number = ?'),
    insertWords: db.prepare('INSERT INTO federation_search_words (rowid, tokens) VALUES (?, ?)'),
    removeWords: db.prepare(
      `INSERT INTO federation_search_words (federation_search_words, rowid, tokens) VALUES ('delete', ?, ?)`,
    ),
  };
}

function opened(file: string): Sqlite.Database {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const db = new Sqlite(file, { timeout: 5_000 });
  try {
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = NORMAL'); // what a power cut takes is indexed once more
    db.pragma('secure_delete = ON');
    db.pragma('cache_size = -32000'); // KiB
    db.pragma('wal_autocheckpoint = 4000'); // pages: those that are hot are copied once
    db.pragma(`journal_size_limit = ${walBytesKept}`);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** FTS5 gets each word once: it holds no places. */
function tokensOf({ labels, title, text }: Pick<Row, 'labels' | 'title' | 'text'>): string {
  return tokensIn(labels, title, text).join(' ');
}
