/** A disk that is full, on each backend: a clear refusal, nothing corrupted, and it works again when there is room. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import pg from 'pg';
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

  it('loses nothing when the server itself falls over it, and goes on when that is back', async () => {
    const log = await openLog();
    const admin = new pg.Client({ connectionString: server!.url });
    admin.on('error', () => {}); // the server takes its connections with it
    await admin.connect();
    const writing = appendWhateverHappens(log);
    await kernel.sleep(300);
    disk.fill(8 * 1024 * 1024); // the next file of the WAL takes 16 MB, and without it the server gives up
    const fall = async () => {
      for (let switches = 0; switches < 10; switches++) await admin.query('SELECT pg_switch_wal()');
    };
    await expect(fall()).rejects.toThrow();
    disk.free();
    await expect
      .poll(
        () =>
          server!.start().then(
            () => log.head(),
            () => -1,
          ),
        { timeout: 60_000 },
      )
      .toBeGreaterThan(0);
    const { acknowledged, faults } = await writing.stop();

    for (const code of faults) expect(['log_unavailable', 'log_full']).toContain(code);
    expect((await log.append('node-later', 'noStream', events(3))).status).toBe('written');
    const found = await readFrom(log, 0);
    expectDense(found);
    const there = new Set(found.map((event) => event.id));
    expect(
      acknowledged.filter((id) => !there.has(id)),
      'acknowledged and lost',
    ).toEqual([]);
    expect(there.size, 'none is there twice').toBe(found.length);
    await log.close();
  });

  async function openLog(): Promise<EventLog> {
    const folder = join(disk.folder, 'data');
    mkdirSync(folder, { mode: 0o700 });
    server = await startPostgres({ folder, settings: { autovacuum: 'off', shared_buffers: '16MB' } });
    const { url } = await freshDatabase(server.url);
    return openPostgresLog({ url, kernel, timeoutMs: 5_000 });
  }
});

/** Appends of three events, one after the other, until one is refused for space. Gives the ids of what was written. */
async function appendUntilFull(log: EventLog, category: string): Promise<string[]> {
  const written: string[] = [];
  for (let append = 0; append < 100_000; append++) {
    const some = events(3);
    const fault = await log.append(`${category}-${append % 50}`, 'any', some).then(() => undefined, faultOf);
    if (fault) {
      expect(fault.code).toBe('log_full');
      return written;
    }
    written.push(...some.map((event) => event.id));
  }
  throw new Error('the disk did not fill up');
}

/** Eight writers that go on through every fault. */
function appendWhateverHappens(log: EventLog) {
  const acknowledged: string[] = [];
  const faults = new Set<string>();
  let stopped = false;
  const write = async (_: unknown, writer: number) => {
    while (!stopped) {
      const some = events(2);
      const fault = await log.append(`node-${writer}`, 'any', some).then(() => undefined, faultOf);
      if (fault) faults.add(fault.code);
      else acknowledged.push(...some.map((event) => event.id));
      await kernel.sleep(2);
    }
  };
  const writers = Promise.all(Array.from({ length: 8 }, write));
  return {
    async stop() {
      stopped = true;
      await writers;
      return { acknowledged, faults };
    },
  };
}

function faultOf(error: unknown): Fault {
  if (error instanceof Fault) return error;
  throw error;
}

/** All that was written is there, in order and without a gap, and nothing else. */
async function expectAsWritten(log: EventLog, written: readonly string[]): Promise<void> {
  const found = await readFrom(log, 0);
  expectDense(found);
  expect(found.map((event) => event.id).slice(0, written.length)).toEqual(written);
  expect(found.filter((event) => event.stream !== 'node-later')).toHaveLength(written.length);
}

function integrity(folder: string): unknown {
  const db = new Sqlite(join(folder, 'log.db'), { readonly: true });
  try {
    return db.pragma('integrity_check', { simple: true });
  } finally {
    db.close();
  }
}

function events(count: number): NewEvent[] {
  return Array.from({ length: count }, () => ({
    id: kernel.uuid(),
    type: 'node.registered',
    version: 1,
    time: '2030-01-02T03:04:05.678Z',
    data: JSON.stringify({ ballast: 'x'.repeat(400) }),
    meta: '{}',
  }));
}
