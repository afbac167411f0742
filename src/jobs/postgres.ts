/** Jobs in PostgreSQL, in a schema of their own: one pool for all queues and workers of a replica, and a connection that tells when the server was away. */
import { createHash } from 'node:crypto';
import { type PgPool, PostgresConnection, PostgresQueueBackend, type QueueBaseOptions, runMigrations } from 'bullmq';
import pg from 'pg';
import type { JobStore, JobStoreOptions } from '../jobs.ts';
import type { Cancel, Kernel } from '../kernel.ts';

/** Each worker keeps a connection to listen on, and the watch keeps one. The hub has one worker a queue. */
const mostWorkers = 8;
const mostConnections = mostWorkers + 8;
const statementMs = 4_000;
const callMs = 5_000;
const connectMs = 2_000;
/** Between two tries of the watch, and of a worker, whose server is away. */
const retryMs = 500;
/** How often the watch asks, so that a connection that died in silence is noticed. */
const askMs = 5_000;
/** Longest wait of an idle worker before it looks by itself: it may have listened on a dead connection. */
const idleSeconds = 5;
const endMs = 500;

export async function openPostgresStore(url: string, options: JobStoreOptions): Promise<JobStore> {
  const { kernel } = options;
  const schema = schemaOf(options.federationId);
  const pool = connect(url, schema, kernel);
  const watch = new Watch(pool, schema, options);
  await watch.begin();
  const backends: Backend[] = [];
  let workers = 0;
  return {
    backend: 'postgres',
    factory(name, given, { withBlockingConnection: isWorker = false } = {}) {
      if (isWorker && ++workers > mostWorkers)
        throw new Error(`jobs in PostgreSQL have ${mostWorkers} workers at most`);
      const backend = new Backend(pool, name, given, isWorker, kernel);
      backends.push(backend);
      return backend;
    },
    get present() {
      return watch.present;
    },
    workerOptions: {},
    leave: () => watch.end(),
    async close() {
      const ended = Promise.all(backends.map((backend) => backend.close())).then(() => pool.end());
      await Promise.race([ended.catch(() => {}), kernel.sleep(endMs)]); // what is broken has ended too
    },
  };
}

/** `federation_jobs_` and the federation's id, as far as a schema may be named so, made unique by a hash. */
function schemaOf(federationId: string): string {
  const readable = federationId
    .toLowerCase()
    .replace(/[^a-z0-9]/g, '_')
    .slice(0, 36);
  return `federation_jobs_${readable}_${createHash('sha256').update(federationId).digest('hex').slice(0, 8)}`;
}

function connect(url: string, schema: string, kernel: Kernel): pg.Pool {
  const pool = new pg.Pool({
    connectionString: url,
    application_name: 'fedhub jobs',
    max: mostConnections,
    connectionTimeoutMillis: connectMs,
    statement_timeout: statementMs,
    lock_timeout: statementMs / 2,
    query_timeout: callMs,
    keepAlive: true,
    keepAliveInitialDelayMillis: askMs,
    // jobs can be made again, so that a commit need not wait for the disk
    options: `-c search_path=${schema} -c synchronous_commit=off`,
  });
  pool.setMaxListeners(50); // each queue and worker listens
  pool.on('error', (error) => kernel.log.debug({ reason: error.message }, 'an idle connection of the jobs was lost'));
  return pool;
}

/** The pool as BullMQ takes it, without the one look at the schema that must not fail: the watch migrates, now or when it can. */
class SharedPool extends PostgresConnection {
  override async waitUntilReady(): Promise<void> {}
}

class Backend extends PostgresQueueBackend {
  readonly #kernel: Kernel;

  constructor(ours: pg.Pool, name: string, given: QueueBaseOptions, isWorker: boolean, kernel: Kernel) {
    const pool = ours as unknown as PgPool; // BullMQ's own words for a pg.Pool, whose overloads TypeScript cannot match
    super(new SharedPool(pool), name, { ...given, connection: pool }, true, isWorker ? name : undefined);
    this.#kernel = kernel;
  }

  override get maximumBlockTimeout(): number {
    return idleSeconds;
  }

  /** A worker asks again at once when asking failed: not while the server is away. */
  override async moveToActive(token: string, name?: string) {
    try {
      return await super.moveToActive(token, name);
    } catch (error) {
      if (!this.closing) await this.#kernel.sleep(retryMs);
      throw error;
    }
  }
}

/** Holds one connection, migrates over it, and raises a doubt whenever it is there again: commits that nobody waited for may be lost. */
class Watch {
  readonly #pool: pg.Pool;
  readonly #schema: string;
  readonly #options: JobStoreOptions;
  #client: pg.PoolClient | undefined;
  #stopAsking: Cancel = () => {};
  #retry: Cancel = () => {};
  #ended = false;

  constructor(pool: pg.Pool, schema: string, options: JobStoreOptions) {
    this.#pool = pool;
    this.#schema = schema;
    this.#options = options;
  }

  get present(): boolean {
    return this.#client !== undefined;
  }

  /** Tries once, and goes on trying behind the scenes when that failed. */
  async begin(): Promise<void> {
    try {
      await this.#connect();
    } catch (error) {
      this.#say(error, 'the jobs cannot be reached in PostgreSQL; they wait until they can');
      this.#again();
    }
  }

  end(): void {
    this.#ended = true;
    this.#retry();
    this.#lose(undefined);
  }

  async #connect(): Promise<void> {
    const client = await this.#pool.connect();
    try {
      await runMigrations(client, this.#schema);
    } catch (error) {
      client.release(true);
      throw error;
    }
    if (this.#ended) return client.release(true);
    this.#client = client;
    client.on('error', (error) => this.#lose(client, error));
    client.on('end', () => this.#lose(client));
    const ask = () => void client.query('SELECT 1').catch((error) => this.#lose(client, error));
    this.#stopAsking = this.#options.kernel.every(askMs, ask);
  }

  #lose(client: pg.PoolClient | undefined, error?: unknown): void {
    const lost = this.#client;
    if (!lost || (client && client !== lost)) return;
    this.#client = undefined;
    this.#stopAsking();
    lost.release(true);
    if (this.#ended) return;
    this.#say(error, 'PostgreSQL does not answer; jobs wait until it does');
    this.#again();
  }

  #again(): void {
    const { kernel, doubt } = this.#options;
    this.#retry = kernel.after(retryMs * (0.5 + kernel.random() / 2), () => {
      this.#connect().then(
        () => {
          if (this.#ended) return;
          kernel.log.warn({}, 'PostgreSQL is there; the jobs are looked through');
          doubt();
        },
        () => this.#ended || this.#again(),
      );
    });
  }

  #say(error: unknown, what: string): void {
    const reason = error instanceof Error ? error.message : 'the server closed the connection';
    this.#options.kernel.log.warn({ reason }, what);
  }
}
