/** A real Redis of the tests' own: the redis-server of this machine, or one in Docker, or one that is installed for it. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { access, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { freePort } from './free-port.ts';

export interface RedisServer {
  readonly url: string;
  /** Kills it; connections are cut, and all that it held is gone. */
  stop(): Promise<void>;
  /** Starts it again on the same port, empty, unless it runs. */
  start(): Promise<void>;
  /** Keeps connections open and answers nothing, until `resume`. */
  freeze(): Promise<void>;
  resume(): Promise<void>;
  /** Empties it. */
  flush(): Promise<void>;
  /** Stops it and removes what it left. */
  remove(): Promise<void>;
}

/** What runs on a port, wherever it runs. */
interface Running {
  kill(): Promise<void>;
  signal(name: 'SIGSTOP' | 'SIGCONT'): Promise<void>;
}

type Start = (port: number) => Promise<Running>;

const run = promisify(execFile);
const program = 'redis-server';
const options = ['--save', '', '--appendonly', 'no', '--maxmemory', '256mb', '--maxmemory-policy', 'noeviction'];
const longestStartMs = 10_000;

/** Starts a server on a free port, without persistence. Throws, and says what to install, where there is none to be had. */
export async function startRedis(): Promise<RedisServer> {
  const [begin, port] = await Promise.all([wayToStart(), freePort()]);
  const url = `redis://127.0.0.1:${port}`;
  let running: Running | undefined = await begin(port);
  const stop = async () => {
    const ending = running;
    running = undefined;
    await ending?.kill();
  };
  return {
    url,
    stop,
    async start() {
      running ??= await begin(port);
    },
    freeze: async () => running?.signal('SIGSTOP'),
    resume: async () => running?.signal('SIGCONT'),
    flush: () => ask(url, (client) => client.flushall()),
    remove: stop,
  };
}

/** Uses what is here: the program, else Docker, else the package of the system where we may install it. */
async function wayToStart(): Promise<Start> {
  if (await has(program)) return startProgram;
  if (await run('docker', ['info'], { timeout: 10_000 }).catch(() => undefined)) return startContainer;
  if (process.getuid?.() === 0 && (await has('apt-get'))) {
    await run('apt-get', ['update']);
    await run('apt-get', ['install', '-y', 'redis-server'], {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
    if (await has(program)) return startProgram;
  }
  throw new Error(
    'the tests need a Redis: install redis-server (Debian: apt-get install redis-server; macOS: brew install redis), or Docker, or name one in REDIS_URL',
  );
}

async function startProgram(port: number): Promise<Running> {
  const folder = await mkdtemp(path.join(tmpdir(), 'fedhub-redis-'));
  const child = spawn(program, ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, ...options], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      said.push(text);
      if (said.length > 50) said.shift();
    });
  }
  const removeFolder = () => rmSync(folder, { recursive: true, force: true });
  const atExit = () => {
    child.kill('SIGKILL');
    removeFolder();
  };
  process.once('exit', atExit); // an interrupted run comes to no teardown
  const ended = once(child, 'exit');
  const kill = async () => {
    child.kill('SIGKILL');
    await ended;
    removeFolder();
    process.off('exit', atExit);
  };
  try {
    await Promise.race([answers(port), ended.then(() => Promise.reject(new Error('redis-server ended')))]);
  } catch (error) {
    await kill();
    throw new Error(`redis-server did not start. It said:\n${said.join('')}`, { cause: error });
  }
  return { kill, signal: async (name) => void child.kill(name) };
}

async function startContainer(port: number): Promise<Running> {
  const { GenericContainer } = await import('testcontainers');
  const container = await new GenericContainer('redis:7-alpine')
    .withExposedPorts({ container: 6379, host: port })
    .withCommand([program, ...options])
    .start();
  await answers(port);
  return {
    kill: async () => void (await container.stop({ timeout: 0 })),
    signal: async (name) => void (await run('docker', [name === 'SIGSTOP' ? 'pause' : 'unpause', container.getId()])),
  };
}

async function answers(port: number): Promise<void> {
  const deadline = performance.now() + longestStartMs;
  for (;;) {
    try {
      return await ask(`redis://127.0.0.1:${port}`, (client) => client.ping());
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((done) => setTimeout(done, 20));
    }
  }
}

/** One question over a connection of its own. */
async function ask(url: string, question: (client: Redis) => Promise<unknown>): Promise<void> {
  const client = new Redis(url, { lazyConnect: true, retryStrategy: () => null, connectTimeout: 2_000 });
  client.on('error', () => {}); // the promise rejects as well
  try {
    await client.connect();
    await question(client);
  } finally {
    client.disconnect();
  }
}

async function has(name: string): Promise<boolean> {
  const folders = (process.env.PATH ?? '').split(path.delimiter);
  const found = folders.map((folder) => access(path.join(folder, name)).then(() => true));
  return Promise.any(found).catch(() => false);
}
