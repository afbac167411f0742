/**
 * The index in PostgreSQL: two tables of the views' database, and a GIN index over text vectors that lie nowhere else.
 *
 * Such an index cannot be read newest first, and to visit every row that has a common word takes long. So each document has its slice
 * among its words: a question asks the newest slices first, and goes on as far as they held too little.
 */
import pg from 'pg';
import { inTransaction, numberTypes } from '../projections/postgres-session.ts';
import { checkOf, tsqueryMatch, tsqueryWord } from './match.ts';
import type { SearchPlan } from './query.ts';
import type { Candidate } from './rank.ts';
import {
  type Bounds,
  type Gone,
  type HavingWord,
  type Kept,
  keptOf,
  type Matching,
  type NumberRange,
  nothing,
  type Place,
  type SearchDocument,
  type SearchStore,
  searchVersion,
  sliceSize,
} from './store.ts';
import { aboutIndex, beginAnew, prepareTables, vector } from './store-postgres-tables.ts';
import { marked } from './words.ts';

const statementMs = 10_000;
/** Slices that are asked for by name, at most: each name costs as much as a word. */
const namedSlices = 8;
/** So many times more than are wanted may match in all that is left, to be asked for at once. */
const spare = 8;

const slice = (number: number): string => `#${Math.floor(number / sliceSize)}`;

export class PostgresSearchStore implements SearchStore {
  readonly #pool: pg.Pool;
  #prepared: Promise<void> | undefined;
  /** A subject was erased: its rows are dead, and lie there until they are swept. */
  #traces = false;

