/** Jobs in Redis: connections that fail fast where jobs are added and come back by themselves where they are done, and a watch over what Redis forgets. */
import { createRedisBackend } from 'bullmq';
import { Redis } from 'ioredis';
import type { JobStore, JobStoreOptions } from '../jobs.ts';
import type { Cancel, Kernel } from '../kernel.ts';

/** A Redis that owes an answer for so long is taken for gone, and what was asked of it fails. */
const silenceMs = 3_000;
const longestReconnectMs = 500;
/** A connection whose other end does not say goodbye is cut after so long. */
const goodbyeMs = 100;
/** How long `open` waits for a Redis that is slow to come. */
const openMs = 1_000;
/** How often the mark is looked at, and how long it outlives a replica that is gone. */
const lookMs = 1_000;
const markMs = 60_000;

export async function openRedisStore(url: string, options: JobStoreOptions): Promise<JobStore> {
  const { federationId, kernel } = options;
  const prefix = `fedhub:{${federationId}}:jobs`;
  const clients = new Clients(url, kernel);
  const adding = clients.connect(hasty);
  const watch = new Watch(adding, clients, `${prefix}-held:${kernel.uuid()}`, options);
  const working = workerClient(clients);
  await watch.begin(openMs);
  return {
    backend: 'redis',
    factory(name, given, options) {
      const atWork = { ...given, prefix };
      if (options?.withBlockingConnection) {
        return createRedisBackend(name, { ...atWork, connection: working() }, options);
      }
      // a queue must not wait for Redis to come, so it asks nothing of it beforehand
      const unasked = { skipWaitingForReady: true, skipVersionCheck: true };
      return createRedisBackend(name, { ...atWork, ...unasked, connection: adding }, options);
    },
    get present() {
      return watch.present;
    },
    workerOptions: {},
    leave() {
      watch.end();
      clients.leave();
    },
    close: () => clients.close(),
  };
}

/**
 * The connection of workers, made for the first of them. What they ask waits for a Redis that is away, a question for each job that
 * runs and one for the next. BullMQ duplicates it to wait for jobs, which is to last longer than any silence.
 */
function workerClient(clients: Clients): () => Redis {
  let shared: Redis | undefined;
  return () => {
    if (shared) return shared;
    const client = clients.connect({ ...patient, socketTimeout: 2 * silenceMs });
    client.duplicate = (override) => clients.connect({ ...patient, connectionName: override?.connectionName ?? '' });
    shared = client;
    return client;
  };
}

/** How a connection takes it that Redis is away. */
interface Manner {
  readonly maxRetriesPerRequest: 0 | null;
  readonly enableOfflineQueue?: boolean;
  readonly socketTimeout?: number;
  readonly connectionName?: string;
}

/** What is asked of a Redis that is away fails, at once or when it is found to be away. */
const hasty = { enableOfflineQueue: false, maxRetriesPerRequest: 0, socketTimeout: silenceMs } satisfies Manner;
/** What is asked waits until Redis is there. */
const patient = { maxRetriesPerRequest: null } satisfies Manner;

/** Every connection of a store, so that all can be cut. */
class Clients {
  readonly #url: string;
  readonly #kernel: Kernel;
  readonly #all = new Set<Redis>();
  #leaving = false;

  constructor(url: string, kernel: Kernel) {
    this.#url = url;
    this.#kernel = kernel;
  }

  connect(options: Manner): Redis {
    const client = new Redis(this.#url, {
      ...options,
      disconnectTimeout: goodbyeMs,
      connectTimeout: silenceMs,
      retryStrategy: (times) => {
        if (this.#leaving) return null;
        return Math.min(50 * 2 ** Math.min(times, 10), longestReconnectMs) * (0.5 + this.#kernel.random() / 2);
      },
    });
    this.#all.add(client);
    client.on('error', () => {}); // the watch says why, once
    client.on('end', () => this.#all.delete(client));
    client.setMaxListeners(50); // queues and workers share connections
    return client;
  }

  leave(): void {
    this.#leaving = true;
  }

  /**
   * One that tries to reconnect ends at its next try, whether that fails or not; told to disconnect before, it would leave those who
   * wait for it waiting.
   */
  async close(): Promise<void> {
    this.#leaving = true;
    const ends = [...this.#all].map((client) => {
      if (client.status === 'reconnecting') client.once('connect', () => client.disconnect());
      else client.disconnect();
      return new Promise((ended) => client.once('end', ended));
    });
    await Promise.race([Promise.all(ends), this.#kernel.sleep(longestReconnectMs + goodbyeMs)]);
  }
}

/**
 * Looks each second whether Redis still holds the mark that was put there. Whoever emptied Redis took the mark as well, and whoever
 * was away may have lost more than the mark: both raise a doubt, once the mark is there again.
 */
class Watch {
  readonly #adding: Redis;
  readonly #eyes: Redis;
  readonly #mark: string;
  readonly #options: JobStoreOptions;
  #cancel: Cancel = () => {};
  /** Whether the mark was put and no connection was lost since. */
  #trusted = false;
  #looking = false;
  #said = true;
  #ended = false;
  /** What was last heard of why a connection failed. */
  #reason: string | undefined;
  /** Set while `begin` waits. */
  #opened: (() => void) | undefined;

  constructor(adding: Redis, clients: Clients, mark: string, options: JobStoreOptions) {
    this.#adding = adding;
    this.#eyes = clients.connect(hasty);
    this.#mark = mark;
    this.#options = options;
    for (const client of [this.#adding, this.#eyes]) {
      client.on('error', (error) => {
        this.#reason = error.message || ('code' in error ? String(error.code) : error.name); // of several tries no message
      });
      client.on('close', () => this.#lost());
      client.on('ready', () => void this.#look());
    }
  }

  get present(): boolean {
    return this.#adding.status === 'ready' && this.#trusted;
  }

  /** Returns when Redis is there, or after so many milliseconds. What it holds then is taken as it is. */
  async begin(ms: number): Promise<void> {
    const { kernel } = this.#options;
    const there = new Promise<void>((resolve) => {
      this.#opened = resolve;
    });
    await Promise.race([there, kernel.sleep(ms)]);
    this.#opened = undefined;
    if (!this.present) this.#lost();
    this.#cancel = kernel.every(lookMs, () => void this.#look());
  }

  end(): void {
    this.#ended = true;
    this.#cancel();
  }

  async #look(): Promise<void> {
    if (this.#looking || this.#ended) return;
    if (this.#eyes.status !== 'ready' || this.#adding.status !== 'ready') return;
    this.#looking = true;
    try {
      const held = this.#trusted && (await this.#eyes.pexpire(this.#mark, markMs)) === 1;
      if (held) return;
      this.#trusted = true; // unless it is lost while the mark is put
      await this.#eyes.set(this.#mark, '1', 'PX', markMs);
      if (!this.present) return;
      if (this.#opened) this.#opened();
      else this.#found();
    } catch {
      this.#trusted = false; // looked at again in a second, or when the connection is back
    } finally {
      this.#looking = false;
    }
  }

  #found(): void {
    const { kernel, doubt } = this.#options;
    kernel.log.warn(
      {},
      this.#said ? 'Redis lost its jobs; they are made again' : 'Redis is there; the jobs are looked through',
    );
    this.#said = true;
    doubt();
  }

  #lost(): void {
    this.#trusted = false;
    if (this.#ended || !this.#said || this.#opened) return;
    this.#said = false;
    this.#options.kernel.log.warn({ reason: this.#reason }, 'Redis does not answer; jobs wait until it does');
  }
}
