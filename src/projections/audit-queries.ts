/** What the audit log is asked: rows by who, what, where, when and why, in the order of the log or newest first. */
import { type Kysely, type SelectQueryBuilder, sql } from 'kysely';
import { isoTime } from '../kernel.ts';
import { type AuditOutcome, type AuditRow, clipped, idOf } from './audit-log.ts';
import type { ViewTables } from './catalog.ts';
import { fittingText } from './rows.ts';

export interface AuditFilter {
  readonly actor?: string | undefined;
  /** With `*` at its end, all that begin so. */
  readonly action?: string | undefined;
  readonly target?: string | undefined;
  readonly outcome?: AuditOutcome | undefined;
  readonly code?: string | undefined;
  readonly address?: string | undefined;
  readonly correlation?: string | undefined;
  /** ISO 8601 UTC with milliseconds, as events have it: not before, and before. */
  readonly after?: string | undefined;
  readonly before?: string | undefined;
}

export interface AuditPage {
  readonly order: 'asc' | 'desc';
  /** Only positions in (over, under): both left out. */
  readonly over: number;
  readonly under: number;
  readonly limit: number;
}

/** Rows in the order of the log, or newest first. The same on SQLite and PostgreSQL. */
export async function findAudit(db: Kysely<ViewTables>, filter: AuditFilter, page: AuditPage): Promise<AuditRow[]> {
  const { order, limit } = page;
  const { over, under } = await narrowed(db, filter, page);
  const all = db
    .selectFrom('federation_audit_log')
    .selectAll()
    .where('id', '>', idOf(over))
    .where('id', '<', idOf(under));
  return where(all, filter).orderBy('id', order).limit(limit).execute();
}

type Query = SelectQueryBuilder<ViewTables, 'federation_audit_log', AuditRow>;

const equals = ['actor', 'target', 'code', 'address', 'correlation'] as const;

function where(all: Query, filter: AuditFilter): Query {
  const { action, after, before } = filter;
  let query = all;
  for (const column of equals) {
    const value = filter[column];
    if (value !== undefined) query = query.where(column, '=', asHeld(value));
  }
  const selective = isSelective(filter);
  // Only refusals have codes, and they are few beside the rest.
  const outcome = filter.outcome ?? (filter.code !== undefined && !selective ? 'refused' : undefined);
  // Without statistics SQLite takes any index for as good as another; an expression has none, on either database.
  if (outcome !== undefined)
    query = selective ? query.where(sql`outcome || ''`, '=', outcome) : query.where('outcome', '=', outcome);
  if (action?.endsWith('*')) {
    const prefix = asHeld(action.slice(0, -1));
    query = query.where('action', '>=', prefix).where('action', '<', `${prefix}\u{10FFFF}`);
  } else if (action !== undefined) query = query.where('action', '=', asHeld(action));
  if (after !== undefined) query = query.where('time', '>=', after);
  if (before !== undefined) query = query.where('time', '<', before);
  return query;
}

/** Whether an index leads to few rows, which the one on the outcome does not. */
function isSelective({ actor, action, target, address, correlation }: AuditFilter): boolean {
  const exact = action !== undefined && !action.endsWith('*');
  return exact || [actor, target, address, correlation].some((value) => value !== undefined);
}

/** Text as rows hold it. */
function asHeld(text: string): string {
  return fittingText(clipped(text));
}

/** How far the clocks of replicas may be apart for times to be found by the order of the log. */
const slackMs = 3_600_000;

const earliestMs = Date.parse('0000-01-01T00:00:00.000Z');
const latestMs = Date.parse('9999-12-31T23:59:59.999Z');

/** A moment as events have it. One outside the years 0000 to 9999, whose text would not sort, is the nearest within. */
export function momentOf(ms: number): string {
  return isoTime(Math.min(Math.max(ms, earliestMs), latestMs));
}

/** Times lie in the order of the log, but for differences of clocks: a range of time is a range of positions, and needs no index. */
async function narrowed(
  db: Kysely<ViewTables>,
  { after, before }: AuditFilter,
  { over, under }: AuditPage,
): Promise<{ over: number; under: number }> {
  const [since, until] = await Promise.all([
    after === undefined ? 0 : firstSince(db, momentOf(Date.parse(after) - slackMs)),
    before === undefined ? Number.MAX_SAFE_INTEGER : firstSince(db, momentOf(Date.parse(before) + slackMs)),
  ]);
  return { over: Math.max(over, since - 1), under: Math.min(under, until) };
}

/** The position of the first row at or after a time (ISO 8601 UTC), or the one behind the last row. Some forty looks at most. */
export async function firstSince(db: Kysely<ViewTables>, time: string): Promise<number> {
  const rows = db.selectFrom('federation_audit_log').select(['position', 'time']).limit(1);
  const last = await rows.orderBy('id', 'desc').executeTakeFirst();
  let low = 0;
  let high = (last?.position ?? 0) + 1;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const row = await rows.where('id', '>=', idOf(middle)).orderBy('id').executeTakeFirst();
    if (!row || row.position >= high || row.time >= time) high = middle;
    else low = row.position + 1;
  }
  return low;
}

/** Where the audit log begins; undefined when it is empty. */
export async function oldestPosition(db: Kysely<ViewTables>): Promise<number | undefined> {
  const query = db.selectFrom('federation_audit_log').select('position').orderBy('id').limit(1);
  return (await query.executeTakeFirst())?.position;
}
