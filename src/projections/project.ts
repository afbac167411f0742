/**
 * Projecting: a page of the log, folded in memory over the rows it touches, becomes one batch of changes.
 *
 * Rows are loaded in one statement a table, folded in the order of the log, and only the last state of each is written, so
 * that a thousand heartbeats of a hundred nodes cost a hundred upserts. Nothing here writes: the batch is committed with
 * its checkpoint by a generation (generation.ts), and until then nothing that can be seen has changed.
 */
import { createHash } from 'node:crypto';
import type { LogEvent } from '../events/catalog.ts';
import { decode, NewerEvent, newestOf } from '../events/decode.ts';
import type { Page, Recorded } from '../events/log.ts';
import type { AnyProjection, DeadLetter, Row } from './catalog.ts';
import type { FoldContext, Sweep, TableSpec } from './define.ts';
import { fitting, fittingText } from './rows.ts';

/** What one page changes. `null` deletes a row. */
export interface Batch {
  /** Everything up to here is in. */
  readonly through: number;
  /** Events in the page, handled or not. */
  readonly events: number;
  readonly changes: ReadonlyMap<TableSpec, ReadonlyMap<string, Row | null>>;
  /** What is taken away before the changes are written. */
  readonly sweeps: ReadonlyMap<TableSpec, readonly Sweep[]>;
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
  const { byView, rebuildRequests } = readPage(page, views);
  const parked = new Map<string, DeadLetter>();
  const changes = new Map<TableSpec, Map<string, Row | null>>();
  const sweeps = new Map<TableSpec, Sweep[]>();
  for (const [view, read] of byView) {
    const { touched, swept } = await foldView(view, read, ground, parked, context);
    if (touched.size > 0) changes.set(view.table, touched);
    if (swept.length > 0) sweeps.set(view.table, swept);
  }
  return { through: page.through, events: page.events.length, changes, sweeps, parked, rebuildRequests };
}

interface Read {
  readonly recorded: Recorded;
  /** Undefined when its data could not be read. */
  readonly event: LogEvent | undefined;
  /** Why not. */
  readonly failure: unknown;
}

/** Decodes what any view handles, once, and deals it out to the views. The rest is only checked for being known. */
function readPage(page: Page, views: readonly AnyProjection[]) {
  const routes = routesOf(views);
  const byView = new Map<AnyProjection, Read[]>();
  const rebuildRequests: LogEvent<'views.rebuild-requested'>[] = [];
  for (const recorded of page.events) {
    const wanting = routes.get(recorded.type);
    if (!wanting && recorded.type !== 'views.rebuild-requested') {
      newestOf(recorded);
      continue;
    }
    const read = readEvent(recorded);
    if (read.event?.type === 'views.rebuild-requested') rebuildRequests.push(read.event);
    for (const view of wanting ?? []) {
      const mine = byView.get(view);
      if (mine) mine.push(read);
      else byView.set(view, [read]);
    }
  }
  return { byView, rebuildRequests };
}

function readEvent(recorded: Recorded): Read {
  try {
    return { recorded, event: decode(recorded), failure: undefined };
  } catch (failure) {
    if (failure instanceof NewerEvent) throw failure;
    return { recorded, event: undefined, failure };
  }
}

const knownRoutes = new WeakMap<readonly AnyProjection[], ReadonlyMap<string, readonly AnyProjection[]>>();

/** Which views handle which type. */
function routesOf(views: readonly AnyProjection[]): ReadonlyMap<string, readonly AnyProjection[]> {
  let routes = knownRoutes.get(views);
  if (!routes) {
    const types = new Set(views.flatMap((view) => [...Object.keys(view.on), ...Object.keys(view.sweep ?? {})]));
    const wants = (view: AnyProjection, type: string) => type in view.on || type in (view.sweep ?? {});
    routes = new Map(Array.from(types, (type) => [type, views.filter((view) => wants(view, type))]));
    knownRoutes.set(views, routes);
  }
  return routes;
}

