/** What did each version of each memory say? One row a version. */
import type { Kysely } from 'kysely';
import type { LogEvent } from '../events/catalog.ts';
import type { Foreign } from '../events/memory.ts';
import type { Sealed } from '../events/sealed.ts';
import { subjectOf } from '../knowledge.ts';
import type { ViewTables } from './catalog.ts';
import { projection } from './define.ts';

export interface MemoryVersionRow {
  version: string;
  memory_id: string;
  clock: string;
  owner: string;
  author: string;
  /** Under whose sovereignty it is: a node, or `@federation`; of a foreign one, the node that brought it. */
  subject: string;
  category: string;
  tags: string[];
  deleted: number;
  sealed_content: Sealed | null;
  content_hash: string | null;
  bytes: number;
  seen: Record<string, string>;
  origin: Foreign | null;
  written_at: string;
  written_position: number;
}

type Version = LogEvent<'memory.stored' | 'memory.deleted'>;

export const memoryVersions = projection<MemoryVersionRow>({
  table: {
    name: 'federation_memory_versions',
    key: 'version',
    columns: {
      version: 'text',
      memory_id: 'text',
      clock: 'text',
      owner: 'text',
      author: 'text',
      subject: 'text',
      category: 'text',
      tags: 'json',
      deleted: 'integer',
      sealed_content: { type: 'json', nullable: true },
      content_hash: { type: 'text', nullable: true },
      bytes: 'integer',
      seen: 'json',
      origin: { type: 'json', nullable: true },
      written_at: 'text',
      written_position: 'integer',
    },
    indexes: [['memory_id', 'clock']],
    appendOnly: true,
  },
  version: 1,
  on: {
    'memory.stored': { key: ({ data }) => data.version, fold: rowOf },
    'memory.deleted': { key: ({ data }) => data.version, fold: rowOf },
  },
  sweep: {
    'memory.let-go': ({ data }) => ({ from: '0', to: 'g', only: { column: 'memory_id', value: data.memory_id } }),
  },
});

function rowOf(_none: MemoryVersionRow | undefined, event: Version): MemoryVersionRow {
  const { memory_id, version, clock, owner, author, category, tags, seen, foreign } = event.data;
  const stored = event.type === 'memory.stored' ? event.data : undefined;
  return {
    version,
    memory_id,
    clock,
    owner,
    author,
    subject: subjectOf(foreign ? event.meta.actor : owner),
    category,
    tags,
    deleted: stored ? 0 : 1,
    sealed_content: stored?.content ?? null,
    content_hash: stored?.content_hash ?? null,
    bytes: stored?.bytes ?? 0,
    seen,
    origin: foreign ?? null,
    written_at: event.time,
    written_position: event.position,
  };
}

/** A version without what it says. */
export type VersionSummary = Omit<MemoryVersionRow, 'sealed_content' | 'seen'>;

const summary = [
  'version',
  'memory_id',
  'clock',
  'owner',
  'author',
  'subject',
  'category',
  'tags',
  'deleted',
  'content_hash',
  'bytes',
  'origin',
  'written_at',
  'written_position',
] as const satisfies (keyof VersionSummary)[];

/** The versions of a memory, the newest first: those before a clock ('' for all), at most `limit`. */
export function findVersions(
  db: Kysely<ViewTables>,
  memoryId: string,
  before: string,
  limit: number,
): Promise<VersionSummary[]> {
  let query = db.selectFrom('federation_memory_versions').select(summary).where('memory_id', '=', memoryId);
  if (before !== '') query = query.where('clock', '<', before);
  return query.orderBy('clock', 'desc').limit(limit).execute();
}

/** Versions by their ids, in no order; those that are not there are left out. At most 500 ids. */
export function findVersionsById(db: Kysely<ViewTables>, versions: readonly string[]): Promise<MemoryVersionRow[]> {
  return db.selectFrom('federation_memory_versions').selectAll().where('version', 'in', versions).execute();
}

/** Of which memory a version is, and how large what it says is. */
export type VersionPlace = Pick<MemoryVersionRow, 'version' | 'memory_id' | 'bytes'>;

/** As `findVersionsById`, without what they say. */
export function findPlaces(db: Kysely<ViewTables>, versions: readonly string[]): Promise<VersionPlace[]> {
  return db
    .selectFrom('federation_memory_versions')
    .select(['version', 'memory_id', 'bytes'])
    .where('version', 'in', versions)
    .execute();
}

/** What a version says but for its content: as much as its id is made of, and how it came here. */
export type StatedVersion = Omit<MemoryVersionRow, 'sealed_content' | 'bytes' | 'written_at' | 'written_position'>;

/** As `findVersionsById`, without what they say. */
export function findStated(db: Kysely<ViewTables>, versions: readonly string[]): Promise<StatedVersion[]> {
  return db
    .selectFrom('federation_memory_versions')
    .select(['version', 'memory_id', 'clock', 'owner', 'author', 'subject', 'category', 'tags', 'deleted'])
    .select(['content_hash', 'seen', 'origin'])
    .where('version', 'in', versions)
    .execute();
}

/** What versions say, sealed, of those that have so many bytes at most. At most 1,000 ids. */
export async function findContents(
  db: Kysely<ViewTables>,
  versions: readonly string[],
  mostBytes: number,
): Promise<Map<string, Sealed>> {
  if (versions.length === 0) return new Map();
  const rows = await db
    .selectFrom('federation_memory_versions')
    .select(['version', 'sealed_content'])
    .where('version', 'in', versions)
    .where('bytes', '<=', mostBytes)
    .execute();
  return new Map(rows.flatMap(({ version, sealed_content }) => (sealed_content ? [[version, sealed_content]] : [])));
}
