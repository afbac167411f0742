/** Before all tests: the hub is built, and a real PostgreSQL is there. After them, nothing of it is left. */
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { promisify } from 'node:util';
import pg from 'pg';
import type { TestProject } from 'vitest/node';
import { startPostgres } from './postgres-server.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** A database of a real server on which databases may be created. */
    postgresUrl: string;
  }
}

/** Uses the server that `DATABASE_URL` names, or starts one of its own. Throws when there is none: no test is skipped. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const [server] = await Promise.all([postgres(), build()]);
  project.provide('postgresUrl', server.url);
  return server.remove;
}

async function postgres(): Promise<{ url: string; remove(): Promise<void> }> {
  const given = process.env.DATABASE_URL;
  if (!given || !/^postgres(ql)?:\/\//.test(given)) return startPostgres({ settings: { max_connections: 200 } });
  const client = new pg.Client({ connectionString: given, connectionTimeoutMillis: 10_000 });
  try {
    await client.connect();
  } catch (error) {
    throw new Error('the PostgreSQL server that DATABASE_URL names cannot be reached', { cause: error });
  }
  await client.end();
  return { url: given, remove: async () => {} };
}

/** Tests start the built program. Types are checked elsewhere: here a type error is said, and what was emitted is used. */
async function build(): Promise<void> {
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
  try {
    await promisify(execFile)(process.execPath, [tsc, '-p', 'tsconfig.build.json'], {
      cwd: `${import.meta.dirname}/../..`,
    });
  } catch (error) {
    const errors = error instanceof Error && 'stdout' in error ? String(error.stdout) : '';
    if (!errors.includes('error TS')) throw error;
    console.error(`the build has type errors:\n${errors.split('\n').slice(0, 5).join('\n')}`);
  }
}