async function foldView(
  view: AnyProjection,
  read: readonly Read[],
  ground: Ground,
  parked: Map<string, DeadLetter>,
  context: FoldContext,
): Promise<{ touched: Map<string, Row | null>; swept: Sweep[] }> {
  const keys = read.map((each) => keysOf(view, each, context));
  const rows = await loadRows(view, keys, ground);
  const touched = new Map<string, Row | null>();
  const swept: Sweep[] = [];
  for (const [at, { recorded, event }] of read.entries()) {
    const sweep = event && view.sweep?.[event.type]?.(event);
    if (sweep) sweepAway(view.table, sweep, rows, touched, swept);
    const named = keys[at];
    if (named === undefined) continue;
    if (!view.table.appendOnly && wasParked(view, recorded, ground, parked)) continue;
    try {
      if (event === undefined || named instanceof Unreadable) throw named;
      const changes = named.map(
        (key) => [key, rows.get(key), foldOne(view, key, rows.get(key), event, context)] as const,
      );
      for (const [key, before, after] of changes) {
        if (after === before) continue;
        if (!view.table.appendOnly) {
          if (after) rows.set(key, after);
          else rows.delete(key);
        }
        touched.set(key, after ?? null);
      }
    } catch (error) {
      // Rows of an append-only table do not build on each other: only the event is left out, not those that follow it.
      if (view.table.appendOnly && wasParked(view, recorded, ground, parked)) continue;
      const letter = deadLetter(view, recorded, error instanceof Unreadable ? error.cause : error);
      parked.set(letter.id, letter);
    }
  }
  return { touched, swept };
}

/** The rows that a page is folded over; of an append-only table there are none. */
async function loadRows(
  { table }: AnyProjection,
  keys: readonly (readonly string[] | Unreadable | undefined)[],
  ground: Ground,
): Promise<Map<string, Row>> {
  if (table.appendOnly) return new Map();
  const wanted = new Set(keys.flatMap((named) => (named === undefined || named instanceof Unreadable ? [] : named)));
  return new Map(wanted.size > 0 ? await ground.load(table, [...wanted]) : []);
}

/** Takes away what this page holds of a range so far; what lies in the table goes when the page is committed. */
function sweepAway(
  table: TableSpec,
  sweep: Sweep,
  rows: Map<string, Row>,
  touched: Map<string, Row | null>,
  swept: Sweep[],
): void {
  for (const known of [rows, touched]) {
    for (const [key, row] of known) if (row && covers(sweep, key, row)) known.delete(key);
  }
  // A row that the table held and this page changed is judged there by what it was before: it goes by its key.
  if (sweep.only === undefined || table.appendOnly) return void swept.push(sweep);
  throw new TypeError(`${table.name} is not append-only, and is swept by a column that may change`);
}

function covers({ from, to, only }: Sweep, key: string, row: Row): boolean {
  return key >= from && key <= to && (only === undefined || row[only.column] === only.value);
}

/** Why an event has no key: it could not be read, or its key not told. */
class Unreadable extends Error {}

/** Undefined for an event that the view only sweeps by. */
function keysOf(
  view: AnyProjection,
  { event, failure }: Read,
  context: FoldContext,
): readonly string[] | Unreadable | undefined {
  try {
    if (event === undefined) throw failure;
    return view.on[event.type] && keysIn(view, event, context);
  } catch (cause) {
    return new Unreadable('no key', { cause });
  }
}

/** The rows that an event touches, each once. The view folds events of this type. */
export function keysIn(view: AnyProjection, event: LogEvent, context: FoldContext): readonly string[] {
  const named = view.on[event.type]!.key(event, context);
  return typeof named === 'string' ? [fittingText(named)] : [...new Set(named.map(fittingText))];
}

/** Counts an event whose stream is parked already. */
function wasParked(view: AnyProjection, recorded: Recorded, ground: Ground, parked: Map<string, DeadLetter>): boolean {
  if (parked.size === 0 && ground.parked.size === 0) return false;
  const id = deadLetterId(view, recorded.stream);
  const known = parked.get(id) ?? ground.parked.get(id);
  if (!known) return false;
  parked.set(id, { ...known, events: known.events + 1, last_position: recorded.position });
  return true;
}

/** One event over one row: the row as it will be, undefined when there is none. The same row means nothing changed. */
export function foldOne(
  view: AnyProjection,
  key: string,
  before: Row | undefined,
  event: LogEvent,
  context: FoldContext,
): Row | undefined {
  const after = view.on[event.type]!.fold(before, event, context, key);
  if (after === null) return undefined;
  if (after === undefined || after === before) return before;
  const row = fitting(view.table, after, before);
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
