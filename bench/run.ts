/**
 * `npm run bench [-- name …] [--quick]`: measures the hub as it is built against simpler programs on the same machine in the
 * same run, and prints what came out beside what was promised. A full run is written to `bench/results`.
 */
import { execFile } from 'node:child_process';
import { closeSync, fsyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { cpus, release, tmpdir, totalmem, type } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { startPostgres } from '../test/setup/postgres-server.ts';
import { type Figure, isMet, percentile } from './measure.ts';
import { startChild } from './processes.ts';
import { type Machine, type Report, table, write } from './report.ts';
import type { ScenarioProcess } from './scenario-process.ts';
import { scenarios } from './scenarios.ts';

const args = process.argv.slice(2);
const quick = args.includes('--quick');
const asked = args.filter((name) => name !== '--quick');
const rounds = quick ? 2 : 5;
/** A scenario that takes longer than this has failed. */
const patienceMs = 180_000;

const unknown = asked.filter((name) => !(name in scenarios));
if (unknown.length > 0) {
  console.error(`there is no ${unknown.join(', ')}; there are ${Object.keys(scenarios).join(', ')}`);
  process.exit(2);
}

const began = performance.now();
const figures: Figure[] = [];
const failures: Record<string, string> = {};
await promisify(execFile)('npm', ['run', 'build'], { cwd: new URL('..', import.meta.url) });
const server = await postgres();
try {
  for (const name of asked.length > 0 ? asked : Object.keys(scenarios)) {
    const at = performance.now();
    try {
      figures.push(...(await runScenario(name, server.url)));
    } catch (error) {
      failures[name] = error instanceof Error ? error.message : String(error);
    }
    console.error(`${name}: ${Math.round((performance.now() - at) / 1000)} s`);
  }
  const report: Report = {
    time: new Date().toISOString(),
    machine: await machine(server.url),
    rounds,
    seconds: (performance.now() - began) / 1000,
    figures,
    failures,
  };
  console.log(table(figures));
  for (const [name, reason] of Object.entries(failures)) console.error(`${name} failed: ${reason}`);
  if (!quick && asked.length === 0) write(new URL('./results/', import.meta.url), report);
  const missed = figures.filter((figure) => isMet(figure) === false).length;
  console.error(`${Math.round(report.seconds)} s, ${missed} missed, ${Object.keys(failures).length} failed`);
  if (Object.keys(failures).length > 0) process.exitCode = 1;
} finally {
  await server.remove();
}

async function runScenario(name: string, postgresUrl: string): Promise<readonly Figure[]> {
  const child = startChild<ScenarioProcess>(new URL('./scenario-process.ts', import.meta.url));
  const late = setTimeout(() => child.process.kill('SIGKILL'), patienceMs);
  try {
    return await child.ask('run', name, rounds, postgresUrl);
  } finally {
    clearTimeout(late);
    await child.stop();
  }
}

/** The server that `DATABASE_URL` names, or one of this run's own. */
async function postgres(): Promise<{ url: string; remove(): Promise<void> }> {
  const given = process.env.DATABASE_URL;
  if (given && /^postgres(ql)?:\/\//.test(given)) return { url: given, remove: async () => {} };
  return startPostgres({ settings: { max_connections: 200 } });
}

async function machine(postgresUrl: string): Promise<Machine> {
  const client = new pg.Client({ connectionString: postgresUrl });
  await client.connect();
  const { rows } = await client.query<{ server_version: string }>('SHOW server_version');
  await client.end();
  const cores = cpus();
  return {
    cpus: `${cores.length} × ${cores[0]?.model.trim() ?? 'CPU'}`,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
    node: process.versions.node,
    postgres: `PostgreSQL ${rows[0]?.server_version}`,
    fsyncMs: fsyncMs(),
  };
}

/** How long the disk under the temporary folder takes to make 4 KiB durable: what every commit waits for. */
function fsyncMs(): number {
  const folder = mkdtempSync(join(tmpdir(), 'fedhub-bench-'));
  const file = openSync(join(folder, 'sync'), 'w');
  const page = Buffer.alloc(4096);
  const took = Array.from({ length: 50 }, () => {
    const at = performance.now();
    writeSync(file, page);
    fsyncSync(file);
    return performance.now() - at;
  });
  closeSync(file);
  rmSync(folder, { recursive: true });
  return Math.round(percentile(took, 50) * 100) / 100;
}
