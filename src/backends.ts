/** The one place that picks adapters, by URL: `sqlite:<folder>`, `postgres://…` or `postgresql://…`. */
import type { EventLog } from './events/log.ts';
import { openPostgresLog } from './events/log-postgres.ts';
import { openSqliteLog } from './events/log-sqlite.ts';
import type { Kernel } from './kernel.ts';
import { startViews, type Views, type ViewsOptions } from './projections/views.ts';

export type Backend =
  | { readonly kind: 'sqlite'; readonly folder: string }
  | { readonly kind: 'postgres'; readonly url: string };

/** What a URL names. Throws for anything that is no backend of the hub. */
export function backendOf(url: string): Backend {
  if (url.startsWith('sqlite:') && url.length > 'sqlite:'.length)
    return { kind: 'sqlite', folder: url.slice('sqlite:'.length) };
  if (/^postgres(ql)?:\/\//.test(url)) return { kind: 'postgres', url };
  const scheme = /^[a-z]+:/i.exec(url)?.[0] ?? 'no scheme';
  throw new Error(
    `a URL with ${scheme} names no database of the hub: give sqlite:<folder> or postgres://user@host/database`,
  );
}

export interface LogOptions {
  /** Positions in one segment of readings; fixed when the log is made. */
  readonly segmentSize?: number;
}

/** Opens the log, and makes it when it is not there. */
export async function openLog(url: string, kernel: Kernel, options: LogOptions = {}): Promise<EventLog> {
  const backend = backendOf(url);
  return backend.kind === 'sqlite'
    ? openSqliteLog({ ...options, folder: backend.folder, kernel })
    : openPostgresLog({ ...options, url: backend.url, kernel });
}

/** Opens the views of a log, makes them when they are not there, and starts projecting. The log must be open. */
export async function openViews(options: ViewsOptions): Promise<Views> {
  backendOf(options.url);
  backendOf(options.logUrl);
  return startViews(options);
}
