/**
 * Rows between folds and databases: what both databases can hold, checked before either is asked, so that an odd value is
 * one dead letter on SQLite and on PostgreSQL alike, and both end with the same rows.
 */
import { columnOf, type Row } from './catalog.ts';
import type { ColumnType, TableSpec } from './define.ts';

/** A value as it lies in a column. */
export type Stored = string | number | null;

interface Shape {
  readonly columns: readonly {
    readonly name: string;
    readonly type: ColumnType;
    readonly nullable: boolean;
    readonly indexed: boolean;
  }[];
}

/** Bytes of text in an indexed column at most: PostgreSQL refuses index entries beyond a third of a page. */
const indexedBytes = 2_000;

const shapes = new WeakMap<TableSpec, Shape>();

function shapeOf(table: TableSpec): Shape {
  let shape = shapes.get(table);
  if (!shape) {
    const indexed = new Set([table.key, ...(table.indexes ?? []).flat()]);
    shape = {
      columns: Object.keys(table.columns).map((name) => ({
        name,
        ...columnOf(table, name),
        indexed: indexed.has(name),
      })),
    };
    shapes.set(table, shape);
  }
  return shape;
}

/** Names of a table's columns, in the order of `toStored`. */
export function columnNames(table: TableSpec): readonly string[] {
  return shapeOf(table).columns.map((column) => column.name);
}

/**
 * The row as both databases will hold it: U+0000 and lone surrogates in text become U+FFFD. The same row when nothing had
 * to change. Throws when a value does not fit its column. What `before` has too was looked at before.
 */
export function fitting(table: TableSpec, row: Row, before: Row | undefined): Row {
  let fitted = row;
  for (const { name, type, nullable, indexed } of shapeOf(table).columns) {
    const value = row[name];
    if ((value === null && nullable) || (before !== undefined && value === before[name])) continue;
    if (type === 'text' && typeof value === 'string') {
      const text = fittingText(value);
      if (text !== value) fitted = { ...fitted, [name]: text };
      if (indexed && text.length > indexedBytes / 3 && Buffer.byteLength(text) > indexedBytes) {
        throw new RangeError(`${table.name}.${name} is longer than ${indexedBytes} bytes`);
      }
    } else if (!fits(type, value)) {
      throw new TypeError(`${table.name}.${name} cannot hold ${value === undefined ? 'nothing' : typeof value}`);
    }
  }
  return fitted;
}

/** Text that both databases hold the same. */
export function fittingText(text: string): string {
  const whole = isWellFormed(text) ? text : Buffer.from(text, 'utf8').toString('utf8');
  return whole.includes('\0') ? whole.replaceAll('\0', '\u{FFFD}') : whole;
}

/** Values of a row in the order of `columnNames`. */
export function toStored(table: TableSpec, row: Row): Stored[] {
  // `fitting` has let this row through, so every value is a string, a number, null, or goes through JSON.
  return shapeOf(table).columns.map(({ name, type }) =>
    type === 'json' && row[name] !== null ? JSON.stringify(row[name]) : (row[name] as Stored),
  );
}

/** The row that lies in a table as `stored`: JSON columns become their values. */
export function fromStored(table: TableSpec, stored: Readonly<Record<string, unknown>>): Row {
  const row: Row = {};
  for (const { name, type } of shapeOf(table).columns) {
    const value = stored[name];
    row[name] = type === 'json' && typeof value === 'string' ? JSON.parse(value) : value;
  }
  return row;
}

function fits(type: ColumnType, value: unknown): boolean {
  if (type === 'integer') return Number.isSafeInteger(value);
  if (type === 'real') return typeof value === 'number' && Number.isFinite(value);
  return type === 'json' && value !== undefined && value !== null;
}

function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}
