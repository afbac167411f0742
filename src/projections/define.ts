/**
 * What a projection is: one table, and a pure fold from events to its rows.
 *
 * Each event touches the row that `key` names, or the few that it names. `fold` gets the row as it is (undefined when there is none) and
 * answers the row as it will be, `null` to delete it, or the same row (by identity) for "nothing changes". It must not
 * change the row it was given, and knows no clock, no chance and no database: so a thousand heartbeats of a hundred nodes
 * cost a hundred upserts, a view in memory is the same fold over the same log, and replaying twice gives the same rows.
 * A fold that throws parks the event's stream in the dead letters of that view.
 *
 * Two things go beyond one row an event. An *append-only* table has a row of its own for each event: none is loaded, and the
 * fold gets undefined. A *sweep* is an event that takes away all rows of a range of keys.
 */
import type { EventType, LogEvent } from '../events/catalog.ts';

/** The same columns on SQLite and PostgreSQL. `json` is stored as text; in rows it is the value itself. */
export type ColumnType = 'text' | 'integer' | 'real' | 'json';

export interface Column {
  readonly type: ColumnType;
  /** Default: not null. */
  readonly nullable?: true;
}

export interface TableSpec {
  readonly name: `federation_${string}`;
  readonly columns: Readonly<Record<string, ColumnType | Column>>;
  /** The one column that names a row; text. */
  readonly key: string;
  /** Columns of each further index, in order. */
  readonly indexes?: readonly (readonly string[])[];
  /** Each event has a row of its own, whose key no other event names: rows are never read before they are written. */
  readonly appendOnly?: true;
}

/** Rows to take away: those whose keys lie in [from, to] by byte order, both included. Keys of a table that is swept are ASCII. */
export interface Sweep {
  readonly from: string;
  readonly to: string;
  /** Of those, only the rows that hold this text in this column. */
  readonly only?: { readonly column: string; readonly value: string };
}

export interface FoldContext {
  /** First position of the log segment that a position lies in. */
  segmentOf(position: number): number;
}

/** `in out`: what a fold takes and gives is its own; the compiler need not find that out over every type of event. */
type Handler<in out Row, in out T extends EventType> = {
  /** Which row; or which, each of them once: at most some hundred, as a page holds many events. Each is folded by itself. */
  readonly key: (event: LogEvent<T>, context: FoldContext) => string | readonly string[];
  /** `key`: of the row. */
  readonly fold: (
    row: Row | undefined,
    event: LogEvent<T>,
    context: FoldContext,
    key: string,
  ) => Row | undefined | null;
};

export interface Projection<in out Row extends object = Record<string, unknown>> {
  readonly table: TableSpec;
  /** Raise it when the fold changes meaning: the views are then rebuilt at the next start. */
  readonly version: number;
  readonly on: { readonly [T in EventType]?: Handler<Row, T> };
  /**
   * What an event sweeps away, before its own fold if it has one. Parked streams sweep too: what a sweep takes is other
   * streams' rows. A view that sweeps cannot be followed in memory.
   */
  readonly sweep?: { readonly [T in EventType]?: (event: LogEvent<T>) => Sweep };
}

/** Keeps the row type of a projection while it is declared. */
export function projection<Row extends object>(spec: Projection<Row>): Projection<Row> {
  return spec;
}
