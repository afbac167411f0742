/** Connections of the log that the server cuts while it is at work: nothing is lost, nothing is there twice, and it goes on. */
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EventLog, Recorded, Verdict } from '../../src/events/log.ts';
import { openPostgresLog } from '../../src/events/log-postgres.ts';
import { expectDense, readFrom } from '../faults/writer-process.ts';
import { type FreshDatabase, freshDatabase } from '../setup/postgres.ts';
import { fact, kernel, stream } from './conformance/facts.ts';

const pooled = "application_name = 'fedhub log'";

let database: FreshDatabase;
let admin: pg.Client;
let log: EventLog;

beforeEach(async () => {
  database = await freshDatabase();
  admin = new pg.Client({ connectionString: database.url });
  await admin.connect();
  log = await openPostgresLog({ url: database.url, kernel, segmentSize: 1_000 });
});

afterEach(async () => {
  await log.close();
  await admin.end();
  await database.drop();
});

describe('a log in PostgreSQL whose connections are cut', () => {
  it('writes each append once when its writer is cut again and again', async () => {
    const acknowledged = new Map<string, Verdict>();
    const cutting = cutUntilStopped(`${pooled} AND query LIKE '%federation_append%'`, () => acknowledged.size);
    await appendForAWhile(1_500, acknowledged);
    expect(await cutting.stop(), 'connections cut').toBeGreaterThan(5);
    const events = await readFrom(log, 0);
    expectDense(events);
    expect(events.map((event) => event.id).sort(), 'each event once').toEqual([...acknowledged.keys()].sort());
    for (const event of events) expect(acknowledged.get(event.id)).toMatchObject({ position: event.position });
  });

  it('reads on when its readers are cut', async () => {
    for (let append = 0; append < 20; append++) await log.append(stream(), 'any', [fact()]);
    let reads = 0;
    const cutting = cutUntilStopped(`${pooled} AND query LIKE '%federation_read%'`, () => reads);
    for (; reads < 100; reads++) expect((await log.readAll(0, 100)).events).toHaveLength(20);
    expect(await cutting.stop(), 'connections cut').toBeGreaterThan(3);
  });

  it('hands every event to its followers once when its listener is cut, and listens again', async () => {
    const handed: Recorded[] = [];
    const subscription = log.subscribe(0, (page) => void handed.push(...page.events));
    const cutting = cutUntilStopped("application_name = 'fedhub log listener'", () => handed.length);
    await appendForAWhile(1_500);
    expect(await cutting.stop(), 'connections cut').toBeGreaterThan(3);
    await expect.poll(() => subscription.position, { timeout: 5_000 }).toBe(await log.head());
    expect(handed).toEqual(await readFrom(log, 0));
    await expect.poll(listeners, { timeout: 10_000 }).toBe(1);
    await subscription.close();
  });

  it('closes while its connections are being cut', async () => {
    const cutting = cutUntilStopped("application_name LIKE 'fedhub log%'", kernel.monotonicMs);
    const appends = Promise.allSettled(Array.from({ length: 50 }, () => log.append(stream(), 'any', [fact()])));
    await log.close();
    await appends;
    await cutting.stop();
    expect(await listeners()).toBe(0);
  });
});

/** Sixteen writers, each append awaited; notes the verdict of each event by its id. All must be written. */
async function appendForAWhile(ms: number, acknowledged = new Map<string, Verdict>()): Promise<void> {
  const end = kernel.monotonicMs() + ms;
  const write = async () => {
    for (const name = stream(); kernel.monotonicMs() < end; ) {
      const event = fact();
      const verdict = await log.append(name, 'any', [event]);
      expect(verdict.status).toBe('written');
      acknowledged.set(event.id, verdict);
      await kernel.sleep(1);
    }
  };
  await Promise.all(Array.from({ length: 16 }, write));
}

/**
 * Cuts the connections that match, at random moments, but only when `progress` moved since the last cut: how often one thing
 * is tried again has a bound, and a slow machine must not meet it.
 */
function cutUntilStopped(matching: string, progress: () => number): { stop(): Promise<number> } {
  let stopped = false;
  let cut = 0;
  const cutting = (async () => {
    for (let last = -1; !stopped; await kernel.sleep(kernel.random() * 20)) {
      if (progress() === last) continue;
      last = progress();
      const { rowCount } = await admin.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND ${matching}`,
      );
      cut += rowCount ?? 0;
    }
    return cut;
  })();
  return {
    stop() {
      stopped = true;
      return cutting;
    },
  };
}

async function listeners(): Promise<number> {
  const { rowCount } = await admin.query(
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'fedhub log listener'",
  );
  return rowCount ?? 0;
}
