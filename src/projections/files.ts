/** Which files are there or on their way, whose are they, and for whom? Rows go when their file is gone. */
import type { ExpressionBuilder, Kysely } from 'kysely';
import type { FileAddress } from '../events/file.ts';
import type { ViewTables } from './catalog.ts';
import { projection } from './define.ts';

export interface FileRow {
  file_id: string;
  /** `node:<id>` or `operator:<prefix>`. */
  owner: string;
  /** The stream that its facts lie in. */
  shelf: string;
  /** `open`: bytes may still come. */
  status: 'open' | 'stored';
  name: string;
  media_type: string;
  size: number;
  /** Of what is stored. */
  sha256: string | null;
  recipient: FileAddress;
  /** `node:<id>`, `channel:<name>`, `role:<role>` or `everyone`. */
  box: string;
  /** 1: each recipient may have it once. */
  once: number;
  expires_at: string;
  /** Of what is open. */
  upload_until: string | null;
  begun_at: string;
  begun_position: number;
  stored_at: string | null;
  stored_position: number | null;
}

export const files = projection<FileRow>({
  table: {
    name: 'federation_files',
    key: 'file_id',
    columns: {
      file_id: 'text',
      owner: 'text',
      shelf: 'text',
      status: 'text',
      name: 'text',
      media_type: 'text',
      size: 'integer',
      sha256: { type: 'text', nullable: true },
      recipient: 'json',
      box: 'text',
      once: 'integer',
      expires_at: 'text',
      upload_until: { type: 'text', nullable: true },
      begun_at: 'text',
      begun_position: 'integer',
      stored_at: { type: 'text', nullable: true },
      stored_position: { type: 'integer', nullable: true },
    },
    indexes: [
      ['owner', 'begun_position'],
      ['box', 'begun_position'],
      ['begun_position'],
      ['sha256'],
      ['expires_at'],
      ['upload_until'],
      ['shelf', 'owner'],
    ],
  },
  version: 1,
  on: {
    'file.begun': {
      key: ({ data }) => data.file_id,
      fold: (_row, { data, time, position, stream }) => ({
        file_id: data.file_id,
        owner: data.owner,
        shelf: stream,
        status: 'open',
        name: data.name,
        media_type: data.media_type,
        size: data.size,
        sha256: null,
        recipient: data.to,
        box: data.box,
        once: data.once ? 1 : 0,
        expires_at: data.expires_at,
        upload_until: data.upload_until,
        begun_at: time,
        begun_position: position,
        stored_at: null,
        stored_position: null,
      }),
    },
    'file.stored': {
      key: ({ data }) => data.file_id,
      fold: (row, { data: { sha256 }, time, position }) =>
        row && { ...row, status: 'stored', sha256, upload_until: null, stored_at: time, stored_position: position },
    },
    'file.refused': { key: ({ data }) => data.file_id, fold: () => null },
    'file.abandoned': { key: ({ data }) => data.file_id, fold: () => null },
    'file.expired': { key: ({ data }) => data.file_id, fold: () => null },
    'file.removed': { key: ({ data }) => data.file_id, fold: () => null },
  },
});

export function findFile(db: Kysely<ViewTables>, fileId: string): Promise<FileRow | undefined> {
  return db.selectFrom('federation_files').selectAll().where('file_id', '=', fileId).executeTakeFirst();
}

/** Whether a stored file has these bytes. */
export async function isNamed(db: Kysely<ViewTables>, sha256: string): Promise<boolean> {
  const row = await db.selectFrom('federation_files').select('file_id').where('sha256', '=', sha256).limit(1);
  return (await row.executeTakeFirst()) !== undefined;
}

/** Of some hashes, those that stored files have. */
export async function namedAmong(db: Kysely<ViewTables>, hashes: readonly string[]): Promise<Set<string>> {
  if (hashes.length === 0) return new Set();
  const rows = await db.selectFrom('federation_files').select('sha256').where('sha256', 'in', hashes).execute();
  return new Set(rows.flatMap(({ sha256 }) => sha256 ?? []));
}

/** Of some files, those whose bytes may still come. */
export async function openAmong(db: Kysely<ViewTables>, fileIds: readonly string[]): Promise<Set<string>> {
  if (fileIds.length === 0) return new Set();
  const rows = await db
    .selectFrom('federation_files')
    .select('file_id')
    .where('file_id', 'in', fileIds)
    .where('status', '=', 'open')
    .execute();
  return new Set(rows.map(({ file_id }) => file_id));
}

/** Some of those whose time, or whose time to come, was over at `now`, ISO 8601. In no order: SQLite would walk all rows for one. */
export function findOver(db: Kysely<ViewTables>, now: string, limit: number): Promise<FileRow[]> {
  return db
    .selectFrom('federation_files')
    .selectAll()
    .where(({ or, eb }) => or([eb('expires_at', '<=', now), eb('upload_until', '<=', now)]))
    .limit(limit)
    .execute();
}

/** Whose files there are: owners with their streams, after a stream ('' for the first). */
export function findShelves(
  db: Kysely<ViewTables>,
  after: string,
  limit: number,
): Promise<Pick<FileRow, 'owner' | 'shelf'>[]> {
  return db
    .selectFrom('federation_files')
    .select(['owner', 'shelf'])
    .distinct()
    .where('shelf', '>', after)
    .orderBy('shelf')
    .limit(limit)
    .execute();
}

/** The files of one stream. */
export function findOnShelf(db: Kysely<ViewTables>, shelf: string, limit: number): Promise<FileRow[]> {
  return db.selectFrom('federation_files').selectAll().where('shelf', '=', shelf).limit(limit).execute();
}

/** What someone may see of files. */
export interface FileSight {
  readonly actor: string;
  /** What is older is of one that had the name before. */
  readonly since: number;
  /** Boxes whose content is for it, each with the position after which. */
  readonly boxes: readonly (readonly [box: string, since: number])[];
  /** It sees all. */
  readonly all: boolean;
}

export interface FileFilter {
  /** `sent`: its own. `received`: what is for it. Unsaid: both, and all of whoever may see all. */
  readonly direction?: 'sent' | 'received' | undefined;
  readonly status?: FileRow['status'] | undefined;
}

/** The newest first, before a position, at most `limit`. `now`: ISO 8601; what is over by then is left out. */
export function findFiles(
  db: Kysely<ViewTables>,
  sight: FileSight,
  { direction, status }: FileFilter,
  { before, now, limit }: { readonly before: number; readonly now: string; readonly limit: number },
): Promise<FileRow[]> {
  let query = db
    .selectFrom('federation_files')
    .selectAll()
    .where('begun_position', '<', before)
    .where('expires_at', '>', now);
  if (status) query = query.where('status', '=', status);
  if (direction || !sight.all) query = query.where((where) => within(where, sight, direction));
  return query.orderBy('begun_position', 'desc').limit(limit).execute();
}

function within(
  { or, and, eb }: ExpressionBuilder<ViewTables, 'federation_files'>,
  { actor, since, boxes }: FileSight,
  direction: FileFilter['direction'],
) {
  const sent = and([eb('owner', '=', actor), eb('begun_position', '>', since)]);
  const received = boxes.map(([box, after]) =>
    and([
      eb('box', '=', box),
      eb('status', '=', 'stored'),
      eb('stored_position', '>', after),
      eb('owner', '!=', actor),
    ]),
  );
  if (direction === 'sent') return sent;
  return or(direction === 'received' ? received : [sent, ...received]);
}
