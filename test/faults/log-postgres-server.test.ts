/** A PostgreSQL server that restarts, or stands still, under a log that is being written. */
import { readdirSync, readFileSync } from 'node:fs';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Fault } from '../../src/errors.ts';
import type { EventLog, NewEvent, Recorded } from '../../src/events/log.ts';
import { openPostgresLog } from '../../src/events/log-postgres.ts';
import { createKernel } from '../../src/kernel.ts';
import { freshDatabase } from '../setup/postgres.ts';
import { type PostgresServer, startPostgres } from '../setup/postgres-server.ts';
import { expectDense, readFrom } from './writer-process.ts';

const kernel = createKernel({ logLevel: 'silent' });
const timeoutMs = 2_000;
let server: PostgresServer;
let log: EventLog;
let url: string;

beforeEach(async () => {
  server = await startPostgres();
  url = (await freshDatabase(server.url)).url;
  log = await openPostgresLog({ url, kernel, timeoutMs });
});

afterEach(async () => {
  await log.close();
  await server.remove();
});

describe('a PostgreSQL server under a log that is being written', () => {
  it('may restart three times: what was acknowledged is there once, and writers and followers go on', async () => {
    const handed: Recorded[] = [];
    const subscription = log.subscribe(0, (page) => void handed.push(...page.events));
    const acknowledged: string[] = [];
    let running = true;
    const write = async (_: unknown, writer: number) => {
      while (running) {
        const event = fact();
        const verdict = await log.append(`node-${writer}`, 'any', [event]).catch(unavailable);
        if (verdict) acknowledged.push(event.id);
        await kernel.sleep(2);
      }
    };
    const writers = Promise.all(Array.from({ length: 16 }, write));
    for (let restart = 0; restart < 3; restart++) {
      await kernel.sleep(500 + kernel.random() * 500);
      await server.stop();
      await kernel.sleep(kernel.random() * 3_000);
      await server.start();
      const before = acknowledged.length;
      await expect.poll(() => acknowledged.length, { timeout: 20_000 }).toBeGreaterThan(before + 50);
    }
    running = false;
    await writers;

    const found = await readFrom(log, 0);
    expectDense(found);
    const there = new Set(found.map((event) => event.id));
    expect(
      acknowledged.filter((id) => !there.has(id)),
      'acknowledged and lost',
    ).toEqual([]);
    expect(there.size, 'none is there twice').toBe(found.length);
    await expect.poll(() => subscription.position, { timeout: 20_000 }).toBe(await log.head());
    expect(handed).toEqual(found);
  });

  it('may leave the process that writes standing still: the append is made by another in bounded time, and once', async () => {
    await log.append('node-a', 'noStream', [fact()]);
    const pid = await writingProcess();
    process.kill(pid, 'SIGSTOP');
    try {
      const start = kernel.monotonicMs();
      expect(await log.append('node-a', 0, [fact()])).toMatchObject({ status: 'written', revision: 1 });
      expect(kernel.monotonicMs() - start, 'milliseconds until it was written').toBeLessThan(4 * timeoutMs);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await expect.poll(() => writers(), { timeout: 10_000 }).not.toContain(pid);
    expect((await log.readStream('node-a', 0, 10)).map((event) => event.revision)).toEqual([0, 1]);
  });

  it('may stand still as a whole: appends fail as unavailable in bounded time, and go on when it does', async () => {
    await log.append('node-a', 'noStream', [fact()]);
    const stopped = processesOf(server);
    for (const pid of stopped) process.kill(pid, 'SIGSTOP');
    try {
      const start = kernel.monotonicMs();
      await expect(log.append('node-a', 0, [fact()])).rejects.toMatchObject({ code: 'log_unavailable' });
      expect(kernel.monotonicMs() - start, 'milliseconds until it was told').toBeLessThan(10 * timeoutMs);
      await expect(log.readAll(0, 10)).rejects.toMatchObject({ code: 'log_unavailable' });
    } finally {
      for (const pid of stopped) process.kill(pid, 'SIGCONT');
    }
    const verdict = await log.append('node-b', 'noStream', [fact()]);
    expect(verdict.status).toBe('written');
    expectDense(await readFrom(log, 0));
  });
});

async function writingProcess(): Promise<number> {
  const pids = await writers();
  expect(pids).toHaveLength(1);
  return pids[0]!;
}

async function writers(): Promise<number[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query<{ pid: number }>(
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'fedhub log' AND query LIKE '%federation_append%'",
  );
  await client.end();
  return rows.map((row) => row.pid);
}

/** The server's first process and its children: all that has to stand still for the server to do so. */
function processesOf({ folder }: PostgresServer): number[] {
  const first = Number(readFileSync(`${folder}/postmaster.pid`, 'utf8').split('\n')[0]);
  const children = readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry) && parentOf(entry) === first)
    .map(Number);
  return [first, ...children];
}

function parentOf(pid: string): number | undefined {
  try {
    return Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  } catch {
    return undefined; // it ended meanwhile
  }
}

function unavailable(error: unknown): undefined {
  if (error instanceof Fault && error.code === 'log_unavailable') return;
  throw error;
}

function fact(): NewEvent {
  return {
    id: kernel.uuid(),
    type: 'node.registered',
    version: 1,
    time: '2030-01-02T03:04:05.678Z',
    data: '{}',
    meta: '{}',
  };
}
