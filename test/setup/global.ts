/** Before all tests: the hub is built, and a real PostgreSQL and a real Redis are there. After them, nothing of it is left. */
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { promisify } from 'node:util';
import pg from 'pg';
import type { TestProject } from 'vitest/node';
import { startPostgres } from './postgres-server.ts';
import { startRedis } from './redis.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** A database of a real server on which databases may be created. */
    postgresUrl: string;
    /** A Redis that hubs of many federations share: their keys carry the federation's id. */
    redisUrl: string;
  }
}

/** Uses the servers that `DATABASE_URL` and `REDIS_URL` name, or starts its own. Throws when there is none: no test is skipped. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const [database, redisServer] = await Promise.all([postgres(), redis(), build()]);
  project.provide('postgresUrl', database.url);
  project.provide('redisUrl', redisServer.url);
  return async () => void (await Promise.all([database.remove(), redisServer.remove()]));
}

async function redis(): Promise<{ url: string; remove(): Promise<void> }> {
  const given = process.env.REDIS_URL;
  return given ? { url: given, remove: async () => {} } : startRedis();
}

async function postgres(): Promise<{ url: string; remove(): Promise<void> }> {
  const given = process.env.DATABASE_URL;
  if (!given || !/^postgres(ql)?:\/\//.test(given)) return startPostgres({ settings: { max_connections: 300 } });
  const client = new pg.Client({ connectionString: given, connectionTimeoutMillis: 10_000 });
  try {
    await client.connect();
  } catch (error) {
    throw new Error('the PostgreSQL server that DATABASE_URL names cannot be reached', { cause: error });
  }
  await client.end();
  return { url: given, remove: async () => {} };
}

/**
 * Tests start the built program: it is built here, unless FEDHUB_PROGRAM names one that is there already. Types are checked
 * elsewhere: here a type error is said, and what was emitted is used.
 */
async function build(): Promise<void> {
  if (process.env.FEDHUB_PROGRAM) return;
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
  const run = (...args: string[]) =>
    promisify(execFile)(process.execPath, args, { cwd: `${import.meta.dirname}/../..` });
  try {
    await run(tsc, '-p', 'tsconfig.build.json');
  } catch (error) {
    const errors = error instanceof Error && 'stdout' in error ? String(error.stdout) : '';
    if (!errors.includes('error TS')) throw error;
    console.error(`the build has type errors:\n${errors.split('\n').slice(0, 5).join('\n')}`);
  }
  await run('infra/bundle.mjs');
}
