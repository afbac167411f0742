/** What a node carries for others: entries for a third that it could not reach yet, within limits. */
import type { Envelope } from '../../protocol/p2p-peers.ts';
import type { Rows } from './rows.ts';

/** In all, and of one author. */
const mostCarried = 2_000;
const mostCarriedOf = 500;
const mostCarriedBytes = 32 * 1024 * 1024;

export const carriedTable = `
  CREATE TABLE IF NOT EXISTS carried (
    author TEXT NOT NULL, chain TEXT NOT NULL, recipient TEXT NOT NULL, seq INTEGER NOT NULL, envelope TEXT NOT NULL,
    bytes INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (recipient, author, chain, seq)) WITHOUT ROWID;`;

export class Carried {
  readonly #rows: Rows;

  constructor(rows: Rows) {
    this.#rows = rows;
  }

  /** Takes envelopes for a third node. Answers up to which place it keeps them. */
  keep(recipient: string, chain: string, author: string, envelopes: readonly Envelope[], now: number): number {
    return this.#rows.whole(() => {
      for (const envelope of envelopes) {
        const text = JSON.stringify(envelope);
        const all = this.#rows.get('SELECT count(*) AS count, ifnull(sum(bytes), 0) AS bytes FROM carried')!; // one row always
        const of = this.#rows.get('SELECT count(*) AS count FROM carried WHERE author = ?', author)!; // as above
        const full = (all.count as number) >= mostCarried || (of.count as number) >= mostCarriedOf;
        if (full || (all.bytes as number) + text.length > mostCarriedBytes) break;
        this.#rows.run(
          'INSERT OR IGNORE INTO carried (author, chain, recipient, seq, envelope, bytes, at) VALUES (?, ?, ?, ?, ?, ?, ?)',
          ...[author, chain, recipient, envelope.entry.seq, text, text.length, now],
        );
      }
      const kept = this.#rows.get(
        'SELECT max(seq) AS seq FROM carried WHERE recipient = ? AND author = ? AND chain = ?',
        ...[recipient, author, chain],
      );
      return (kept?.seq as number | null) ?? 0;
    });
  }

  /** Whose chains are carried for a node. */
  chainsFor(recipient: string): { readonly author: string; readonly chain: string }[] {
    return this.#rows.all('SELECT DISTINCT author, chain FROM carried WHERE recipient = ?', recipient) as unknown as {
      author: string;
      chain: string;
    }[]; // both are text
  }

  next(recipient: string, author: string, chain: string, limit: number): Envelope[] {
    return this.#rows
      .all(
        'SELECT envelope FROM carried WHERE recipient = ? AND author = ? AND chain = ? ORDER BY seq LIMIT ?',
        ...[recipient, author, chain, limit],
      )
      .map(({ envelope }) => JSON.parse(envelope as string) as Envelope); // as `keep` wrote it
  }

  /** The node has them up to there. */
  delivered(recipient: string, author: string, chain: string, have: number): void {
    this.#rows.run(
      'DELETE FROM carried WHERE recipient = ? AND author = ? AND chain = ? AND seq <= ?',
      ...[recipient, author, chain, have],
    );
  }

  /** Lets go of what was taken before a moment. */
  dropOld(before: number): void {
    this.#rows.run('DELETE FROM carried WHERE at < ?', before);
  }
}
