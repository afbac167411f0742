/** A real hub for tests: the built program (or the one that FEDHUB_PROGRAM names) as a child process, on a free port, with a folder (and a database) of its own. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { inject } from 'vitest';
import { startHubProcess } from './hub-process.ts';
import { noLimits } from './no-limits.ts';
import { freshDatabase } from './postgres.ts';

export interface TestHubOptions {
  /** Where log and views are; `sqlite` unless said. */
  readonly database?: 'sqlite' | 'postgres';
  /** Counts limits in the Redis of the set-up; replicas of one federation share them there. */
  readonly redis?: boolean;
  /** Settings besides those that this gives; they win. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface TestHub {
  readonly url: string;
  readonly port: number;
  readonly federationId: string;
  readonly adminToken: string;
  /** The working folder of the process; SQLite files lie in `data` under it. */
  readonly folder: string;
  /** Of the PostgreSQL database, when there is one. */
  readonly databaseUrl: string | undefined;
  readonly pid: number;
  /** What it wrote to its error stream so far: its log, one JSON line an entry. The last megabyte. */
  stderr(): string;
  /** False once the process ended. */
  alive(): boolean;
  /** SIGTERM; answers the exit code. Removes folder and database. Twice is harmless. */
  stop(): Promise<number | null>;
  /** SIGKILL. Removes folder and database. */
  kill(): Promise<void>;
}

/** Starts a hub and waits until it listens. Throws with what it said when it does not. */
export async function startTestHub(options: TestHubOptions = {}): Promise<TestHub> {
  const folder = await mkdtemp(path.join(tmpdir(), 'fedhub-test-'));
  const database = options.database === 'postgres' ? await freshDatabase() : undefined;
  const cleanUp = async () => {
    await database?.drop();
    await rm(folder, { recursive: true, force: true });
  };
  const started = await startHubProcess(folder, {
    PORT: '0',
    ...noLimits, // all of a test comes from one address, within seconds
    ...(database && { DATABASE_URL: database.url }),
    ...(options.redis && { REDIS_URL: inject('redisUrl') }),
    ...options.env,
  }).catch(async (error: unknown) => {
    await cleanUp();
    throw error;
  });
  const { child, url, federationId, exited, stderr } = started;
  const end = async (signal: NodeJS.Signals) => {
    child.kill(signal);
    await exited;
    await cleanUp();
    return child.exitCode;
  };
  return {
    url,
    port: Number(new URL(url).port),
    federationId,
    adminToken: started.adminToken!, // undefined on a second start; tests that start again know that
    folder,
    databaseUrl: database?.url,
    pid: child.pid!,
    stderr,
    alive: () => child.exitCode === null && child.signalCode === null,
    stop: () => end('SIGTERM'),
    kill: async () => void (await end('SIGKILL')),
  };
}
