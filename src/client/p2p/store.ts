/**
 * What a node keeps to go on without the hub, in one SQLite file, written before anything is sent: its own chain, what came from
 * others, what it carries for others, and the roster. Without a folder it lies in memory, and is gone with the process.
 */
import { randomUUID } from 'node:crypto';
import type { Entry, MessageEntry, ReturnedEntry } from '../../protocol/p2p.ts';
import { Carried, carriedTable } from './carried.ts';
import { type Row, Rows } from './rows.ts';

/** An entry of this node, as it is kept until it is home. */
export interface Own {
  readonly seq: number;
  readonly hash: string;
  readonly entry: Entry;
  readonly signature: string;
  /** JSON text. */
  readonly content: string | null;
  readonly salt: string | null;
}

/** A message that came from another node. */
export interface Came {
  readonly hash: string;
  readonly entry: MessageEntry;
  readonly signature: string;
  readonly content: string;
  readonly salt: string;
  readonly messageId: string;
  /** When, in milliseconds since 1970 by the clock here. */
  readonly at: number;
}

/** Bytes of content that are kept for being handed in: of this node's own, and as many of others'. */
const mostBytes = 64 * 1024 * 1024;
/** Messages of others that are not handled yet, or whose receipts are not home. */
const mostCame = 10_000;
/** Of either, one author has this part at most: whoever sends as much as it can leaves room for others. */
const oneAuthors = 1 / 2;
/** Ids of messages that came, by which the hub's copy of them is known. */
const mostRemembered = 50_000;
/** Chains of others of which it is known how far they came: in all, and of one author at any time. */
const mostChains = 10_000;
const mostChainsOf = 16;

const tables = `
  CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS chain (
    seq INTEGER PRIMARY KEY, hash TEXT NOT NULL, entry TEXT NOT NULL, signature TEXT NOT NULL, content TEXT, salt TEXT,
    bytes INTEGER NOT NULL, target TEXT NOT NULL, key TEXT);
  CREATE INDEX IF NOT EXISTS chain_by_target ON chain (target, seq);
  CREATE INDEX IF NOT EXISTS chain_by_hash ON chain (hash);
  CREATE INDEX IF NOT EXISTS chain_by_bytes ON chain (bytes);
  CREATE INDEX IF NOT EXISTS chain_by_key ON chain (key) WHERE key IS NOT NULL;
  CREATE TABLE IF NOT EXISTS known (peer TEXT PRIMARY KEY, have INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS came (
    hash TEXT PRIMARY KEY, author TEXT NOT NULL, chain TEXT NOT NULL, seq INTEGER NOT NULL, message_id TEXT NOT NULL,
    entry TEXT, signature TEXT, content TEXT, salt TEXT, bytes INTEGER NOT NULL, state TEXT NOT NULL, at INTEGER NOT NULL);
  CREATE INDEX IF NOT EXISTS came_by_message ON came (message_id);
  CREATE INDEX IF NOT EXISTS came_by_state ON came (state, at);
  CREATE INDEX IF NOT EXISTS came_by_author ON came (state, author, bytes);
  CREATE TABLE IF NOT EXISTS heard (author TEXT NOT NULL, chain TEXT NOT NULL, have INTEGER NOT NULL, PRIMARY KEY (author, chain));`;

export class P2pStore {
  readonly #rows: Rows;
  readonly carried: Carried;

  private constructor(rows: Rows) {
    this.#rows = rows;
    this.carried = new Carried(rows);
  }

  /** Throws what SQLite says. */
  static async open(folder: string | undefined): Promise<P2pStore> {
    return new P2pStore(await Rows.open(folder, 'p2p.db', tables + carriedTable));
  }

  close(): void {
    this.#rows.close();
  }

  note(name: string): string | undefined {
    return this.#rows.get('SELECT value FROM notes WHERE name = ?', name)?.value as string | undefined;
  }

  setNote(name: string, value: string): void {
    this.#rows.run('INSERT OR REPLACE INTO notes (name, value) VALUES (?, ?)', name, value);
  }

  // Its own chain.

  /** Of the chain that is being written. */
  get chain(): string {
    const known = this.note('chain');
    if (known !== undefined) return known;
    const made = randomUUID();
    this.setNote('chain', made);
    return made;
  }

  last(): { readonly seq: number; readonly hash: string } | undefined {
    const row = this.#rows.get('SELECT seq, hash FROM chain ORDER BY seq DESC LIMIT 1');
    return row && { seq: row.seq as number, hash: row.hash as string }; // columns of those types
  }

  /** Whether there is room for so many bytes more of this node's own. */
  hasRoom(bytes: number): boolean {
    const own = this.#rows.get('SELECT ifnull(sum(bytes), 0) AS bytes FROM chain')!; // one row always
    return (own.bytes as number) + bytes <= mostBytes;
  }

