/** What it costs PostgreSQL to be followed, counted by the server itself, and appends of one event that write nothing. */
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EventLog, Recorded } from '../../src/events/log.ts';
import { openPostgresLog } from '../../src/events/log-postgres.ts';
import { expectDense, readFrom } from '../faults/writer-process.ts';
import { type FreshDatabase, freshDatabase } from '../setup/postgres.ts';
import { fact, kernel, stream } from './conformance/facts.ts';

const followers = 10;
const appends = 50;

let database: FreshDatabase;
let admin: pg.Client;

beforeEach(async () => {
  database = await freshDatabase();
  admin = new pg.Client({ connectionString: database.url });
  await admin.connect();
  await admin.query(`ALTER DATABASE ${new URL(database.url).pathname.slice(1)} SET track_functions = 'all'`);
});

afterEach(async () => {
  await admin.end();
  await database.drop();
});

const open = () => openPostgresLog({ url: database.url, kernel });

/** Ten followers at the head of one log while another, or the same, appends; gives what each was handed, once all have it. */
async function follow(followed: EventLog, writer: EventLog): Promise<Recorded[][]> {
  const handed = Array.from({ length: followers }, (): Recorded[] => []);
  const subscriptions = handed.map((events) => followed.subscribe(0, (page) => void events.push(...page.events)));
  await kernel.sleep(300); // they reached the head, and the log listens
  for (let turn = 1; turn <= appends; turn++) {
    await writer.append(turn % 2 ? stream() : stream('heartbeat'), 'any', [fact()]);
    await expect.poll(() => subscriptions.every(({ position }) => position >= turn), { interval: 2 }).toBe(true);
  }
  return handed;
}

/** Pages read from the log in this database; sessions tell of theirs at the latest when they end. */
async function pagesRead(): Promise<number> {
  const { rows } = await admin.query<{ calls: string }>(
    "SELECT calls FROM pg_stat_user_functions WHERE funcname = 'federation_read'",
  );
  return Number(rows[0]?.calls ?? 0);
}

describe('ten followers in one process', () => {
  it('read nothing back that the process wrote itself', async () => {
    const log = await open();
    const handed = await follow(log, log);
    const events = await readFrom(log, 0);
    await log.close();
    for (const given of handed) expect(given).toEqual(events);
    await expect.poll(pagesRead).toBeGreaterThanOrEqual(followers); // each looked once when it began
    await kernel.sleep(500);
    expect(await pagesRead()).toBeLessThan(appends * 2);
  });

  it('share one reader of what another process wrote', async () => {
    const [one, two] = [await open(), await open()];
    const handed = await follow(two, one);
    const events = await readFrom(one, 0);
    await Promise.all([one.close(), two.close()]);
    for (const given of handed) expect(given).toEqual(events);
    await expect.poll(pagesRead).toBeGreaterThanOrEqual(appends);
    await kernel.sleep(500);
    expect(await pagesRead()).toBeLessThan(appends * 4); // a page, a look behind it, and what they look for by the clock
  });

  it('are handed everything once and in order when both processes write at once', async () => {
    const [one, two] = [await open(), await open()];
    const handed = Array.from({ length: followers }, (): Recorded[] => []);
    const subscriptions = handed.map((events) => two.subscribe(0, (page) => void events.push(...page.events)));
    const write = async (log: EventLog) => {
      for (let turn = 0; turn < appends; turn++) await log.append(stream(), 'noStream', [fact()]);
    };
    await Promise.all([one, two, one, two].map(write));
    const head = await one.head();
    await expect.poll(() => subscriptions.every(({ position }) => position === head), { timeout: 5_000 }).toBe(true);
    const events = await readFrom(one, 0);
    await Promise.all([one.close(), two.close()]);
    expectDense(events);
    for (const given of handed) expect(given).toEqual(events);
  });
});

describe('an append of one event that is not written', () => {
  it('uses no position, whether it is in conflict or there already', async () => {
    const log = await open();
    const name = stream();
    const first = fact();
    expect(await log.append(name, 'noStream', [first])).toEqual({ status: 'written', position: 1, revision: 0 });
    expect(await log.append(name, 'noStream', [fact()])).toEqual({ status: 'conflict', revision: 0 });
    expect(await log.append(stream(), 'exists', [fact()])).toEqual({ status: 'conflict', revision: -1 });
    expect(await log.append(stream(), 'any', [first])).toEqual({ status: 'duplicate', position: 1, revision: 0 });
    expect(await log.head()).toBe(1);
    expect(await log.append(name, 0, [fact()])).toEqual({ status: 'written', position: 2, revision: 1 });
    expect(await log.append(stream('heartbeat'), 'any', [fact()])).toMatchObject({ position: 3, revision: 3 });
    await log.close();
  });
});
