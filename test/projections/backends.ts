/** Log and views on real databases, of both kinds, for tests that hold for either. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openLog, openViews } from '../../src/backends.ts';
import type { EventLog } from '../../src/events/log.ts';
import { createKernel } from '../../src/kernel.ts';
import { type Leases, openLeases } from '../../src/lease.ts';
import type { Views } from '../../src/projections/views.ts';
import { freshDatabase } from '../setup/postgres.ts';

export const kernel = createKernel({ logLevel: 'silent' });

export const backends = ['sqlite', 'postgres'] as const;
export type BackendKind = (typeof backends)[number];

/** An empty place for log and views, under one URL. */
export async function freshPlace(kind: BackendKind): Promise<{ url: string; drop(): Promise<void> }> {
  if (kind === 'postgres') return freshDatabase();
  const folder = await mkdtemp(join(tmpdir(), 'fedhub-views-'));
  return { url: `sqlite:${folder}`, drop: () => rm(folder, { recursive: true, force: true }) };
}

export interface Opened {
  readonly url: string;
  readonly log: EventLog;
  readonly views: Views;
  readonly leases: Leases;
  close(): Promise<void>;
}

/** Opens log, views and leases where `url` says; `close` closes them. */
export async function openBoth(url: string, options: { segmentSize?: number; logUrl?: string } = {}): Promise<Opened> {
  const logUrl = options.logUrl ?? url;
  const log = await openLog(logUrl, kernel, options.segmentSize ? { segmentSize: options.segmentSize } : {});
  const views = await openViews({ url, logUrl, log, kernel, logLevel: process.env.VIEWS_LOG ?? 'silent' });
  const leases = await openLeases(url, kernel);
  return {
    url,
    log,
    views,
    leases,
    async close() {
      await leases.close();
      await views.close();
      await log.close();
    },
  };
}

/** Waits until something is so; fails after ten seconds. */
export async function until(what: string, holds: () => Promise<boolean> | boolean, ms = 10_000): Promise<void> {
  const end = performance.now() + ms;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`waited ${ms} ms in vain until ${what}`);
    await kernel.sleep(10);
  }
}
