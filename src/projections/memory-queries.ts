/** Memories as they are looked for, counted and walked over: what may be seen of them is part of the question. */
import { type ExpressionBuilder, type Kysely, sql } from 'kysely';
import type { ViewTables } from './catalog.ts';
import type { MemoryHead, MemoryRow } from './memories.ts';

/** A memory without what no reader needs. */
export type MemorySummary = Pick<MemoryRow, (typeof summary)[number]>;

const summary = [
  'memory_id',
  'version',
  'clock',
  'owner',
  'author',
  'subject',
  'subject_position',
  'category',
  'tags',
  'deleted',
  'content_hash',
  'bytes',
  'origin',
  'head_count',
  'created_at',
  'updated_at',
  'updated_position',
] as const;

/** At most 1,000 ids; those that are not there are left out. */
export function findSummaries(db: Kysely<ViewTables>, memoryIds: readonly string[]): Promise<MemorySummary[]> {
  return db.selectFrom('federation_memories').select(summary).where('memory_id', 'in', memoryIds).execute();
}

/** What a reader may see of one subject's: all that is younger than `since`, or only some categories, or some tags of these. */
export interface Visible {
  readonly subject: string;
  /** A position: what is older is of one that had the name before. */
  readonly since: number;
  /** As share rules name them; undefined: all. */
  readonly categories?: readonly string[];
  /** With one of these; undefined: with any, or none. */
  readonly tags?: readonly string[];
}

export interface MemoryFilter {
  readonly owner?: string | undefined;
  /** This category, and all below it. */
  readonly category?: string | undefined;
  /** With all of these. */
  readonly tags?: readonly string[] | undefined;
}

/** Memories that are there by the version that is shown, the last changed first, before a position, at most `limit`; of those that any of `visible` holds. */
export function findMemories(
  db: Kysely<ViewTables>,
  { owner, category, tags = [] }: MemoryFilter,
  visible: readonly Visible[],
  before: number,
  limit: number,
): Promise<MemorySummary[]> {
  let query = db
    .selectFrom('federation_memories')
    .select(summary)
    .where('deleted', '=', 0)
    .where('updated_position', '<', before)
    .where((build) => build.or(visible.map((some) => isVisible(build, some))));
  if (owner !== undefined) query = query.where('owner', '=', owner);
  if (category !== undefined) query = query.where((build) => isUnder(build, `${category}/*`));
  for (const tag of tags) query = query.where((build) => hasTag(build, tag));
  return query.orderBy('updated_position', 'desc').limit(limit).execute();
}

type Build = ExpressionBuilder<ViewTables, 'federation_memories'>;

function isVisible(build: Build, { subject, since, categories, tags }: Visible) {
  const all = [build('subject', '=', subject), build('subject_position', '>', since)];
  if (categories && !categories.includes('*')) {
    all.push(build.or(categories.map((pattern) => isUnder(build, pattern))));
  }
  if (tags) all.push(build.or(tags.map((tag) => hasTag(build, tag))));
  return build.and(all);
}

/** `a/b`: that category. `a/*`: a and all below it. */
function isUnder(build: Build, pattern: string) {
  if (!pattern.endsWith('/*')) return build('category', '=', pattern);
  const category = pattern.slice(0, -2);
  const below = build.and([build('category', '>', `${category}/`), build('category', '<', `${category}0`)]); // '0' follows '/'
  return build.or([build('category', '=', category), below]);
}

/** The list lies there as JSON: an item begins after '[' or ',', which within text no bare '"' follows. */
function hasTag(build: Build, tag: string) {
  const item = JSON.stringify(tag);
  return build.or([`[${item}`, `,${item}`].map((text) => holds(build, text)));
}

/** The one way that SQLite and PostgreSQL agree on, with no signs of special meaning. */
function holds(build: Build, text: string) {
  const without = build.fn<unknown>('replace', [build.ref('tags'), build.val(text), build.val('')]);
  return build(without, '<>', build.ref('tags'));
}

export interface MemoryCount {
  readonly all: number;
  readonly ofOwner: number;
}

/** Memories that are not deleted: all there are, and those of one owner. */
export async function countMemories(db: Kysely<ViewTables>, owner: string): Promise<MemoryCount> {
  const there = db
    .selectFrom('federation_memories')
    .select((build) => build.fn.countAll<number>().as('count'))
    .where('deleted', '=', 0);
  const [all, ofOwner] = await Promise.all([
    there.executeTakeFirstOrThrow(),
    there.where('owner', '=', owner).executeTakeFirstOrThrow(),
  ]);
  return { all: Number(all.count), ofOwner: Number(ofOwner.count) };
}

/** What a walk over all memories is told of each: its only head, or, when there are more, all of them as JSON. */
export interface WalkedMemory {
  readonly memory_id: string;
  readonly version: string;
  readonly clock: string;
  readonly category: string;
  readonly subject: string;
  readonly subject_position: number;
  readonly key_id: string | null;
  readonly owner: string;
  readonly deleted: number;
  /** JSON. */
  readonly tags_text: string;
  readonly origin_text: string | null;
  readonly heads_text: string | null;
}

