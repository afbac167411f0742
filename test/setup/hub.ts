/** A real hub for tests: the built program (or the one that FEDHUB_PROGRAM names) as a child process, on a free port, with a folder (and a database) of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { inject } from 'vitest';
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

const program = process.env.FEDHUB_PROGRAM ?? path.resolve(import.meta.dirname, '../../dist/cli/fedhub.js');
const longestStartMs = 30_000;
const rememberedLength = 1_000_000;

/** Starts a hub and waits until it listens. Throws with what it said when it does not. */
export async function startTestHub(options: TestHubOptions = {}): Promise<TestHub> {
  const folder = await mkdtemp(path.join(tmpdir(), 'fedhub-test-'));
  const database = options.database === 'postgres' ? await freshDatabase() : undefined;
  const child = spawn(process.execPath, [program, 'serve', '--json'], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env.PATH,
      PORT: '0',
      ...noLimits, // all of a test comes from one address, within seconds
      ...(database && { DATABASE_URL: database.url }),
      ...(options.redis && { REDIS_URL: inject('redisUrl') }),
      ...options.env,
    },
  });
  const said = { text: '' };
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said.text = (said.text + text).slice(-rememberedLength);
  });
  const exited = once(child, 'exit');
  const cleanUp = async () => {
    await exited;
    await database?.drop();
    await rm(folder, { recursive: true, force: true });
  };
  const first = await firstLine(child);
  if (first === undefined) {
    child.kill('SIGKILL');
    await cleanUp();
    throw new Error(`the hub did not start. It said:\n${said.text}`);
  }
  // what `fedhub serve --json` prints once it listens
  const { listening, federation_id, admin_token } = JSON.parse(first) as Record<string, string>;
  const end = async (signal: NodeJS.Signals) => {
    child.kill(signal);
    await cleanUp();
    return child.exitCode;
  };
  return {
    url: listening!,
    port: Number(new URL(listening!).port),
    federationId: federation_id!,
    adminToken: admin_token!,
    folder,
    databaseUrl: database?.url,
    pid: child.pid!,
    stderr: () => said.text,
    alive: () => child.exitCode === null && child.signalCode === null,
    stop: () => end('SIGTERM'),
    kill: async () => void (await end('SIGKILL')),
  };
}

async function firstLine(child: ChildProcess): Promise<string | undefined> {
  const lines = createInterface({ input: child.stdout! });
  const late = setTimeout(() => lines.close(), longestStartMs);
  try {
    for await (const line of lines) return line;
    return undefined;
  } finally {
    clearTimeout(late);
    child.stdout!.resume();
  }
}
