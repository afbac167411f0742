/** The log in a SQLite file: the conformance suite, and what is its own. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import Sqlite from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AppendObserver } from '../../src/events/group-commit.ts';
import type { EventLog } from '../../src/events/log.ts';
import { openSqliteLog, type SqliteLogOptions } from '../../src/events/log-sqlite.ts';
import { beginSqliteRestore } from '../../src/events/log-sqlite-restore.ts';
import { fact, facts, kernel, readOn, stream, written } from './conformance/facts.ts';
import { conformance } from './conformance.ts';

conformance(
  'the log on SQLite',
  async (options) => {
    const folder = mkdtempSync(join(tmpdir(), 'fedhub-log-'));
    const open = () => openSqliteLog({ folder, kernel, ...options });
    let log = await open();
    return {
      log,
      reopen: async () => {
        await log.close();
        log = await open();
        return log;
      },
      close: async () => {
        await log.close();
        rmSync(folder, { recursive: true });
      },
    };
  },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'fedhub-log-'));
    return {
      begin: async (about) => beginSqliteRestore(folder, about),
      open: () => openSqliteLog({ folder, kernel }),
      remove: async () => rmSync(folder, { recursive: true }),
    };
  },
);

describe('the file of the log', () => {
  let folder: string;
  let log: EventLog | undefined;
  const workers: Worker[] = [];
  const started = (worker: Worker) => void workers.push(worker);

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'fedhub-log-'));
    workers.length = 0;
    process.on('worker', started);
  });
  afterEach(async () => {
    process.off('worker', started);
    await log?.close();
    log = undefined;
    rmSync(folder, { recursive: true });
  });

  async function open(options: Partial<SqliteLogOptions> = {}): Promise<EventLog> {
    await log?.close();
    log = await openSqliteLog({ folder, kernel, segmentSize: 100, ...options });
    return log;
  }

  /** Another program's hand on the file. */
  function byHand<T>(work: (db: Sqlite.Database) => T): T {
    const db = new Sqlite(join(folder, 'log.db'));
    try {
      return work(db);
    } finally {
      db.close();
    }
  }

  it('refuses to change or delete what it holds, kept and transient', async () => {
    const opened = await open();
    await written(opened.append('node-a', 'any', [fact()]));
    await written(opened.append('heartbeat-a', 'any', [fact()]));
    byHand((db) => {
      for (const table of ['federation_log', 'federation_log_transient_1']) {
        expect(() => db.exec(`UPDATE ${table} SET data = '{}'`)).toThrow('never changed');
        expect(() => db.exec(`DELETE FROM ${table}`)).toThrow('never changed');
      }
    });
    expect((await readOn(opened, 0)).events).toHaveLength(2);
  });

  it('is refused when a newer hub wrote it, and says so', async () => {
    await open();
    await log!.close();
    byHand((db) => db.pragma('user_version = 99'));
    await expect(open()).rejects.toThrow(/newer hub \(schema 99/);
  });

  it('is refused, and left alone, when it is the file of something else', async () => {
    byHand((db) => db.exec('CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)'));
    await expect(open()).rejects.toThrow('not the log of a hub');
    byHand((db) => expect(db.prepare('SELECT name FROM sqlite_master').pluck().all()).toEqual(['theirs']));
  });

  it('is refused when it is no database', async () => {
    writeFileSync(join(folder, 'log.db'), 'not a database at all, but long enough to be read as one'.repeat(100));
    await expect(open()).rejects.toThrow('not a database');
  });

  it('answers log_full when there is no room, writes nothing of it, and goes on when there is', async () => {
    let opened = await open({ maxPages: 64 });
    const name = stream();
    let revision = -1;
    let full: unknown;
    while (full === undefined) {
      const verdict = opened.append(name, 'any', facts(3, { data: JSON.stringify('x'.repeat(2_000)) }));
      await verdict.then((at) => (revision = at.revision)).catch((error: unknown) => (full = error));
    }
    expect(full).toMatchObject({ code: 'log_full' });
    const head = await opened.head();
    expect(await opened.readStream(name, 0, 1_000)).toHaveLength(revision + 1);
    await expect(opened.append(name, revision, facts(3, { data: '0'.padEnd(9_000) }))).rejects.toMatchObject({
      code: 'log_full',
    });
    expect(byHand((db) => db.pragma('integrity_check', { simple: true }))).toBe('ok');

    opened = await open({ maxPages: 128 });
    expect(await opened.head()).toBe(head);
    expect(await written(opened.append(name, revision, facts(3, { data: '0'.padEnd(9_000) })))).toEqual({
      status: 'written',
      position: head + 3,
      revision: revision + 3,
    });
  });

  it('has room again when a segment was dropped', async () => {
    const opened = await open({ maxPages: 100, segmentSize: 10 });
    const name = stream('health');
    const big = { data: JSON.stringify('x'.repeat(2_000)) };
    for (let full = false; !full; ) {
      full = await opened.append(name, 'any', [fact(big)]).then(
        () => false,
        () => true,
      );
    }
    await expect(opened.append(name, 'any', facts(5, big))).rejects.toMatchObject({ code: 'log_full' });
    const head = await opened.head();
    const [first] = await opened.segments();
    await opened.dropSegment(first!.from);
    expect(await written(opened.append(name, 'any', facts(5, big)))).toMatchObject({ position: head + 5 });
  });

  it('answers log_unavailable, and hangs nobody, when the thread that writes is dead', async () => {
    const opened = await open();
    await written(opened.append('node-a', 'any', [fact()]));
    const waiting = Array.from({ length: 50 }, () => opened.append(stream(), 'any', [fact()]));
    const [writer] = workers;
    await writer!.terminate();
    for (const answer of await Promise.allSettled(waiting)) {
      if (answer.status === 'rejected') expect(answer.reason).toMatchObject({ code: 'log_unavailable' });
    }
    await expect(opened.append('node-a', 'any', [fact()])).rejects.toMatchObject({ code: 'log_unavailable' });
    await expect(opened.dropSegment(-1_000)).rejects.toMatchObject({ code: 'log_unavailable' });
    await opened.close();
    expect((await readOn(await open(), 0)).events.length).toBeGreaterThanOrEqual(1);
  });

  it('answers log_unavailable to readers when the thread that reads is dead, and still writes', async () => {
    const opened = await open();
    await workers[1]!.terminate();
    await expect(opened.readAll(0, 10)).rejects.toMatchObject({ code: 'log_unavailable' });
    await written(opened.append('node-a', 'any', [fact()]));
  });

  it('looks through a bounded number of positions for one page of a filter', async () => {
    const opened = await open({ segmentSize: 500_000 });
    for (let i = 0; i < 30; i++) await written(opened.append('heartbeat-a', 'any', facts(2_000)));
    const { position } = await written(opened.append('node-a', 'any', [fact({ type: 'node.banned' })]));
    const page = await opened.readAll(0, 10, ['node.banned']);
    expect(page.events).toEqual([]);
    expect(page.through).toBeLessThan(position);
    const { events, through } = await readOn(opened, 0, 10, ['node.banned']);
    expect(events.map((event) => event.position)).toEqual([position]);
    expect(through).toBe(position);
  });

  it('keeps the segment size it was made with', async () => {
    await open({ segmentSize: 7 });
    expect((await open({ segmentSize: 1_000 })).segmentSize).toBe(7);
  });

  it('tells of its flushes', async () => {
    const told: [number, number][] = [];
    const observer: AppendObserver = {
      now: () => 0,
      queue: () => {},
      appended: () => {},
      flushed: (appends, events) => void told.push([appends, events]),
    };
    const opened = await open({ observer });
    await Promise.all([opened.append(stream(), 'any', facts(2)), opened.append(stream(), 'any', facts(3))]);
    expect(told).toEqual([[2, 5]]);
  });
});