  /** Nothing is asked of the server yet. */
  constructor(url: string) {
    this.#pool = new pg.Pool({
      connectionString: url,
      max: 4,
      types: numberTypes,
      connectionTimeoutMillis: 5_000,
      application_name: 'federation-hub search',
      // The planner takes a text vector for cheap. To make it again for each row that is looked at is what must never happen.
      options: `-c search_path=public -c enable_seqscan=off -c random_page_cost=1.1 -c jit=off
        -c statement_timeout=${statementMs} -c idle_in_transaction_session_timeout=5000`.replaceAll(/\s+/g, ' '),
    });
    this.#pool.on('error', () => {}); // an idle connection was lost: the next call takes another, and fails by itself if none can be had
  }

  async begin(logId: string, head: number): Promise<number> {
    await this.#prepare();
    return inTransaction(this.#pool, async (client) => {
      const there = await aboutIndex(client, 'FOR UPDATE');
      if (there && there.version > searchVersion) throw new Error('the search index is of a newer hub, and left to it');
      if (there?.logId === logId && there.version === searchVersion && there.position <= head) return there.position;
      await beginAnew(client, logId);
      return 0;
    });
  }

  async apply(documents: readonly SearchDocument[], from: number, to: number): Promise<void> {
    await inTransaction(this.#pool, async (client) => {
      const { rows } = await client.query<{ first: number }>(
        `UPDATE federation_search_about SET position = $1, documents = documents + $2 WHERE position = $3
         RETURNING documents - $2 AS first`,
        [to, documents.length, from],
      );
      if (!rows[0]) throw new Error(`the search index is not at ${from}: another replica went on with it`);
      const { first } = rows[0];
      if (documents.length === 0) return;
      const numbered = standing(documents.map((document, at) => [first + at, document]));
      await insert(client, (await replacing(client, numbered)).map(rowOf));
    });
  }

  async remove(what: Gone, most: number): Promise<number> {
    const [condition, value] =
      'subject' in what ? ['subject = $1', what.subject] : ['expires_at < $1', what.expiredBefore];
    if ('subject' in what) this.#traces = true;
    return inTransaction(this.#pool, async (client) => {
      const { rows } = await client.query<Pick<Row, 'number' | 'position' | 'kind' | 'id' | 'rank'>>(
        `DELETE FROM federation_search_documents WHERE number IN
           (SELECT number FROM federation_search_documents WHERE ${condition} LIMIT $2)
         RETURNING number, position, kind, id, rank`,
        [value, most],
      );
      const kept = rows.filter(({ rank }) => rank !== '').map((row) => ({ ...row, ...nothing }));
      if (kept.length > 0) await insert(client, kept);
      return rows.length;
    });
  }

  async settle(): Promise<void> {
    if (!this.#traces) return;
    const client = await this.#pool.connect();
    try {
      await client.query('SET statement_timeout = 0');
      await client.query('VACUUM federation_search_documents');
      this.#traces = false;
    } finally {
      client.release(true); // with its settings
    }
  }

  async position(logId: string): Promise<number | undefined> {
    await this.#prepare();
    const there = await aboutIndex(this.#pool);
    return there?.logId === logId && there.version === searchVersion ? there.position : undefined;
  }

  async newest(upTo: { readonly position: number } | { readonly number: number }): Promise<Place | undefined> {
    const [column, value] = 'position' in upTo ? ['position', upTo.position] : ['number', upTo.number];
    const { rows } = await this.#pool.query<Place>(
      `SELECT number, position FROM federation_search_documents WHERE ${column} <= $1 ORDER BY ${column} DESC LIMIT 1`,
      [value],
    );
    return rows[0];
  }

  async having(words: readonly HavingWord[], range: NumberRange): Promise<number[]> {
    const slices = slicesOf(range);
    const counts = words.map((_, at) => {
      return `(SELECT count(*) FROM federation_search_documents WHERE ${vector} @@ $${at + 3}::tsquery AND ${within}) AS n${at}`;
    });
    const { rows } = await this.#pool.query<number[]>({
      text: `SELECT ${counts.join(', ')}`,
      values: [range.from, range.to, ...words.map((word) => `${tsqueryWord(word)} & ${slices}`)],
      rowMode: 'array',
    });
    return rows[0]!; // one row, whatever is counted
  }

  async matching(plan: SearchPlan, { from, to }: NumberRange, { most, letters }: Bounds): Promise<Matching> {
    const candidates: Candidate[] = [];
    let left = letters;
    let slices = to % sliceSize < sliceSize / 2 ? 2 : 1;
    for (let end = to; end >= from; ) {
      const start = Math.max(from, (Math.floor(end / sliceSize) - slices + 1) * sliceSize);
      const bounds = { most: most - candidates.length + 1, letters: left };
      const { rows, cut } = await this.#newestMatching(plan, { from: start, to: end }, bounds);
      for (const { id, position, title, text } of rows) {
        candidates.push({ id, position, title, text });
        left -= title.length + text.length;
      }
      if (candidates.length > most) return { candidates: candidates.slice(0, most), more: true };
      if (cut || left <= 0) return { candidates, more: cut || start > from };
      slices = slicesFor(most + 1 - candidates.length, candidates.length / (to - start + 1), start - from);
      end = start - 1;
    }
    return { candidates, more: false };
  }

  async close(): Promise<void> {
    if (!this.#pool.ended) await this.#pool.end();
  }

  /** In one question; `cut`: there were more, but not so few letters. */
  async #newestMatching(
    plan: SearchPlan,
    range: NumberRange,
    { most, letters }: Bounds,
  ): Promise<{ rows: Found[]; cut: boolean }> {
    const match = tsqueryMatch(plan);
    const few = range.to - range.from < namedSlices * sliceSize;
    const check = checkOf(plan, 'strpos');
    const first = [range.from, range.to, few ? `(${match}) & ${slicesOf(range)}` : match, most, letters];
    let at = first.length;
    const checked = check?.sql.replaceAll('?', () => `$${++at}`);
    const { rows } = await this.#pool.query<Found>(
      `SELECT document.id, document.position, document.title, document.text, matching FROM (
         SELECT number, sum(letters) OVER (ORDER BY number DESC) - letters AS before, count(*) OVER () AS matching FROM (
           SELECT number, letters FROM federation_search_documents
           WHERE ${vector} @@ $3::tsquery AND ${within} ${checked ? `AND ${checked}` : ''}
           ORDER BY number + 0 DESC LIMIT $4) AS newest) AS counted
       JOIN federation_search_documents AS document USING (number) WHERE before < $5 ORDER BY number DESC`,
      [...first, ...(check?.values ?? [])],
    );
    return { rows, cut: rows.length < (rows[0]?.matching ?? 0) };
  }

  #prepare(): Promise<void> {
    this.#prepared ??= prepareTables(this.#pool).catch((error: unknown) => {
      this.#prepared = undefined;
      throw error;
    });
    return this.#prepared;
  }
}

