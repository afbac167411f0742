/**
 * Jobs: what is to be done later, again, or one at a time. They hold obligations and no truth: whatever is in a queue follows from the
 * log, so that its store may be emptied at any moment. BullMQ's `Queue` and `Worker` are the port; its store is Redis, PostgreSQL or this process.
 */
import type { BackendFactory, IQueueBackend, Job, Queue, Worker } from 'bullmq';
import type { Cancel, Kernel } from './kernel.ts';

/** The queues of the hub. */
export type QueueName = 'tasks' | 'timers' | 'callbacks' | 'webhooks' | 'mail' | 'expiry';

/**
 * BullMQ's own queue, over whichever store. Adding rejects within seconds while the store is away, and nothing was added then, or
 * perhaps it was: who adds tries again under the same job id. Add at most about a thousand at a time with `addBulk`.
 * An id is taken for as long as its job exists, and a job that failed for good exists until a thousand others failed after it.
 */
export type JobQueue = Queue<unknown, void, string, unknown, void, string, IQueueBackend>;
export type JobWorker<Data = unknown> = Worker<Data, void, string, IQueueBackend>;

export interface Jobs {
  readonly backend: 'redis' | 'postgres' | 'process';
  /** Whether the store answers, as far as is known. */
  readonly present: boolean;
  /** The same one at each call. */
  queue(name: QueueName): JobQueue;
  /**
   * Starts a worker. A job is done at least once: again when `process` throws and attempts are left, and again by another worker when
   * this one dies, after some ten seconds.
   */
  worker<Data>(
    name: QueueName,
    process: (job: Job<Data>) => Promise<void>,
    options: { concurrency: number },
  ): JobWorker<Data>;
  /** Called when the store may have lost what it held: it was emptied, or it is reachable again. Whoever owes something holds it against the jobs then. */
  onDoubt(listener: () => void): Cancel;
  /** Jobs by state, for metrics; undefined while the store is away. */
  counts(name: QueueName): Promise<Record<string, number> | undefined>;
  /**
   * Waits for the jobs that run, for a second. One that runs longer is left to itself, and a store that outlives this process has it
   * done again by another worker. Returns within two seconds, whatever the store does. Twice is harmless.
   */
  close(): Promise<void>;
}

/** Where BullMQ keeps its jobs. */
export interface JobStore {
  readonly backend: Jobs['backend'];
  readonly factory: BackendFactory<IQueueBackend>;
  /** Whether it answers, as far as is known. */
  readonly present: boolean;
  /** What workers over this store are to do otherwise than by default. */
  readonly workerOptions: { skipLockRenewal?: boolean; skipStalledCheck?: boolean; drainDelay?: number };
  /** Says that `close` comes: it may stop trying to connect. */
  leave(): void;
  /** Cuts what is still connected; what was asked and not answered fails. Returns within 600 ms. */
  close(): Promise<void>;
}

export interface JobStoreOptions {
  readonly federationId: string;
  readonly kernel: Kernel;
  /** The store may have lost what it held. */
  readonly doubt: () => void;
}

/** Priority 10, the most urgent, to 1 as BullMQ counts: 1 first, 10 last. Never 0, which would go before them all. */
export function urgency(priority: number): number {
  if (!Number.isInteger(priority) || priority < 1 || priority > 10) {
    throw new Error(`a priority is a whole number from 1 to 10, not ${priority}`);
  }
  return 11 - priority;
}

/** Jobs that failed for good and can still be looked at, in each queue. */
const mostFailed = 1_000;
/** A worker that says nothing for so long is taken for dead, and its jobs are done by another. */
const lockMs = 5_000;
const stalledCheckMs = 2_500;
/** So often a job may lose its worker before it has failed. */
const mostStalls = 10;
const storeRetryMs = 500;
/** Parts of the two seconds that `close` may take. */
const drainMs = 1_000;
const abandonMs = 200;
const countMs = 1_000;
/** Of the errors of a second the first is a warning. */
const warnMs = 1_000;

