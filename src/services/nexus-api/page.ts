/** Pages of a list: how many, and where the next begins. */
import { Type } from 'typebox';
import { type Refusal, refuse } from '../../errors.ts';
import { ReadQuery } from './http.ts';

export const defaultLimit = 100;

/** Query of every list. */
export const PageQuery = Type.Object({
  ...ReadQuery.properties,
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 500, default: defaultLimit })),
  cursor: Type.Optional(Type.String({ maxLength: 300 })),
});

export const NextCursor = Type.Union([Type.String(), Type.Null()], { description: 'Null on the last page' });

/** Where a page ended, as the next request gives it back. */
export function cursorOf(place: string): string {
  return Buffer.from(place).toString('base64url');
}

/** The place that a cursor holds, '' without one. Refuses `cursor_invalid` for text that no page of this list ended with. */
export function placeOf(cursor: string | undefined, isPlace: (place: string) => boolean): string | Refusal {
  if (cursor === undefined) return '';
  const place = Buffer.from(cursor, 'base64url').toString();
  return isPlace(place) && cursorOf(place) === cursor
    ? place
    : refuse('cursor_invalid', 'give next_cursor of an earlier page, or none');
}

/** The cursor of the page after these rows; null when there is none. */
export function cursorAfter<Row>(rows: readonly Row[], limit: number, placeOf: (row: Row) => string): string | null {
  const last = rows.length === limit ? rows.at(-1) : undefined;
  return last ? cursorOf(placeOf(last)) : null;
}
