/** Several processes on one log in PostgreSQL, and what the log finds when it comes to a database. */
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EventLog, Recorded } from '../../src/events/log.ts';
import { openPostgresLog } from '../../src/events/log-postgres.ts';
import { expectDense, expectWhole, readFrom, startWriter } from '../faults/writer-process.ts';
import { type FreshDatabase, freshDatabase } from '../setup/postgres.ts';
import { fact, facts, kernel, stream } from './conformance/facts.ts';

let database: FreshDatabase;
let logs: EventLog[];

beforeEach(async () => {
  database = await freshDatabase();
  logs = [];
});

afterEach(async () => {
  await Promise.all(logs.map((log) => log.close()));
  await database.drop();
});

async function open(segmentSize = 500): Promise<EventLog> {
  const log = await openPostgresLog({ url: database.url, kernel, segmentSize });
  logs.push(log);
  return log;
}

describe('two writing processes on one log in PostgreSQL', () => {
  it('give dense positions, and a reader that remembers the last position misses nothing', async () => {
    const log = await open();
    const pushed: Recorded[] = [];
    const subscription = log.subscribe(0, (page) => void pushed.push(...page.events));
    const writers = [startWriter(database.url, 'one', 1_500), startWriter(database.url, 'two', 1_500)];
    const ended = Promise.all(writers.map((writer) => writer.ended));
    let running = true;
    void ended.then(() => {
      running = false;
    });

    const read: Recorded[] = [];
    while (running) read.push(...(await log.readAll(read.at(-1)?.position ?? 0, 100)).events);
    read.push(...(await readFrom(log, read.at(-1)?.position ?? 0)));

    expect(await ended).toEqual([0, 0]);
    const acknowledged = writers.flatMap((writer) => writer.acknowledged);
    expect(acknowledged).toHaveLength(3_000);
    expectDense(read);
    expectWhole(read, acknowledged);
    expect(read.at(-1)?.position).toBe(await log.head());
    await expect.poll(() => subscription.position, { timeout: 5_000 }).toBe(await log.head());
    expect(pushed).toEqual(read);
  });

  it('let one of two creates of a stream win', async () => {
    const [one, two] = [await open(), await open()];
    const name = stream();
    const verdicts = await Promise.all([
      one.append(name, 'noStream', [fact()]),
      two.append(name, 'noStream', [fact()]),
    ]);
    expect(verdicts.map((verdict) => verdict.status).sort()).toEqual(['conflict', 'written']);
  });

  it('give the answer of the first to a command that is asked of both', async () => {
    const [one, two] = [await open(), await open()];
    const command = { id: kernel.uuid(), bodyHash: 'hash', reply: '{"a":1}', time: '2030-01-01T00:00:00.000Z' };
    const verdicts = await Promise.all([
      one.append(stream(), 'noStream', [fact()], command),
      two.append(stream(), 'noStream', [fact()], command),
    ]);
    expect(verdicts.map((verdict) => verdict.status).sort()).toEqual(['duplicate', 'written']);
    expect(await one.head()).toBe(1);
  });

  it('wake the followers of the other at once', async () => {
    const [one, two] = [await open(), await open()];
    await one.append(stream(), 'any', [fact()]);
    let heard = () => {};
    const subscription = two.subscribe(1, () => heard());
    await kernel.sleep(1_500); // it reached the head, and listens
    const took: number[] = [];
    for (let turn = 0; turn < 5; turn++) {
      const start = kernel.monotonicMs();
      const handed = new Promise<void>((resolve) => {
        heard = resolve;
      });
      await one.append(stream(), 'any', [fact()]);
      await handed;
      took.push(kernel.monotonicMs() - start);
    }
    await subscription.close();
    // without being woken it would look once a second, so that five turns took seconds
    expect(Math.max(...took), 'milliseconds from append to follower').toBeLessThan(900);
    expect(took.reduce((sum, ms) => sum + ms)).toBeLessThan(2_000);
  });
});

describe('opening a log in PostgreSQL', () => {
  it('makes one log when several replicas open an empty database at once', async () => {
    const opened = await Promise.all([open(), open(), open(), open(), open()]);
    expect(new Set(opened.map((log) => log.id)).size).toBe(1);
    for (const log of opened) await log.append(stream(), 'noStream', facts(2));
    expect(await opened[0]!.head()).toBe(10);
  });

  it('keeps the segment size that the log was made with', async () => {
    await open(50);
    expect((await open(70)).segmentSize).toBe(50);
  });

  it('refuses a database with a table of that name that no hub made, and leaves the table alone', async () => {
    await sql('CREATE TABLE federation_log (mine text); INSERT INTO federation_log VALUES (1)');
    await expect(open()).rejects.toThrow(/tables that no hub made: federation_log;/);
    expect(await sql('SELECT * FROM federation_log')).toEqual([{ mine: '1' }]);
    expect(await sql("SELECT 1 FROM pg_class WHERE relname = 'federation_commands'")).toEqual([]);
  });

  it('refuses a database that has lost one of the tables', async () => {
    await open();
    await sql('DROP TABLE federation_commands');
    await expect(open()).rejects.toThrow(/only some of the tables/);
  });

  it('refuses the log of a newer hub', async () => {
    await open();
    await sql('UPDATE federation_log_head SET schema_version = 2');
    await expect(open()).rejects.toThrow(/newer hub/);
  });

  it('refuses a database that does not hold UTF-8', async () => {
    const url = new URL(database.url);
    await sql('CREATE DATABASE federation_latin TEMPLATE template0 ENCODING LATIN1 LOCALE "C"');
    url.pathname = '/federation_latin';
    await expect(openPostgresLog({ url: url.href, kernel })).rejects.toThrow(/needs UTF8/);
    await sql('DROP DATABASE federation_latin');
  });

  it('fails as unavailable when no server answers', async () => {
    const opening = openPostgresLog({ url: 'postgres://nobody@127.0.0.1:1/none', kernel });
    await expect(opening).rejects.toMatchObject({ name: 'Fault', code: 'log_unavailable' });
  });
});

describe('the tables of the log in PostgreSQL', () => {
  it('refuse every change but dropping a partition', async () => {
    const log = await open();
    await log.append(stream(), 'any', [fact()]);
    await log.append(stream('heartbeat'), 'any', [fact()]);
    for (const table of ['federation_log', 'federation_log_transient', 'federation_log_transient_1']) {
      for (const change of [`UPDATE ${table} SET type = ''`, `DELETE FROM ${table}`, `TRUNCATE ${table}`]) {
        await expect(sql(change), change).rejects.toThrow('the log is never changed');
      }
    }
    expect((await log.readAll(0, 10)).events).toHaveLength(2);
  });

  it('are synchronous on commit, whatever the database says', async () => {
    await sql(`ALTER DATABASE ${new URL(database.url).pathname.slice(1)} SET synchronous_commit = off`);
    const log = await open();
    const before = await walFlushed();
    await log.append(stream(), 'any', [fact()]);
    expect(await walFlushed(), 'WAL flushed when the append was acknowledged').toBeGreaterThan(before);
  });
});

async function walFlushed(): Promise<number> {
  const [row] = await sql("SELECT pg_current_wal_flush_lsn() - '0/0' AS at");
  return Number(row!.at);
}

async function sql(text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}