export interface Walk {
  /** Only of these subjects; undefined: of all. */
  readonly subjects?: readonly string[] | undefined;
  /** Only what changed after this position, or is of one of `anew`. */
  readonly since?: number | undefined;
  readonly anew?: readonly string[] | undefined;
  readonly ids?: readonly string[] | undefined;
}

/**
 * Memories in order of id, after an id ('' for the first), tombstones too, at most `limit`. What they say is not read. A page comes as one
 * text: a hundred thousand memories are walked over for one sync, and rows would cost more than all else that is done with them.
 */
export async function walkMemories(
  db: Kysely<ViewTables>,
  { subjects, since, anew = [], ids }: Walk,
  after: string,
  limit: number,
): Promise<WalkedMemory[]> {
  let query = db
    .selectFrom('federation_memories')
    .select(['memory_id', walkedLine.as('line')])
    .where('memory_id', '>', after);
  // Of several heads any may be of another subject than the one that is shown.
  if (subjects)
    query = query.where((build) => build.or([build('subject', 'in', subjects), build('head_count', '>', 1)]));
  if (since !== undefined) {
    const changed = (build: Build) => build('updated_position', '>', since);
    query =
      anew.length > 0
        ? query.where((build) => build.or([changed(build), build('subject', 'in', anew)]))
        : query.where(changed);
  }
  if (ids) query = query.where('memory_id', 'in', ids);
  const page = query.orderBy('memory_id').limit(limit).as('page');
  const lines = sql<string | null>`string_agg(line, ${sql.lit('\n')} ORDER BY memory_id)`;
  const { text } = await db.selectFrom(page).select(lines.as('text')).executeTakeFirstOrThrow();
  return text === null ? [] : text.split('\n').map(walkedOf);
}

/** No column but the owner's may hold a tab or the end of a line: names, numbers and JSON have none. */
const tab = sql.lit('\t');
const column = (name: string) => sql`${sql.ref(name)}`;
const number = (name: string) => sql`CAST(${sql.ref(name)} AS text)`;
const orNone = (value: ReturnType<typeof column>) => sql`coalesce(${value}, '')`;
const walkedLine = sql<string>`${sql.join(
  [
    column('memory_id'),
    column('version'),
    column('clock'),
    column('category'),
    column('subject'),
    number('subject_position'),
    orNone(column('key_id')),
    number('deleted'),
    column('tags'),
    orNone(column('origin')),
    sql`CASE WHEN head_count > 1 THEN heads ELSE '' END`,
    sql`replace(replace(owner, ${sql.lit('\n')}, ' '), ${tab}, ' ')`,
  ],
  sql` || ${tab} || `,
)}`;

function walkedOf(line: string): WalkedMemory {
  const parts = line.split('\t');
  const part = (at: number) => parts[at]!; // the line has them all
  const some = (at: number) => (parts[at] === '' ? null : part(at));
  return {
    memory_id: part(0),
    version: part(1),
    clock: part(2),
    category: part(3),
    subject: part(4),
    subject_position: Number(part(5)),
    key_id: some(6),
    deleted: Number(part(7)),
    tags_text: part(8),
    origin_text: some(9),
    heads_text: some(10),
    owner: part(11),
  };
}

/** The heads of memories, by id, at most 1,000. */
export async function findHeads(
  db: Kysely<ViewTables>,
  memoryIds: readonly string[],
): Promise<Map<string, { readonly owner: string; readonly heads: readonly MemoryHead[] }>> {
  const rows = await db
    .selectFrom('federation_memories')
    .select(['memory_id', 'owner', 'heads'])
    .where('memory_id', 'in', memoryIds)
    .execute();
  return new Map(rows.map(({ memory_id, owner, heads }) => [memory_id, { owner, heads }]));
}

/** A memory with all its heads. */
export type MemoryHeads = Pick<MemoryRow, 'memory_id' | 'heads' | 'updated_position'>;

/** Memories that came from other federations, in order of id, after an id ('' for the first), at most `limit`; with `since`, those that changed after it. */
export function walkForeign(
  db: Kysely<ViewTables>,
  since: number | undefined,
  after: string,
  limit: number,
): Promise<MemoryHeads[]> {
  let query = db
    .selectFrom('federation_memories')
    .select(['memory_id', 'heads', 'updated_position'])
    .where('memory_id', '>', after)
    .where((build) => build.or([build('origin', 'is not', null), build('head_count', '>', 1)]));
  if (since !== undefined) query = query.where('updated_position', '>', since);
  return query.orderBy('memory_id').limit(limit).execute();
}

/** Ids of memories from other federations of which all may be kept no longer, at most `limit`. `now`: milliseconds since 1970. */
export async function findEnded(db: Kysely<ViewTables>, now: number, limit: number): Promise<string[]> {
  const rows = await db
    .selectFrom('federation_memories')
    .select('memory_id')
    .where('ends_ms', '<=', now)
    .orderBy('ends_ms')
    .limit(limit)
    .execute();
  return rows.map(({ memory_id }) => memory_id);
}