/**
 * Opens the jobs of a federation: in Redis where there is one, else in PostgreSQL, else in this process. Returns also when the store
 * cannot be reached; it is used as soon as it can be, which raises a doubt.
 */
export async function openJobs(options: {
  redisUrl: string | undefined;
  postgresUrl: string | undefined;
  federationId: string;
  kernel: Kernel;
}): Promise<Jobs> {
  const { kernel } = options;
  const doubts = new Doubts(kernel);
  const bullmq = await import('bullmq'); // a third of a second: not for those who only import this file
  const store = await openStore(options, { ...options, doubt: () => doubts.raise() });
  return new OpenJobs(bullmq, store, doubts, kernel);
}

/** The library of the jobs is slow to load: it is let in once the hub listens. */
const letInMs = 500;
const longestRetryMs = 30_000;

const lookMs = 1_000;

/** Opens the jobs without holding anything up, and calls back with them; tries until it is stopped. Says while their store is away. */
export function whenOpen(
  { kernel, jobs }: { readonly kernel: Kernel; readonly jobs: () => Promise<Jobs> },
  standing: { degraded(reason: string | undefined): void },
  opened: (jobs: Jobs) => void,
): Cancel {
  let stopped = false;
  let cancelTimer = () => {};
  const tell = ({ present }: { readonly present: boolean }) =>
    standing.degraded(present ? undefined : 'the store of jobs is away: what they would do at once waits for a sweep');
  const tryIn = (ms: number, nextMs: number) => {
    cancelTimer = kernel.after(ms, () => {
      jobs().then(
        (there) => {
          if (stopped) return;
          opened(there);
          tell(there);
          cancelTimer = kernel.every(lookMs, () => tell(there));
        },
        (error: unknown) => {
          if (stopped) return;
          kernel.log.warn(
            { err: error },
            'the jobs could not be opened; their work is done without them where it can be',
          );
          tell({ present: false });
          tryIn(nextMs, Math.min(2 * nextMs, longestRetryMs));
        },
      );
    });
  };
  tryIn(letInMs, 1_000);
  return () => {
    stopped = true;
    cancelTimer();
  };
}

async function openStore(
  urls: { redisUrl: string | undefined; postgresUrl: string | undefined },
  options: JobStoreOptions,
): Promise<JobStore> {
  if (urls.redisUrl) return (await import('./jobs/redis.ts')).openRedisStore(urls.redisUrl, options);
  if (urls.postgresUrl) return (await import('./jobs/postgres.ts')).openPostgresStore(urls.postgresUrl, options);
  return (await import('./jobs/process.ts')).openProcessStore(options);
}

class OpenJobs implements Jobs {
  readonly #bullmq: typeof import('bullmq');
  readonly #store: JobStore;
  readonly #doubts: Doubts;
  readonly #kernel: Kernel;
  readonly #queues = new Map<QueueName, JobQueue>();
  readonly #workers: { close(force?: boolean): Promise<void> }[] = [];
  /** What ends each job that runs, when it is left to itself. */
  readonly #abandons = new Set<(reason: Error) => void>();
  #closing: Promise<void> | undefined;
  #warnedMs = Number.NEGATIVE_INFINITY;

  constructor(bullmq: typeof import('bullmq'), store: JobStore, doubts: Doubts, kernel: Kernel) {
    this.#bullmq = bullmq;
    this.#store = store;
    this.#doubts = doubts;
    this.#kernel = kernel;
  }

  get backend(): Jobs['backend'] {
    return this.#store.backend;
  }

  queue(name: QueueName): JobQueue {
    const known = this.#queues.get(name);
    if (known) return known;
    this.#refuseClosed();
    const queue: JobQueue = new this.#bullmq.Queue<unknown, void, string, unknown, void, string, IQueueBackend>(
      name,
      {
        connection: {}, // the store connects
        skipMetasUpdate: true, // of BullMQ's own events, which the hub does not read, 10,000 are kept then
        defaultJobOptions: { removeOnComplete: true, removeOnFail: { count: mostFailed } },
      },
      this.#store.factory,
    );
    queue.on('error', (error) => this.#heard(name, error));
    this.#queues.set(name, queue);
    return queue;
  }

