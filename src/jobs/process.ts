/** BullMQ's backend for a hub that stands alone: queues in this process. What the hub does not use of BullMQ is refused by name. */
import { EventEmitter } from 'node:events';
import type { IQueueBackend, JobJson, JobProgress, JobState, JobType, KeepJobs, MinimalJob } from 'bullmq';
import type { JobStore, JobStoreOptions } from '../jobs.ts';
import { type HeldJob, type HeldState, ProcessQueue } from './process-queue.ts';
import { type Refused, refused } from './process-refused.ts';

/** Longest wait of an idle worker. It is woken when there is a job, so this is no polling. */
const idleSeconds = 3_600;

export function openProcessStore({ kernel }: JobStoreOptions): JobStore {
  const queues = new Map<string, ProcessQueue>();
  const queueOf = (name: string) => {
    const known = queues.get(name) ?? new ProcessQueue(kernel);
    queues.set(name, known);
    return known;
  };
  return {
    backend: 'process',
    // what ProcessBackend does not declare is on its prototype, put there from `refused`, whose type names all of it
    factory: (name) => new ProcessBackend(name, queueOf(name)) as ProcessBackend & Pick<IQueueBackend, Refused>,
    present: true,
    workerOptions: { skipLockRenewal: true, skipStalledCheck: true, drainDelay: idleSeconds }, // workers die with the queue
    leave: () => {},
    async close() {
      for (const queue of queues.values()) queue.close();
      queues.clear();
    },
  };
}

/** What a worker gets for its next job: the job, its id, and two delays that this backend keeps to itself. */
type Next = [JobJson, string, 0, 0] | [null, '', 0, 0];
type Keep = boolean | number | KeepJobs;
type Fields = Record<string, unknown>;

export class ProcessBackend extends EventEmitter {
  readonly minimumBlockTimeout = 0.001;
  readonly maximumBlockTimeout = idleSeconds;
  readonly qualifiedName: string;
  readonly keys = {};
  closing: Promise<void> | undefined;
  readonly #queue: ProcessQueue;
  #blocking = new AbortController();

  constructor(name: string, queue: ProcessQueue) {
    super();
    this.qualifiedName = name;
    this.#queue = queue;
  }

  async waitUntilReady(): Promise<void> {}

  close(): Promise<void> {
    this.closing ??= this.disconnectBlocking();
    return this.closing;
  }

  disconnect(): Promise<void> {
    return this.close();
  }

  toKey(type: string): string {
    return `${this.qualifiedName}:${type}`;
  }

  clientName(suffix = ''): string {
    return `${this.qualifiedName}${suffix}`;
  }

  async addJob(json: JobJson, id: string | undefined): Promise<string> {
    refuseUnusual(json);
    return this.#queue.add(json, id);
  }