/** Not by the index of numbers: the words are what narrows it down. */
const within = 'number + 0 BETWEEN $1 AND $2';

interface Found extends Candidate {
  /** All that matched, at most so many as were asked for. */
  readonly matching: number;
}

/** How many slices to ask for next, if in those that are left matches are as dense as in those before. */
function slicesFor(wanted: number, density: number, left: number): number {
  if (density * left <= spare * wanted) return Number.POSITIVE_INFINITY;
  return Math.min(namedSlices, Math.ceil((1.25 * wanted) / (density * sliceSize)));
}

function slicesOf({ from, to }: NumberRange): string {
  const names: string[] = [];
  for (let number = from; slice(number) !== slice(to); number += sliceSize) names.push(slice(number));
  return `(${[...names, slice(to)].map((name) => `'${name}'`).join(' | ')})`;
}

type Row = Kept & { readonly number: number } & Pick<SearchDocument, 'position' | 'kind' | 'id' | 'rank'>;

function rowOf([number, document]: readonly [number, SearchDocument]): Row {
  const { position, kind, id, rank, gone } = document;
  const about = { number, position, kind, id, rank };
  if (gone) return { ...about, ...nothing };
  const kept = keptOf(document);
  return { ...about, ...kept, labels: kept.labels + marked([slice(number)]) };
}

type Numbered = readonly [number: number, document: SearchDocument];

/** Of documents with one name the one that stands, as if they had come one by one. */
function standing(documents: readonly Numbered[]): Numbered[] {
  const byName = new Map<string, Numbered>();
  for (const numbered of documents) {
    const [, { kind, id, rank }] = numbered;
    const name = `${kind} ${id}`;
    const before = byName.get(name);
    if (before && before[1].rank > rank) continue;
    byName.set(name, numbered);
  }
  return [...byName.values()];
}

/** Takes away what these replace; answers those that are to be kept. */
async function replacing(client: pg.PoolClient, documents: readonly Numbered[]): Promise<Numbered[]> {
  const names = [
    documents.map(([, { kind }]) => kind),
    documents.map(([, { id }]) => id),
    documents.map(([, { rank }]) => rank),
  ];
  const named = 'unnest($1::text[], $2::text[], $3::text[]) AS came (kind, id, rank)';
  const same = 'there.kind = came.kind AND there.id = came.id';
  await client.query(
    `DELETE FROM federation_search_documents AS there USING ${named} WHERE ${same} AND there.rank <= came.rank COLLATE "C"`,
    names,
  );
  const { rows } = await client.query<{ kind: string; id: string }>(
    `SELECT there.kind, there.id FROM ${named} JOIN federation_search_documents AS there ON ${same}`,
    names,
  );
  const higher = new Set(rows.map(({ kind, id }) => `${kind} ${id}`));
  return documents.filter(([, { kind, id }]) => !higher.has(`${kind} ${id}`));
}

async function insert(client: pg.PoolClient, rows: readonly Row[]): Promise<void> {
  const column = <T>(of: (row: Row) => T) => rows.map(of);
  await client.query(
    `INSERT INTO federation_search_documents
       (number, position, kind, id, rank, subject, expires_at, labels, title, text, letters)
     SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[],
       $8::text[], $9::text[], $10::text[], $11::int[])`,
    [
      column((row) => row.number),
      column((row) => row.position),
      column((row) => row.kind),
      column((row) => row.id),
      column((row) => row.rank),
      column((row) => row.subject),
      column((row) => row.expiresAt),
      column((row) => row.labels),
      column((row) => row.title),
      column((row) => row.text),
      column(({ title, text }) => title.length + text.length),
    ],
  );
}