  worker<Data>(
    name: QueueName,
    process: (job: Job<Data>) => Promise<void>,
    { concurrency }: { concurrency: number },
  ): JobWorker<Data> {
    this.#refuseClosed();
    const worker: JobWorker<Data> = new this.#bullmq.Worker<Data, void, string, IQueueBackend>(
      name,
      (job) => this.#run(process(job)),
      {
        connection: {}, // the store connects
        concurrency,
        lockDuration: lockMs,
        stalledInterval: stalledCheckMs,
        maxStalledCount: mostStalls,
        runRetryDelay: storeRetryMs,
        ...this.#store.workerOptions,
      },
      this.#store.factory,
    );
    worker.on('error', (error) => this.#heard(name, error));
    this.#workers.push(worker);
    return worker;
  }

  get present(): boolean {
    return this.#store.present;
  }

  onDoubt(listener: () => void): Cancel {
    return this.#doubts.listen(listener);
  }

  async counts(name: QueueName): Promise<Record<string, number> | undefined> {
    if (!this.#store.present || this.#closing) return undefined;
    const asked = this.queue(name).getJobCounts('waiting', 'prioritized', 'delayed', 'active', 'completed', 'failed');
    return Promise.race([asked.catch(() => undefined), this.#kernel.sleep(countMs).then(() => undefined)]);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const away = !this.#store.present; // whom no store answers waits for nothing: BullMQ would wait for ever
    this.#store.leave();
    const workers = this.#workers.map((worker) => worker.close(away));
    const goodbyes = [...workers, ...[...this.#queues.values()].map((queue) => queue.close())];
    const gone = Promise.allSettled(goodbyes);
    await Promise.race([gone, this.#kernel.sleep(drainMs)]);
    await this.#store.close();
    // only now, when no worker can write any more that its job has failed
    for (const abandon of this.#abandons) abandon(new Error('the jobs are closed'));
    await Promise.race([gone, this.#kernel.sleep(abandonMs)]);
  }

  /** The worker's view of a job: it ends with the job, or when the job is abandoned, so that the worker's timers end too. */
  #run(running: Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#abandons.add(reject);
      const end = () => this.#abandons.delete(reject);
      running.finally(end).then(resolve, reject);
    });
  }

  /** BullMQ goes on by itself. While the store is away, each connection says so again and again, and the store has said it once. */
  #heard(queue: QueueName, error: Error): void {
    const fields = { queue, reason: error.message };
    const now = this.#kernel.monotonicMs();
    if (this.#closing || !this.#store.present || now - this.#warnedMs < warnMs) {
      this.#kernel.log.debug(fields, 'the jobs met an error');
      return;
    }
    this.#warnedMs = now;
    this.#kernel.log.warn(fields, 'the jobs met an error');
  }

  #refuseClosed(): void {
    if (this.#closing) throw new Error('the jobs are closed');
  }
}

/** Tells of doubts. One that comes before anyone listens is told to the first who does. */
class Doubts {
  readonly #listeners = new Set<() => void>();
  readonly #kernel: Kernel;
  #untold = false;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  raise(): void {
    this.#untold = this.#listeners.size === 0;
    for (const listener of [...this.#listeners]) this.#tell(listener);
  }

  listen(listener: () => void): Cancel {
    const own = () => listener(); // the same function may listen twice
    this.#listeners.add(own);
    if (this.#untold) {
      this.#untold = false;
      queueMicrotask(() => this.#listeners.has(own) && this.#tell(own));
    }
    return () => this.#listeners.delete(own);
  }

  #tell(listener: () => void): void {
    try {
      listener();
    } catch (error) {
      this.#kernel.log.error({ err: error }, 'a listener to doubts about the jobs failed');
    }
  }
}
