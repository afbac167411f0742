/**
 * What is known, as it stands now: each memory with the version that is shown, and those that are concurrent with it. What they say lies
 * with the versions, so that a walk over all memories is a walk over short rows.
 */
import type { Kysely } from 'kysely';
import type { LogEvent } from '../events/catalog.ts';
import type { Foreign } from '../events/memory.ts';
import { foreignEnd, replaces, subjectOf } from '../knowledge.ts';
import type { ViewTables } from './catalog.ts';
import { projection } from './define.ts';

/** A version that none replaces, with all that says who may have it. */
export interface MemoryHead {
  readonly version: string;
  readonly clock: string;
  readonly author: string;
  readonly deleted: boolean;
  readonly category: string;
  readonly tags: readonly string[];
  readonly subject: string;
  readonly subject_position: number;
  readonly foreign?: Foreign;
  /** Of the key that sealed it; a tombstone has none. */
  readonly key_id?: string;
}

export interface MemoryRow {
  memory_id: string;
  /** The one that is shown: of the heads the one with the highest clock. */
  version: string;
  clock: string;
  owner: string;
  author: string;
  /** Under whose sovereignty it is: a node, or `@federation`; of a foreign one, the node that brought it. */
  subject: string;
  /** What makes it theirs: of a foreign version that fact, else the first of the memory. */
  subject_position: number;
  category: string;
  tags: string[];
  /** It is a tombstone: 1, else 0. */
  deleted: number;
  /** Of the key that sealed it. */
  key_id: string | null;
  content_hash: string | null;
  bytes: number;
  origin: Foreign | null;
  /** All of them, the highest clock first. */
  heads: MemoryHead[];
  head_count: number;
  created_at: string;
  created_position: number;
  updated_at: string;
  /** Of the newest fact. */
  updated_position: number;
  /** When the last of what came from another federation may be kept no longer, milliseconds since 1970; null: none of it ends, or not all. */
  ends_ms: number | null;
}

type Version = LogEvent<'memory.stored' | 'memory.deleted'>;

export const memories = projection<MemoryRow>({
  table: {
    name: 'federation_memories',
    key: 'memory_id',
    columns: {
      memory_id: 'text',
      version: 'text',
      clock: 'text',
      owner: 'text',
      author: 'text',
      subject: 'text',
      subject_position: 'integer',
      category: 'text',
      tags: 'json',
      deleted: 'integer',
      key_id: { type: 'text', nullable: true },
      content_hash: { type: 'text', nullable: true },
      bytes: 'integer',
      origin: { type: 'json', nullable: true },
      heads: 'json',
      head_count: 'integer',
      created_at: 'text',
      created_position: 'integer',
      updated_at: 'text',
      updated_position: 'integer',
      ends_ms: { type: 'integer', nullable: true },
    },
    indexes: [
      ['deleted', 'updated_position'],
      ['owner', 'deleted', 'updated_position'],
      ['subject', 'category'],
      ['updated_position'],
      ['ends_ms'],
    ],
  },
  version: 2,
  on: {
    'memory.stored': { key: ({ data }) => data.memory_id, fold: withVersion },
    'memory.deleted': { key: ({ data }) => data.memory_id, fold: withVersion },
    'memory.let-go': { key: ({ data }) => data.memory_id, fold: () => null },
  },
});

function withVersion(row: MemoryRow | undefined, event: Version): MemoryRow | undefined {
  const { data, time, position } = event;
  const known = row?.heads ?? [];
  if (known.some((head) => head.version === data.version)) return row;
  const head = headOf(event, row?.created_position ?? position);
  const kept = known.filter((other) => !replaces(data, other));
  const heads = [...kept, head].sort((a, b) => (a.clock < b.clock ? 1 : -1));
  const changed = {
    heads,
    head_count: heads.length,
    updated_at: time,
    updated_position: position,
    ends_ms: endsOf(heads),
  };
  if (row && heads[0] !== head) return { ...row, ...changed };
  const stored = event.type === 'memory.stored' ? event.data : undefined;
  const { deleted, foreign, key_id = null, ...shown } = head;
  return {
    ...shown,
    memory_id: data.memory_id,
    owner: data.owner,
    tags: data.tags,
    deleted: deleted ? 1 : 0,
    key_id,
    content_hash: stored?.content_hash ?? null,
    bytes: stored?.bytes ?? 0,
    origin: foreign ?? null,
    created_at: row?.created_at ?? time,
    created_position: row?.created_position ?? position,
    ...changed,
  };
}

function endsOf(heads: readonly MemoryHead[]): number | null {
  const ends = heads.map(({ foreign }) => foreignEnd(foreign));
  return ends.every((end) => end !== undefined) ? Math.max(...ends) : null;
}

function headOf({ type, data, meta, position }: Version, created: number): MemoryHead {
  const { version, clock, author, category, tags, owner, foreign } = data;
  const subject = subjectOf(foreign ? meta.actor : owner);
  return {
    version,
    clock,
    author,
    deleted: type === 'memory.deleted',
    category,
    tags,
    subject,
    subject_position: foreign ? position : created,
    ...(foreign && { foreign }),
    ...('content' in data && { key_id: data.content.key_id }),
  };
}

export function findMemory(db: Kysely<ViewTables>, memoryId: string): Promise<MemoryRow | undefined> {
  return db.selectFrom('federation_memories').selectAll().where('memory_id', '=', memoryId).executeTakeFirst();
}