  async addJobs(entries: { job: JobJson; jobId: string | undefined }[]): Promise<string[]> {
    for (const { job } of entries) refuseUnusual(job); // all of them or none
    return entries.map(({ job, jobId }) => this.#queue.add(job, jobId));
  }

  async moveToActive(): Promise<Next> {
    return this.#next();
  }

  async waitForJob(seconds: number): Promise<{ member: string; score: number } | null> {
    const found = await this.#queue.wait(seconds * 1_000, this.#blocking.signal);
    return found ? { member: '', score: 0 } : null;
  }

  async disconnectBlocking(): Promise<void> {
    this.#blocking.abort();
  }

  async reconnectBlocking(): Promise<void> {
    if (this.#blocking.signal.aborted) this.#blocking = new AbortController();
  }

  async moveToCompleted({ id }: MinimalJob, result: unknown, keep: Keep, _token: string, fetchNext: boolean) {
    const job = this.#in(id, 'active');
    job.json.attemptsMade++;
    if (result !== undefined) job.json.returnvalue = JSON.stringify(result);
    return this.#finish(job, 'completed', keep, fetchNext);
  }

  async moveToFailed({ id }: MinimalJob, why: string, keep: Keep, _token: string, fetchNext: boolean, fields?: Fields) {
    const job = this.#in(id, 'active');
    noteFailure(job, { ...fields, failedReason: why });
    return this.#finish(job, 'failed', keep, fetchNext);
  }

  async moveToDelayed(
    id: string,
    _timestamp: number,
    delayMs: number,
    _token?: string,
    { skipAttempt = false, fieldsToUpdate, fetchNext = false }: Retry = {},
  ): Promise<Next | undefined> {
    const job = this.#in(id, 'active');
    if (!skipAttempt) noteFailure(job, fieldsToUpdate);
    this.#queue.delay(job, delayMs);
    return fetchNext ? this.#next() : undefined;
  }

  async retryJob(id: string, first: boolean, _token?: string, { fieldsToUpdate }: Retry = {}): Promise<void> {
    const job = this.#in(id, 'active');
    noteFailure(job, fieldsToUpdate);
    this.#queue.queue(job, first);
  }

  async retryFinishedJob(
    { id, opts }: MinimalJob,
    state: 'failed' | 'completed',
    { resetAttemptsMade = false, resetAttemptsStarted = false } = {},
  ): Promise<void> {
    const job = this.#in(id, state);
    const { json } = job;
    if (resetAttemptsMade) json.attemptsMade = 0;
    if (resetAttemptsStarted) json.attemptsStarted = 0;
    delete json.finishedOn;
    delete json.processedOn;
    json.failedReason = '';
    json.returnvalue = 'null';
    this.#queue.queue(job, opts?.lifo === true);
  }

  async promote(id: string): Promise<void> {
    const job = this.#in(id, 'delayed');
    job.json.delay = 0;
    this.#queue.queue(job, false);
  }

  async changeDelay(id: string, delayMs: number): Promise<void> {
    this.#queue.delay(this.#in(id, 'delayed'), delayMs);
  }

  async changePriority(id: string, priority = 0, first = false): Promise<void> {
    const job = this.#in(id);
    job.json.priority = priority;
    if (job.state === 'waiting' || job.state === 'prioritized') this.#queue.queue(job, first);
  }

  async updateData({ id }: MinimalJob, data: unknown): Promise<void> {
    this.#in(id).json.data = JSON.stringify(data);
  }

  async updateProgress(id: string, progress: JobProgress): Promise<void> {
    this.#in(id).json.progress = progress;
  }

  /** 0 for one that runs, 1 for any other, and for one that is not there. */
  async remove(id: string): Promise<number> {
    const job = this.#queue.get(id);
    if (job?.state === 'active') return 0;
    if (job) this.#queue.remove(job);
    return 1;
  }

  async drain(delayed: boolean): Promise<void> {
    const states: HeldState[] = delayed ? ['waiting', 'prioritized', 'delayed'] : ['waiting', 'prioritized'];
    for (const id of states.flatMap((state) => this.#queue.ids(state))) this.#queue.remove(this.#in(id));
  }

  /** A job stalls when its worker dies, and here the job dies with it. */
  async moveStalledJobsToWait(): Promise<string[]> {
    return [];
  }

  async extendLock(): Promise<number> {
    return 1;
  }

  async extendLocks(): Promise<string[]> {
    return [];
  }

  async getJobData(id: string): Promise<JobJson | undefined> {
    const job = this.#queue.get(id);
    return job && { ...job.json };
  }

  async getState(id: string): Promise<JobState | 'unknown'> {
    return this.#queue.get(id)?.state ?? 'unknown';
  }

  async isJobInState(state: string, id: string): Promise<boolean> {
    return this.#queue.get(id)?.state === state;
  }

  async getCounts(types: JobType[]): Promise<number[]> {
    return types.map((type) => {
      const state = stateOf(type);
      return state ? this.#queue.count(state) : 0;
    });
  }

  async getRanges(types: JobType[], start = 0, end = -1, oldestFirst = false): Promise<[string][]> {
    return types.map((type) => {
      const state = stateOf(type);
      const ids = state ? this.#queue.ids(state) : [];
      if (!oldestFirst) ids.reverse();
      // a tuple by BullMQ's declaration, and a list of any length in its code
      return ids.slice(start, end === -1 ? undefined : end + 1) as [string];
    });
  }

  #next(): Next {
    const job = this.#queue.take();
    return job ? [{ ...job.json }, job.json.id, 0, 0] : [null, '', 0, 0];
  }

  #finish(job: HeldJob, state: 'completed' | 'failed', keep: Keep, fetchNext: boolean) {
    this.#queue.finish(job, state, keptOf(keep));
    const result = fetchNext && !this.closing ? this.#next() : undefined;
    return { result, finishedOn: job.json.finishedOn! };
  }

  #in(id = '', state?: HeldState): HeldJob {
    const job = this.#queue.get(id);
    if (!job) throw new Error(`Missing key for job ${id}`);
    if (state && job.state !== state) throw new Error(`Job ${id} is not in the ${state} state: it is ${job.state}`);
    return job;
  }
}

interface Retry {
  readonly skipAttempt?: boolean;
  readonly fieldsToUpdate?: Fields;
  readonly fetchNext?: boolean;
}

function noteFailure(job: HeldJob, fields: Fields = {}): void {
  job.json.attemptsMade++;
  if (typeof fields.failedReason === 'string') job.json.failedReason = fields.failedReason;
  if (typeof fields.stacktrace === 'string') job.json.stacktrace = fields.stacktrace;
}

/** How many finished jobs are kept. */
function keptOf(keep: Keep | undefined): number {
  if (typeof keep === 'number') return keep;
  if (typeof keep === 'object') return keep.count ?? Number.POSITIVE_INFINITY;
  return keep ? 0 : Number.POSITIVE_INFINITY;
}

function stateOf(type: JobType): HeldState | undefined {
  if (type === 'wait') return 'waiting';
  return type === 'repeat' || type === 'waiting-children' ? undefined : type;
}

function refuseUnusual(json: JobJson): void {
  const unusual = json.parentKey
    ? 'parents'
    : json.repeatJobKey
      ? 'schedulers'
      : json.deduplicationId && 'deduplication';
  if (unusual) throw new Error(`jobs in the process know no ${unusual}`);
  for (const keep of [json.opts.removeOnComplete, json.opts.removeOnFail]) {
    if (typeof keep === 'object' && 'age' in keep) throw new Error('jobs in the process are not kept by age');
  }
}

for (const name of Object.keys(refused)) {
  Object.defineProperty(ProcessBackend.prototype, name, {
    value: () => Promise.reject(new Error(`jobs in the process do not offer ${name}`)),
  });
}
