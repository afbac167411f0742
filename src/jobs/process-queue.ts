/** One queue in memory: its jobs by id and by state, who is next, who is due when, and who waits for one. */
import type { JobJson } from 'bullmq';
import { Heap, isBefore, type Placed } from '../heap.ts';
import type { Cancel, Kernel } from '../kernel.ts';

/** BullMQ's names: a job that waits with a priority is prioritised, one without is waiting and goes first. */
export type HeldState = 'waiting' | 'prioritized' | 'delayed' | 'active' | 'completed' | 'failed';

export interface HeldJob extends Placed {
  readonly json: JobJson;
  state: HeldState;
}

/** More than these are not taken: at about a kilobyte each they would fill the memory. */
const mostJobs = 1_000_000;
/** Finished jobs that are kept where all are to be kept. */
const mostFinished = 10_000;
/** Longest that a timer of Node can be set to. */
const longestTimerMs = 2 ** 31 - 1;

export class ProcessQueue {
  readonly #kernel: Kernel;
  readonly #jobs = new Map<string, HeldJob>();
  readonly #held = {
    waiting: new Map<string, HeldJob>(),
    prioritized: new Map<string, HeldJob>(),
    delayed: new Map<string, HeldJob>(),
    active: new Map<string, HeldJob>(),
    completed: new Map<string, HeldJob>(),
    failed: new Map<string, HeldJob>(),
  } satisfies Record<HeldState, unknown>;
  /** By priority, then in the order of coming. */
  readonly #ready = new Heap<HeldJob>();
  /** By the moment they are due, on the clock that never goes back. */
  readonly #delayed = new Heap<HeldJob>();
  /** Workers that wait for a job: each call answers one of them. */
  readonly #waiters = new Set<() => void>();
  #alarm: { atMs: number; cancel: Cancel } | undefined;
  #lastTurn = 0;
  #lastId = 0;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /** Takes a job in. One that is here under the same id already stays as it is. Returns the id. */
  add(json: JobJson, id: string | undefined): string {
    const known = id ?? String(++this.#lastId);
    if (this.#jobs.has(known)) return known;
    if (this.#jobs.size >= mostJobs) throw new Error(`the queue is full: it holds ${mostJobs} jobs`);
    json.id = known;
    json.priority = json.opts.priority ?? 0;
    json.delay = json.opts.delay ?? 0;
    const job: HeldJob = { json, state: 'active', rank: 0, turn: 0, place: 0 };
    this.#jobs.set(known, job);
    if (json.delay > 0) this.delay(job, json.delay);
    else this.queue(job, json.opts.lifo === true);
    return known;
  }

  get(id: string): HeldJob | undefined {
    return this.#jobs.get(id);
  }

  count(state: HeldState): number {
    return this.#held[state].size;
  }

  /** Ids of a state: who is next first; of finished ones, who finished first. */
  ids(state: HeldState): string[] {
    const jobs = [...this.#held[state].values()];
    if (state !== 'completed' && state !== 'failed') jobs.sort((a, b) => (isBefore(a, b) ? -1 : 1));
    return jobs.map(({ json }) => json.id);
  }

  /** Makes the next one active, if one is ready. */
  take(): HeldJob | undefined {
    this.#promoteDue();
    const job = this.#ready.first();
    if (!job) return undefined;
    this.#enter(job, 'active');
    job.json.attemptsStarted++;
    job.json.processedOn = this.#kernel.now();
    return job;
  }

  /** Has it wait for a worker, behind those of its priority, or before all of them. */
  queue(job: HeldJob, first: boolean): void {
    const priority = job.json.priority ?? 0;
    this.#enter(job, priority === 0 ? 'waiting' : 'prioritized', () => {
      job.rank = priority;
      job.turn = first ? -++this.#lastTurn : ++this.#lastTurn;
    });
    this.#wake();
  }

  /** Has it wait for so many milliseconds first. */
  delay(job: HeldJob, ms: number): void {
    this.#enter(job, 'delayed', () => {
      job.json.delay = ms;
      job.rank = this.#kernel.monotonicMs() + ms;
      job.turn = ++this.#lastTurn;
    });
    this.#setAlarm();
  }

  /** Ends it, and lets go of those that finished so before the last `keep`. */
  finish(job: HeldJob, state: 'completed' | 'failed', keep: number): void {
    job.json.finishedOn = this.#kernel.now();
    if (keep <= 0) {
      this.remove(job);
      return;
    }
    this.#enter(job, state);
    const finished = this.#held[state];
    for (const oldest of finished.values()) {
      if (finished.size <= Math.min(keep, mostFinished)) break;
      this.remove(oldest);
    }
  }

  remove(job: HeldJob): void {
    this.#leave(job);
    this.#jobs.delete(job.json.id);
  }

  /** Resolves to true once a job is ready, which another may be quicker to take, and to false after so many milliseconds or by `signal`. */
  wait(ms: number, signal: AbortSignal): Promise<boolean> {
    this.#promoteDue();
    if (this.#ready.size > 0) return Promise.resolve(true);
    if (signal.aborted) return Promise.resolve(false);
    return new Promise((resolve) => {
      const end = (found: boolean) => {
        this.#waiters.delete(wake);
        cancel();
        signal.removeEventListener('abort', abort);
        resolve(found);
      };
      const wake = () => end(true);
      const abort = () => end(false);
      const cancel = this.#kernel.after(Math.min(ms, longestTimerMs), abort);
      this.#waiters.add(wake);
      signal.addEventListener('abort', abort);
    });
  }

  close(): void {
    this.#alarm?.cancel();
    this.#alarm = undefined;
  }

  #enter(job: HeldJob, state: HeldState, rank?: () => void): void {
    this.#leave(job);
    rank?.();
    job.state = state;
    this.#held[state].set(job.json.id, job);
    if (state === 'waiting' || state === 'prioritized') this.#ready.push(job);
    else if (state === 'delayed') this.#delayed.push(job);
  }

  #leave(job: HeldJob): void {
    if (!this.#held[job.state].delete(job.json.id)) return; // it is new
    if (job.state === 'waiting' || job.state === 'prioritized') this.#ready.remove(job);
    else if (job.state === 'delayed') this.#delayed.remove(job);
  }

  #wake(): void {
    const [wake] = this.#waiters;
    wake?.();
  }

  #promoteDue(): void {
    const now = this.#delayed.size > 0 ? this.#kernel.monotonicMs() : 0;
    for (let due = this.#delayed.first(); due && due.rank <= now; due = this.#delayed.first()) {
      due.json.delay = 0;
      this.queue(due, false);
    }
  }

  /** Rings when the first of the delayed is due. One that was set for a job that left rings for nothing. */
  #setAlarm(): void {
    const atMs = this.#delayed.first()?.rank;
    if (atMs === undefined || (this.#alarm && this.#alarm.atMs <= atMs)) return;
    this.#alarm?.cancel();
    const ms = Math.min(longestTimerMs, Math.max(1, Math.ceil(atMs - this.#kernel.monotonicMs())));
    const ring = () => {
      this.#alarm = undefined;
      this.#promoteDue();
      this.#setAlarm();
    };
    this.#alarm = { atMs, cancel: this.#kernel.after(ms, ring) };
  }
}
