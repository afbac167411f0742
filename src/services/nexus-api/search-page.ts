/** Pages of what was found by its words: the place of the index as a cursor. */
import { type Refusal, refuse } from '../../errors.ts';
import type { SearchCursor } from '../../search.ts';

export function searchCursor({ through, last }: SearchCursor): string {
  const place = last ? [through, last.score, last.position] : [through];
  return Buffer.from(JSON.stringify(place)).toString('base64url');
}

/** Undefined without one. Refuses `cursor_invalid` for text that no page ended with. */
export function searchPlace(cursor: string | undefined): SearchCursor | undefined | Refusal {
  if (cursor === undefined) return undefined;
  const place = parsed(cursor);
  const [through, score, position] = Array.isArray(place) ? place : [];
  if (Number.isSafeInteger(through) && score === undefined) return { through };
  if (!Number.isSafeInteger(through) || !Number.isFinite(score) || !Number.isSafeInteger(position))
    return refuse('cursor_invalid', 'give next_cursor of an earlier page, or none');
  return { through, last: { score, position } };
}

function parsed(cursor: string): unknown {
  try {
    return JSON.parse(Buffer.from(cursor, 'base64url').toString());
  } catch {
    return undefined;
  }
}
