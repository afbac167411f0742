/** The one place that picks adapters, by URL: `sqlite:<folder>`, `postgres://…` or `postgresql://…`. */
import type { AppendObserver } from './events/group-commit.ts';
import type { EventLog } from './events/log.ts';
import { openPostgresLog } from './events/log-postgres.ts';
import { beginPostgresRestore } from './events/log-postgres-restore.ts';
import { openSqliteLog } from './events/log-sqlite.ts';
import { beginSqliteRestore } from './events/log-sqlite-restore.ts';
import type { LogRestore, RestoredAbout } from './events/restore.ts';
import type { Kernel } from './kernel.ts';
import type { KeyringStore } from './keyring/store.ts';
import { postgresKeyring } from './keyring/store-postgres.ts';
import { sqliteKeyring } from './keyring/store-sqlite.ts';
import { startViews, type Views, type ViewsOptions } from './projections/views.ts';
import { forgetPostgresIndex, forgetSqliteIndex } from './search/forget.ts';

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
  /** Hears of appends and flushes. */
  readonly observer?: AppendObserver;
}

/** Opens the log, and makes it when it is not there. */
export async function openLog(url: string, kernel: Kernel, options: LogOptions = {}): Promise<EventLog> {
  const backend = backendOf(url);
  return backend.kind === 'sqlite'
    ? openSqliteLog({ ...options, folder: backend.folder, kernel })
    : openPostgresLog({ ...options, url: backend.url, kernel });
}

/** Begins to restore a log into an empty place. Throws when there is a log. On SQLite, hold the folder's lock. */
export async function beginRestore(url: string, about: RestoredAbout): Promise<LogRestore> {
  const backend = backendOf(url);
  return backend.kind === 'sqlite'
    ? beginSqliteRestore(backend.folder, about)
    : beginPostgresRestore(backend.url, about);
}

/** Opens the views of a log, makes them when they are not there, and starts projecting. The log must be open. */
export async function openViews(options: ViewsOptions): Promise<Views> {
  backendOf(options.url);
  backendOf(options.logUrl);
  return startViews(options);
}

/**
 * Takes away the search index beside the views. What it says of a log is of that log's history: one of another history, under the same id,
 * is not told by its position.
 */
export async function forgetSearchIndex(viewsUrl: string): Promise<void> {
  const backend = backendOf(viewsUrl);
  await (backend.kind === 'sqlite' ? forgetSqliteIndex(backend.folder) : forgetPostgresIndex(backend.url));
}

/** Where the hub's keys lie: beside the log, and in none of its backups. Nothing is opened before it is used; close it. */
export function keyringStore(logUrl: string): KeyringStore {
  const backend = backendOf(logUrl);
  return backend.kind === 'sqlite' ? sqliteKeyring(backend.folder) : postgresKeyring(backend.url);
}
