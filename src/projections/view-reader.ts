/** The reading side of the views, as the main thread has it: a port over both databases, and what turns JSON columns into values. */
import type {
  Kysely,
  KyselyPlugin,
  PluginTransformQueryArgs,
  PluginTransformResultArgs,
  QueryResult,
  RootOperationNode,
  UnknownRow,
} from 'kysely';
import { allProjections, jsonColumns, type ViewTables } from './catalog.ts';
import type { ViewsDigest } from './digest.ts';
import type { RebuildNote } from './generation.ts';
import type { ProjectorState } from './projector.ts';

/** Where the views that serve stand. */
export interface Standing {
  readonly generation: number;
  readonly position: number;
  readonly rebuild: { readonly rebuildId: string; readonly position: number; readonly target: number } | null;
}

/** All rows of a table as they are stored, and the checkpoint they stand at, of one moment. */
export interface StoredSnapshot {
  readonly logId: string;
  readonly fingerprint: string;
  readonly position: number;
  readonly rows: readonly Record<string, unknown>[];
  /** Ids of the dead letters of this view. */
  readonly parkedIds: readonly string[];
}

export interface ViewReader {
  readonly db: Kysely<ViewTables>;
  standing(): Promise<Standing>;
  snapshot(table: string): Promise<StoredSnapshot>;
  digest(): Promise<ViewsDigest>;
  /** The projector of this process moved: what is read from now on must be at least as new. */
  moved(state: ProjectorState): void;
  close(): Promise<void>;
}

/** Progress of a rebuild, from the note of the generation that serves and the position of the one being filled. */
export function rebuildProgress(note: RebuildNote | null, filled: number): Standing['rebuild'] {
  return note && { rebuildId: note.rebuildId, position: filled, target: note.target };
}

/** Parses columns that hold JSON, by their names; a column selected under another name stays text. */
export class JsonColumns implements KyselyPlugin {
  readonly #names: readonly string[] = [...jsonColumns(allProjections)];

  transformQuery(args: PluginTransformQueryArgs): RootOperationNode {
    return args.node;
  }

  async transformResult({ result }: PluginTransformResultArgs): Promise<QueryResult<UnknownRow>> {
    for (const row of result.rows) {
      for (const name of this.#names) {
        const value = row[name];
        if (typeof value === 'string') row[name] = JSON.parse(value);
      }
    }
    return result;
  }
}