  /** `target`: the node that it is for, `*` for all, '' for none. `handled`: the message that it is a receipt of. */
  append(own: Own, target: string): void {
    const { seq, hash, entry, signature, content, salt } = own;
    const key = entry.kind === 'message' ? entry.key : null;
    const bytes = content === null ? 0 : Buffer.byteLength(content);
    const insert =
      'INSERT INTO chain (seq, hash, entry, signature, content, salt, bytes, target, key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)';
    this.#rows.whole(() => {
      this.#rows.run(insert, seq, hash, JSON.stringify(entry), signature, content, salt, bytes, target, key);
      if (entry.kind !== 'message' && entry.kind !== 'read')
        this.#rows.run("UPDATE came SET state = 'told' WHERE hash = ? AND state IN ('open', 'handled')", entry.of);
    });
  }

  /** An entry of this node that is for another; undefined when it wrote none of this name for that one. */
  written(hash: string, target: string): Entry | undefined {
    const row = this.#rows.get("SELECT entry FROM chain WHERE hash = ? AND target IN (?, '*')", hash, target);
    return row && (JSON.parse(row.entry as string) as Entry); // as `append` wrote it
  }

  /** The last entry that was written to this very address, `*` for all; 0: there is none. */
  lastTo(target: string): number {
    return (this.#rows.get('SELECT max(seq) AS seq FROM chain WHERE target = ?', target)?.seq as number | null) ?? 0;
  }

  /** Whether a message was written under this key. */
  hasKey(key: string): boolean {
    return this.#rows.get('SELECT 1 AS has FROM chain WHERE key = ?', key) !== undefined;
  }

  /** Entries for a node after a place, the oldest first, each with the place of the one before. */
  pending(peer: string, after: number, limit: number): { readonly own: Own; readonly before: number }[] {
    const rows = this.#rows.all(
      `SELECT seq, hash, entry, signature, content, salt FROM chain WHERE target IN (?, '*') AND seq > ? ORDER BY seq LIMIT ?`,
      peer,
      after,
      limit,
    );
    const first = this.#rows.get(
      `SELECT max(seq) AS seq FROM chain WHERE target IN (?, '*') AND seq <= ?`,
      peer,
      after,
    );
    let before = (first?.seq as number | null) ?? 0;
    return rows.map((row) => {
      const own = ownOf(row);
      const pending = { own, before };
      before = own.seq;
      return pending;
    });
  }

  /** Nodes that entries are for; `*` when some are for all. */
  targets(): string[] {
    return this.#rows.all("SELECT DISTINCT target FROM chain WHERE target <> ''").map(({ target }) => target as string);
  }

  lastFor(peer: string): number {
    return (
      (this.#rows.get(`SELECT max(seq) AS seq FROM chain WHERE target IN (?, '*')`, peer)?.seq as number | null) ?? 0
    );
  }

  /** The peer has all that is for it up to there. */
  have(peer: string): number {
    return (this.#rows.get('SELECT have FROM known WHERE peer = ?', peer)?.have as number | undefined) ?? 0;
  }

  setHave(peer: string, have: number): void {
    this.#rows.run('INSERT OR REPLACE INTO known (peer, have) VALUES (?, ?)', peer, have);
  }

  /** Entries after a place, the oldest first. */
  after(seq: number, limit: number): Own[] {
    const columns = 'seq, hash, entry, signature, content, salt';
    return this.#rows.all(`SELECT ${columns} FROM chain WHERE seq > ? ORDER BY seq LIMIT ?`, seq, limit).map(ownOf);
  }

  /** What comes after a place moves to the beginning of another chain, as `moved` has it; what was before is home. */
  beginAnew(chain: string, place: number, moved: readonly Own[]): void {
    const move = 'UPDATE chain SET seq = ?, hash = ?, entry = ?, signature = ? WHERE seq = ?';
    this.#rows.whole(() => {
      this.#rows.run('DELETE FROM chain WHERE seq <= ?', place);
      this.#rows.run('DELETE FROM known');
      this.setNote('chain', chain);
      for (const { seq, hash, entry, signature } of moved)
        this.#rows.run(move, seq, hash, JSON.stringify(entry), signature, seq + place);
    });
  }

  /** All of the chain is home: the next entry begins another. Keeps what is of the messages that came as ids. */
  finish(): void {
    this.#rows.whole(() => {
      this.#rows.run('DELETE FROM chain');
      this.#rows.run('DELETE FROM known');
      this.#rows.run("DELETE FROM notes WHERE name = 'chain'");
      this.#rows.run(
        "UPDATE came SET state = 'home', entry = NULL, signature = NULL, content = NULL, salt = NULL, bytes = 0 WHERE state = 'told'",
      );
      const extra = `SELECT hash FROM came WHERE state = 'home' ORDER BY at DESC LIMIT -1 OFFSET ${mostRemembered}`;
      this.#rows.run(`DELETE FROM came WHERE hash IN (${extra})`);
      const others = `SELECT rowid FROM heard ORDER BY rowid DESC LIMIT -1 OFFSET ${mostChains}`;
      this.#rows.run(`DELETE FROM heard WHERE rowid IN (${others})`);
    });
  }

  // What came from others.

  /** All that an author's chain has for this node was taken up to there. */
  heard(author: string, chain: string): number {
    const row = this.#rows.get('SELECT have FROM heard WHERE author = ? AND chain = ?', author, chain);
    return (row?.have as number | undefined) ?? 0;
  }

  setHeard(author: string, chain: string, have: number): void {
    if (this.heard(author, chain) === 0) {
      const older = `SELECT rowid FROM heard WHERE author = ? ORDER BY rowid DESC LIMIT -1 OFFSET ${mostChainsOf - 1}`;
      this.#rows.run(`DELETE FROM heard WHERE rowid IN (${older})`, author);
    }
    this.#rows.run(
      'INSERT INTO heard (author, chain, have) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET have = excluded.have',
      author,
      chain,
      have,
    );
  }

  /** Keeps a message and its place at once. False for one that came before; undefined when there is no room. */
  take({ hash, entry, signature, content, salt, messageId, at }: Came): boolean | undefined {
    if (!this.#hasRoomFrom(entry.author, Buffer.byteLength(content))) return undefined;
    return this.#rows.whole(() => {
      this.setHeard(entry.author, entry.chain, entry.seq);
      if (this.had(messageId)) return false;
      this.#rows.run(
        `INSERT INTO came (hash, author, chain, seq, message_id, entry, signature, content, salt, bytes, state, at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'open', ?)`,
        ...[hash, entry.author, entry.chain, entry.seq, messageId, JSON.stringify(entry), signature, content, salt],
        Buffer.byteLength(content),
        at,
      );
      return true;
    });
  }

  /** Whether a message came from another node, ever that is remembered. */
  had(messageId: string): boolean {
    return this.#rows.get('SELECT 1 AS had FROM came WHERE message_id = ? LIMIT 1', messageId) !== undefined;
  }

  /** A message that came from another node, and whose content is here still. */
  byMessage(messageId: string): Came | undefined {
    const row = this.#rows.get('SELECT * FROM came WHERE message_id = ? AND entry IS NOT NULL', messageId);
    return row && cameOf(row);
  }

  /** It is handled: it is not handed over again, and its receipt is owed. */
  handled(hash: string): void {
    this.#rows.run("UPDATE came SET state = 'handled' WHERE hash = ? AND state = 'open'", hash);
  }

  /** Messages in a state, the oldest first. */
  came(state: 'open' | 'handled'): Came[] {
    return this.#rows.all('SELECT * FROM came WHERE state = ? ORDER BY rowid', state).map(cameOf);
  }

  /** To be handed in in the name of their authors; those whose content is gone are left out. */
  find(hashes: readonly string[]): ReturnedEntry[] {
    const rows = this.#rows.all(
      'SELECT * FROM came WHERE entry IS NOT NULL AND hash IN (SELECT value FROM json_each(?)) ORDER BY author, chain, seq',
      JSON.stringify(hashes),
    );
    return rows.map(cameOf).map(({ entry, signature, content, salt }) => ({ entry, signature, content, salt }));
  }

  #hasRoomFrom(author: string, bytes: number): boolean {
    const kept = `SELECT count(*) AS count, ifnull(sum(bytes), 0) AS bytes FROM came WHERE state IN ('open', 'handled', 'told')`;
    const [all, own] = [this.#rows.get(kept)!, this.#rows.get(`${kept} AND author = ?`, author)!]; // one row always
    const fits = ({ count, bytes: known }: Row, part: number) =>
      (count as number) < mostCame * part && (known as number) + bytes <= mostBytes * part;
    return fits(all, 1) && fits(own, oneAuthors);
  }
}

function ownOf({ seq, hash, entry, signature, content, salt }: Row): Own {
  // as `append` wrote them
  return {
    seq: seq as number,
    hash: hash as string,
    entry: JSON.parse(entry as string) as Entry,
    signature: signature as string,
    content: content as string | null,
    salt: salt as string | null,
  };
}

function cameOf({ hash, entry, signature, content, salt, message_id, at }: Row): Came {
  // as `take` wrote them
  return {
    hash: hash as string,
    entry: JSON.parse(entry as string) as MessageEntry,
    signature: signature as string,
    content: content as string,
    salt: salt as string,
    messageId: message_id as string,
    at: at as number,
  };
}
