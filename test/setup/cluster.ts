/** Several replicas of one hub, each a process, over one PostgreSQL and one Redis of their own, behind one door. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Front, openFront } from '../../infra/front.ts';
import { freePort } from './free-port.ts';
import { type HubProcess, startHubProcess } from './hub-process.ts';
import { type PostgresServer, startPostgres } from './postgres-server.ts';
import { type RedisServer, startRedis } from './redis.ts';

export interface Cluster {
  readonly postgres: PostgresServer;
  readonly redis: RedisServer;
  readonly replicas: readonly Replica[];
  /** Where nodes connect: goes to a replica that is there. */
  readonly front: Front;
  readonly federationId: string;
  readonly adminToken: string;
  /** Stops all, in order, and removes what it left. */
  stop(): Promise<void>;
}

export interface ClusterOptions {
  /** Default 3. */
  readonly replicas?: number;
  /** Ports of the front and, from the next on, of the replicas; any free ones when absent. */
  readonly port?: number;
  /** Settings of each replica besides those that this gives; they win. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts the cluster and returns when every replica listens. Throws, with everything stopped again, when one does not. */
export async function startCluster({ replicas: count = 3, port = 0, env = {} }: ClusterOptions = {}): Promise<Cluster> {
  const folder = await mkdtemp(path.join(tmpdir(), 'fedhub-cluster-'));
  const stops: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true })];
  const stop = async () => {
    for (const step of stops.splice(0).reverse()) await step();
  };
  try {
    const redis = await startRedis();
    stops.push(() => redis.remove());
    const postgres = await startPostgres({ settings: { max_connections: 300 } });
    stops.push(() => postgres.remove());
    const stores = { DATABASE_URL: postgres.url, REDIS_URL: redis.url, FEDERATION_DATA_DIR: folder };
    const ports: number[] = [];
    for (let at = 0; at < count; at++) ports.push(port === 0 ? await freePort() : port + 1 + at);
    const replicas = ports.map((own) => new Replica(folder, { PORT: String(own), ...stores, ...env }));
    stops.push(() => Promise.all(replicas.map((replica) => replica.stop())));
    await replicas[0]!.start(); // it founds the federation, and is told the token
    await Promise.all(replicas.slice(1).map((replica) => replica.start()));
    const front = await openFront(port, ports);
    stops.push(() => front.close());
    const { adminToken, federationId } = replicas[0]!;
    if (adminToken === undefined) throw new Error('the first replica founded no federation');
    return { postgres, redis, replicas, front, federationId, adminToken, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** One replica, which may be killed and started again at the same place. */
export class Replica {
  readonly #cwd: string;
  readonly #env: Readonly<Record<string, string>>;
  #process: HubProcess | undefined;
  adminToken: string | undefined;
  federationId = '';

  constructor(cwd: string, env: Readonly<Record<string, string>>) {
    this.#cwd = cwd;
    this.#env = env;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#env.PORT}`;
  }

  get alive(): boolean {
    const child = this.#process?.child;
    return child !== undefined && child.exitCode === null && child.signalCode === null;
  }

  /** Starts it, unless it runs. */
  async start(): Promise<void> {
    if (this.alive) return;
    this.#process = await startHubProcess(this.#cwd, this.#env);
    this.federationId = this.#process.federationId;
    this.adminToken ??= this.#process.adminToken;
  }

  /** SIGKILL; returns when it is gone. */
  async kill(): Promise<void> {
    this.#process?.child.kill('SIGKILL');
    await this.#process?.exited;
  }

  /** SIGTERM: it drains. Answers the exit code. */
  async stop(): Promise<number | null> {
    this.#process?.child.kill('SIGTERM');
    await this.#process?.exited;
    return this.#process?.child.exitCode ?? null;
  }

  stderr(): string {
    return this.#process?.stderr() ?? '';
  }
}
