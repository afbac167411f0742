/** The audit log as a stream of text: a page of rows at a time, and the next only when that went out. */
import { Readable } from 'node:stream';
import { stringify } from 'csv-stringify/sync';
import type { Hub } from '../../hub.ts';
import { type AuditRow, auditLog } from '../../projections/audit-log.ts';
import { type AuditFilter, findAudit } from '../../projections/audit-queries.ts';

export interface ExportOptions {
  readonly format: 'ndjson' | 'csv';
  /** Rows after this position, and up to that one. */
  readonly over: number;
  readonly through: number;
  /** Told of the bytes of each page. */
  readonly spend: (bytes: number) => void;
}

/** Rows of a page: what lies in memory, twice at most, however much is exported and however slowly it is read. */
const pageRows = 1_000;

const columns = Object.keys(auditLog.table.columns).filter((name) => name !== 'id');

/** Ends in the middle, with an error for whoever reads it, when the views fail; stops when its reader goes. */
export function exportAudit(hub: Hub, filter: AuditFilter, options: ExportOptions): Readable {
  return Readable.from(pages(hub, filter, options), { highWaterMark: 1 });
}

async function* pages(
  { views, kernel }: Pick<Hub, 'views' | 'kernel'>,
  filter: AuditFilter,
  { format, over, through, spend }: ExportOptions,
): AsyncGenerator<Buffer> {
  const text = format === 'csv' ? csv : ndjson;
  let rows = 0;
  let complete = false;
  try {
    for (let last = over; !complete; ) {
      const range = { order: 'asc', over: last, under: through + 1, limit: pageRows } as const;
      const page = await findAudit(views.db, filter, range);
      const chunk = Buffer.from(text(page, rows === 0));
      rows += page.length;
      last = page.at(-1)?.position ?? last;
      spend(chunk.byteLength);
      if (chunk.byteLength > 0) yield chunk;
      complete = page.length < pageRows;
    }
  } finally {
    kernel.log.info({ rows, complete, through }, 'the audit log was exported');
  }
}

function ndjson(rows: readonly AuditRow[]): string {
  return rows.map(({ id: _, ...entry }) => `${JSON.stringify(entry)}\n`).join('');
}

/** RFC 4180. Cells that a spreadsheet would run as a formula begin with an apostrophe. */
function csv(rows: readonly AuditRow[], first: boolean): string {
  return stringify([...rows], { header: first, columns, escape_formulas: true, record_delimiter: 'windows' });
}
