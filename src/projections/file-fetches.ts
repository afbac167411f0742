/** Who had which file: part of it, or all? */
import type { Kysely } from 'kysely';
import type { LogEvent } from '../events/catalog.ts';
import type { ViewTables } from './catalog.ts';
import { projection, type Sweep } from './define.ts';

export interface FileFetchRow {
  /** File and actor, with a slash between them. */
  entry: string;
  file_id: string;
  /** The actor. */
  fetched_by: string;
  /** 1 when it had all of it. */
  whole: number;
  first_at: string;
  whole_at: string | null;
}

export const fileFetches = projection<FileFetchRow>({
  table: {
    name: 'federation_file_fetches',
    key: 'entry',
    columns: {
      entry: 'text',
      file_id: 'text',
      fetched_by: 'text',
      whole: 'integer',
      first_at: 'text',
      whole_at: { type: 'text', nullable: true },
    },
  },
  version: 1,
  on: {
    'file.fetched': {
      key: ({ data }) => `${data.file_id}/${data.by}`,
      fold: (row, { data: { file_id, by, whole, late }, time }, _context, key) =>
        late
          ? null // the rows of the file were taken away before
          : {
              entry: key,
              file_id,
              fetched_by: by,
              whole: whole || row?.whole ? 1 : 0,
              first_at: row?.first_at ?? time,
              whole_at: row?.whole_at ?? (whole ? time : null),
            },
    },
  },
  sweep: { 'file.expired': ofFile, 'file.removed': ofFile },
});

/** All rows of a file; actors are ASCII, and no letter of them is behind `~`. */
function ofFile({ data }: LogEvent<'file.expired' | 'file.removed'>): Sweep {
  return { from: `${data.file_id}/`, to: `${data.file_id}/~` };
}

/** In order of actors, at most `limit`. */
export function findFetches(db: Kysely<ViewTables>, fileId: string, limit: number): Promise<FileFetchRow[]> {
  return db
    .selectFrom('federation_file_fetches')
    .selectAll()
    .where('entry', '>', `${fileId}/`)
    .where('entry', '<', `${fileId}/~`)
    .orderBy('entry')
    .limit(limit)
    .execute();
}
