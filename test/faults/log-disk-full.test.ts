/** A disk that is full, on each backend: a clear refusal, nothing corrupted, and it works again when there is room. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Fault } from '../../src/errors.ts';
import type { EventLog, NewEvent } from '../../src/events/log.ts';
import { openPostgresLog } from '../../src/events/log-postgres.ts';
import { openSqliteLog } from '../../src/events/log-sqlite.ts';
import { createKernel } from '../../src/kernel.ts';
import { freshDatabase } from '../setup/postgres.ts';
import { type PostgresServer, startPostgres } from '../setup/postgres-server.ts';
import { mountSmallDisk, type SmallDisk } from '../setup/small-disk.ts';
import { expectDense, readFrom } from './writer-process.ts';

const kernel = createKernel({ logLevel: 'silent' });

describe('a full SQLite log', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'fedhub-full-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('refuses with log_full, keeps what was written whole, and goes on in a larger file', async () => {
    const log = await openSqliteLog({ folder, kernel, maxPages: 200 });
    const written = await appendUntilFull(log, 'node');
    await expectAsWritten(log, written);
    await log.close();
    expect(integrity(folder)).toBe('ok');

    const larger = await openSqliteLog({ folder, kernel });
    expect(await larger.append('node-later', 'noStream', events(3))).toMatchObject({ position: written.length + 3 });
    await expectAsWritten(larger, written);
    await larger.close();
  });

  it('has room again in the same process when a segment is dropped', async () => {
    const log = await openSqliteLog({ folder, kernel, maxPages: 400, segmentSize: 500 });
    const written = await appendUntilFull(log, 'heartbeat');
    const [oldest] = await log.segments();
    await log.dropSegment(oldest!.from);
    expect(await log.append('node-later', 'noStream', events(3))).toMatchObject({ position: written.length + 3 });
    expect((await readFrom(log, 0)).map((event) => event.id).slice(0, -3)).toEqual(written.slice(500));
    await log.close();
    expect(integrity(folder)).toBe('ok');
  });
});

describe('a full disk under PostgreSQL', () => {
  let disk: SmallDisk;
  let server: PostgresServer | undefined;
  beforeEach(() => {
    disk = mountSmallDisk(200);
  });
  afterEach(async () => {
    await server?.remove();
    disk.remove();
  });

  it('refuses with log_full, keeps what was written whole, and goes on when there is room', async () => {
    const log = await openLog();
    const before = events(3);
    await log.append('node-before', 'noStream', before);
    disk.fill(256 * 1024); // less than tables grow by, while the WAL has its file of 16 MB already
    const written = [...before.map((event) => event.id), ...(await appendUntilFull(log, 'node'))];
    await expectAsWritten(log, written);

    disk.free();
    expect(await log.append('node-later', 'noStream', events(3))).toMatchObject({ position: written.length + 3 });
    await expectAsWritten(log, written);
    await log.close();
  });

  it('loses nothing when the server itself fell over it and was started again', async () => {
    const log = await openLog({ max_wal_size: '64MB', min_wal_size: '32MB' });
    const written = events(1).map((event) => event.id).slice(1);
    disk.fill(24 * 1024 * 1024);
    const acknowledged = await appendUntilFault(log, written);
    disk.free();
    await server!.start().catch(() => {}); // it may have come back by itself
    await expect.poll(() => log.head().catch(() => -1), { timeout: 30_000, interval: 200 }).toBeGreaterThan(0);
    const found = (await readFrom(log, 0)).map((event) => event.id);
    expect(found.filter((id) => acknowledged.has(id)).length, 'of those acknowledged').toBe(acknowledged.size);
    expect((await log.append('node-later', 'noStream', events(3))).status).toBe('written');
    expectDense(await readFrom(log, 0));
    await log.close();
  });

  async function openLog(settings: Record<string, string> = {}): Promise<EventLog> {
    const folder = join(disk.folder, 'data');
    mkdirSync(folder, { mode: 0o700 });
    server = await startPostgres({ folder, settings: { autovacuum: 'off', shared_buffers: '16MB', ...settings } });
    const { url } = await freshDatabase(server.url);
    return openPostgresLog({ url, kernel, timeoutMs: 5_000 });
  }
});
