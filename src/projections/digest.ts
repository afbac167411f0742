/** One number for all rows of all views: the same on SQLite and PostgreSQL, live and replayed. */
import { createHash } from 'node:crypto';
import { canonicalJson } from '../canonical-json.ts';
import type { AnyProjection, Row } from './catalog.ts';
import type { TableSpec } from './define.ts';
import { columnNames } from './rows.ts';

/** Rows of a table in byte order of their keys, after a key, at most `limit`. */
export type ReadRows = (table: TableSpec, after: string | undefined, limit: number) => Promise<readonly Row[]>;

/** The digest of all views of one generation, and what it is a digest of. */
export interface ViewsDigest {
  /** SHA-256, hex; see `digestOf`. */
  readonly digest: string;
  /** The rows are those of the log up to here. */
  readonly position: number;
  /** Of tables and folds; digests of different fingerprints say nothing of each other. */
  readonly fingerprint: string;
}

const pageRows = 1_000;

/**
 * SHA-256 over all rows of all views, hex. Members of JSON values are sorted by name. Dead letters are left out: what was
 * parked in a segment that is gone cannot be parked again.
 */
export async function digestOf(views: readonly AnyProjection[], read: ReadRows): Promise<string> {
  const hash = createHash('sha256');
  const tables = views.map((view) => view.table).sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const table of tables) {
    const columns = columnNames(table);
    hash.update(`${table.name}\n`);
    for (let after: string | undefined; ; ) {
      const rows = await read(table, after, pageRows);
      for (const row of rows) hash.update(`${canonicalJson(columns.map((name) => row[name]))}\n`);
      if (rows.length < pageRows) break;
      after = rows.at(-1)![table.key] as string; // keys are text
    }
  }
  return hash.digest('hex');
}
