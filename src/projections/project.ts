/**
 * Projecting: a page of the log, folded in memory over the rows it touches, becomes one batch of changes.
 *
 * Rows are loaded in one statement a table, folded in the order of the log, and only the last state of each is written, so
 * that a thousand heartbeats of a hundred nodes cost a hundred upserts. Nothing here writes: the batch is committed with
 * its checkpoint by a generation (generation.ts), and until then nothing that can be seen has changed.
 */
import { createHash } from 'node:crypto';
import { catalog, decode, type EventType, type LogEvent, NewerEvent } from '../events/catalog.ts';
import type { Page, Recorded } from '../events/log.ts';
import type { AnyProjection, DeadLetter, Row } from './catalog.ts';
import type { FoldContext, TableSpec } from './define.ts';
import { fitting, fittingText } from './rows.ts';

/** What one page changes. `null` deletes a row. */
export interface Batch {
  /** Everything up to here is in. */
  readonly through: number;
  /** Events in the page, handled or not. */
  readonly events: number;
  readonly changes: ReadonlyMap<TableSpec, ReadonlyMap<string, Row | null>>;
  /** Dead letters that are new or grew, by id. */
  readonly parked: ReadonlyMap<string, DeadLetter>;
  readonly rebuildRequests: readonly LogEvent<'views.rebuild-requested'>[];
}

/** What a page is folded over. */
export interface Ground {
  readonly parked: ReadonlyMap<string, DeadLetter>;
  load(table: TableSpec, keys: readonly string[]): Promise<ReadonlyMap<string, Row>>;
}

/** Folds a page. Throws `NewerEvent` when it holds a fact of a newer hub; a fold that throws only parks its stream. */
export async function foldPage(
  page: Page,
  views: readonly AnyProjection[],
  ground: Ground,
  context: FoldContext,
): Promise<Batch> {
  const parked = new Map<string, DeadLetter>();
  const read = readPage(page, views);
  const changes = new Map<TableSpec, Map<string, Row | null>>();
  await Promise.all(
    views.map(async (view) => {
      const touched = await foldView(view, read, ground, parked, context);
      if (touched.size > 0) changes.set(view.table, touched);
    }),
  );
  const requests = read.filter(({ event }) => event?.type === 'views.rebuild-requested').map(({ event }) => event);
  return {
    through: page.through,
    events: page.events.length,
    changes,
    parked,
    rebuildRequests: requests as LogEvent<'views.rebuild-requested'>[], // filtered by that type above
  };
}

interface Read {
  readonly recorded: Recorded;
  readonly event?: LogEvent;
  /** Why it could not be read. */
  readonly failure?: unknown;
}

/** Decodes what any view handles. The rest is only checked for being known. */
function readPage(page: Page, views: readonly AnyProjection[]): Read[] {
  const wanted = new Set<string>(['views.rebuild-requested', ...views.flatMap((view) => Object.keys(view.on))]);
  const read: Read[] = [];
  for (const recorded of page.events) {
    if (!wanted.has(recorded.type)) {
      const spec = catalog[recorded.type as EventType]; // undefined for a type not known here
      if (spec === undefined || recorded.version > spec.version) throw new NewerEvent(recorded);
      continue;
    }
    try {
      read.push({ recorded, event: decode(recorded) });
    } catch (failure) {
      if (failure instanceof NewerEvent) throw failure;
      read.push({ recorded, failure });
    }
  }
  return read;
}

async function foldView(
  view: AnyProjection,
  read: readonly Read[],
  ground: Ground,
  parked: Map<string, DeadLetter>,
  context: FoldContext,
): Promise<Map<string, Row | null>> {
  const mine: { read: Read; key: string | undefined; failure: unknown }[] = [];
  const keys = new Set<string>();
  for (const each of read) {
    const handler = view.on[each.recorded.type as EventType]; // a type that no handler lists gives undefined
    if (!handler) continue;
    let key: string | undefined;
    let failure = each.failure;
    try {
      if (each.event) {
        key = fittingText(handler.key(each.event, context));
        keys.add(key);
      }
    } catch (error) {
      failure = error;
    }
    mine.push({ read: each, key, failure });
  }
  if (mine.length === 0) return new Map();
  const rows = new Map<string, Row | null>(keys.size > 0 ? await ground.load(view.table, [...keys]) : []);
  const touched = new Map<string, Row | null>();
  for (const { read: each, key, failure } of mine) {
    const id = deadLetterId(view, each.recorded.stream);
    const known = parked.get(id) ?? ground.parked.get(id);
    if (known) {
      parked.set(id, { ...known, events: known.events + 1, last_position: each.recorded.position });
      continue;
    }
    try {
      if (each.event === undefined || key === undefined) throw failure;
      const before = rows.get(key) ?? undefined;
      const after = foldOne(view, key, before, each.event, context);
      if (after === before) continue;
      rows.set(key, after ?? null);
      touched.set(key, after ?? null);
    } catch (error) {
      parked.set(id, deadLetter(view, each.recorded, error));
    }
  }
  return touched;
}

/** One event over one row: the row as it will be, undefined when there is none. The same row means nothing changed. */
export function foldOne(
  view: AnyProjection,
  key: string,
  before: Row | undefined,
  event: LogEvent,
  context: FoldContext,
): Row | undefined {
  const after = view.on[event.type]!.fold(before, event, context);
  if (after === null) return undefined;
  if (after === undefined || after === before) return before;
  const row = fitting(view.table, after);
  if (row[view.table.key] !== key)
    throw new TypeError(`the fold of ${event.type} answered another row than its key names`);
  return row;
}

/** Names the dead letters of one view and stream. */
export function deadLetterId(view: AnyProjection, stream: string): string {
  const name = fittingText(stream);
  // A name too long for an index stands in by its hash.
  return `${view.table.name}/${name.length <= 400 ? name : createHash('sha256').update(name).digest('hex')}`;
}

function deadLetter(view: AnyProjection, { stream, position, time }: Recorded, error: unknown): DeadLetter {
  const reason = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return {
    id: deadLetterId(view, stream),
    view: view.table.name,
    stream: fittingText(stream),
    position,
    time,
    error: fittingText(reason.slice(0, 500)),
    events: 1,
    last_position: position,
  };
}

/** Where segments start, for folds. Positions count from 1. */
export function foldContext(segmentSize: number): FoldContext {
  return { segmentOf: (position) => 1 + Math.floor((position - 1) / segmentSize) * segmentSize };
}
