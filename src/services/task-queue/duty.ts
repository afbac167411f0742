/**
 * What one replica does for all: it sees to it that each task that a node could do comes up in a job, and itself to a tick each second. Jobs bring on the
 * work at the right moment, in the order of urgency; what is to be done is in the waiting room and the leases, which follow the log. So
 * a store of jobs that is away or was emptied costs nothing but this: until it is back, tasks are given out at once, in
 * the order in which they come.
 */
import type { Hub } from '../../hub.ts';
import { type JobQueue, type Jobs, type JobWorker, urgency } from '../../jobs.ts';
import type { Cancel } from '../../kernel.ts';
import type { Lease } from '../../lease.ts';
import type { OpenTaskRow } from '../../projections/open-tasks.ts';
import { type Change, isPending } from './changes.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Leases } from './leases.ts';
import type { TaskNodes } from './nodes.ts';
import type { WaitingRoom } from './waiting-room.ts';

const tickMs = 1_000;
/** A tick that is so late is done without a job. */
const lateMs = 2_500;
/** Ticks between looks at all nodes, and between sweeps. */
const fillEvery = 5;
const sweepEvery = 30;
const batch = 500;
const mostOfJob = 64;
const concurrency = 64;
/** Adding that takes longer counts as failed; if it comes about after all, twice is harmless. */
const addMs = 1_000;

/** What a job brings on. */
interface DueTasks {
  readonly tasks: string[];
}

type BulkJobs = Parameters<JobQueue['addBulk']>[0];

export interface DutyParts {
  readonly room: WaitingRoom;
  readonly nodes: TaskNodes;
  readonly dispatcher: Dispatcher;
  readonly leases: Leases;
  /** Adds what is owed besides, idempotently. */
  sweep(jobs: Jobs): Promise<void>;
}

export class Duty {
  readonly #hub: Hub;
  readonly #lease: Lease;
  readonly #parts: DutyParts;
  #jobs: Jobs | undefined;
  #workers: JobWorker[] = [];
  /** The store of jobs takes nothing now. */
  #away = true;
  #toAdd: OpenTaskRow[] = [];
  #adding = false;
  #ticking = false;
  #tickedAt = Number.NEGATIVE_INFINITY;
  #ticks = 0;
  #held = false;
  readonly #stops: Cancel[];

  constructor(hub: Hub, lease: Lease, parts: DutyParts) {
    this.#hub = hub;
    this.#lease = lease;
    this.#parts = parts;
    this.#stops = [lease.onChange(() => this.#look()), hub.kernel.every(tickMs, () => this.#beat())];
    this.#look();
  }

  held(): boolean {
    return this.#held && this.#lease.held();
  }

  /** The jobs are open. */
  use(jobs: Jobs): void {
    this.#jobs = jobs;
    this.#away = false;
    this.#stops.push(jobs.onDoubt(() => this.#doubt()));
    if (this.held()) this.#work(jobs);
  }

  /** A task that waits is owed a job, if it is not to wait for a node to come. */
  take({ before, after }: Change): void {
    if (!this.#held || !isPending(after)) return;
    if (isPending(before) && before.lease === after.lease) return;
    this.#owe(after);
  }

  /** Stops what goes by itself; the lease is given up by whoever took it. */
  close(): void {
    for (const stop of this.#stops) stop();
    this.#held = false;
    this.#parts.leases.end();
    for (const worker of this.#workers) void worker.pause(true);
  }

  #look(): void {
    const held = this.#lease.held();
    if (held === this.#held) return;
    this.#held = held;
    this.#hub.kernel.log.info(
      { held },
      held ? 'this replica gives out the tasks' : 'another replica gives out the tasks',
    );
    if (!held) {
      this.#toAdd = [];
      this.#parts.leases.end();
      for (const worker of this.#workers) void worker.pause(true);
      return;
    }
    this.#parts.leases.begin();
    if (this.#jobs) this.#work(this.#jobs);
    this.#parts.dispatcher.fillAll();
  }

  /** Takes jobs from now on, and makes sure that they are there. */
  #work(jobs: Jobs): void {
    for (const worker of this.#workers) void worker.resume();
    if (this.#workers.length === 0) {
      this.#workers = [
        jobs.worker<DueTasks>('tasks', async ({ data }) => this.#due(data.tasks), { concurrency }) as JobWorker, // closed and paused alike
        jobs.worker('timers', () => this.#tick(), { concurrency: 1 }),
      ];
    }
    this.#doubt();
  }

  #due(taskIds: readonly string[]): void {
    if (!this.held()) return; // whoever has the duty sees to it
    this.#parts.room.ripen();
    for (const taskId of taskIds) this.#parts.dispatcher.due(taskId);
  }

  #owe(row: OpenTaskRow): void {
    const waiting = this.#parts.room.get(row.task_id);
    if (!waiting || (waiting.due && waiting.group.able.size === 0)) return; // it goes out when a node comes that can do it
    if (this.#away) {
      this.#parts.dispatcher.due(row.task_id);
      return;
    }
    this.#toAdd.push(row);
    if (!this.#adding) void this.#add();
  }

  /** In batches, one at a time: what comes while one is added goes with the next. */
  async #add(): Promise<void> {
    this.#adding = true;
    await Promise.resolve(); // with what else this page of the log holds
    while (this.#toAdd.length > 0 && this.#jobs && this.#held) {
      const rows = this.#toAdd.splice(0, batch);
      const added = await this.#addAll(this.#jobs.queue('tasks'), this.#jobsOf(rows));
      if (!added) for (const { task_id } of rows) this.#parts.dispatcher.due(task_id);
    }
    this.#adding = false;
  }

  /** False when it is not sure that they were added; from then on the store counts as away until it takes something again. */
  async #addAll(queue: JobQueue, jobs: BulkJobs): Promise<boolean> {
    const late = this.#hub.kernel.sleep(addMs).then(() => false);
    const adding = queue.addBulk(jobs).then(
      () => true,
      () => false,
    );
    const added = jobs.length === 0 || (await Promise.race([adding, late]));
    if (added === this.#away) {
      const { log } = this.#hub.kernel;
      if (added) log.info({}, 'jobs are taken again');
      else log.warn({}, 'no jobs can be added; tasks are given out without them');
    }
    this.#away = !added;
    return added;
  }

  /** A job for each that waits for its time. Those that came together and are as urgent share one: under load, jobs cost more than what they bring on. */
  #jobsOf(rows: readonly OpenTaskRow[]): BulkJobs {
    const now = this.#hub.kernel.now();
    const shared = new Map<number, string[]>();
    const made: BulkJobs = [];
    for (const { task_id: taskId, lease, priority } of rows) {
      const waiting = this.#parts.room.get(taskId);
      if (!waiting) continue; // it went out meanwhile
      const others = waiting.due ? shared.get(priority) : undefined;
      if (others && others.length < mostOfJob) {
        others.push(taskId);
        continue;
      }
      const tasks = [taskId];
      if (waiting.due) shared.set(priority, tasks);
      const delay = waiting.due ? 0 : Math.max(0, waiting.readyAt - now);
      const opts = { jobId: `${taskId}.${lease}`, priority: urgency(priority), delay };
      made.push({ name: 'due', data: { tasks } satisfies DueTasks, opts });
    }
    return made;
  }

  /** The jobs may be gone: all that is owed is seen to. */
  #doubt(): void {
    if (!this.held() || !this.#jobs) return;
    this.#away = false;
    void this.#sweep(this.#jobs);
    void this.#nextTick(this.#jobs);
  }

  /** The tick has a job a second, and each sees to the next. */
  async #nextTick(jobs: Jobs): Promise<void> {
    const now = this.#hub.kernel.now();
    const next = Math.floor(now / tickMs) + 1;
    const opts = { jobId: `tick.${next}`, delay: next * tickMs - now, priority: urgency(10) };
    await this.#addAll(jobs.queue('timers'), [{ name: 'tick', data: {}, opts }]);
  }

  /** What is here each second whatever becomes of the jobs. */
  #beat(): void {
    this.#parts.room.ripen();
    if (this.held() && this.#hub.kernel.monotonicMs() - this.#tickedAt > lateMs) void this.#tick();
  }

  async #tick(): Promise<void> {
    if (!this.held() || this.#ticking) return;
    this.#ticking = true;
    try {
      this.#tickedAt = this.#hub.kernel.monotonicMs();
      if (this.#jobs) await this.#nextTick(this.#jobs);
      this.#ticks++;
      await this.#parts.leases.look();
      if (this.#ticks % fillEvery === 0) {
        this.#parts.nodes.lookAtHeartbeats();
        this.#parts.dispatcher.fillAll();
      }
      if (this.#ticks % sweepEvery === 0 && this.#jobs) await this.#sweep(this.#jobs);
    } catch (error) {
      this.#hub.kernel.log.error({ err: error }, 'a tick of the task queue failed');
    } finally {
      this.#ticking = false;
    }
  }

  /** Holds what is owed against the waiting room and the jobs. */
  async #sweep(jobs: Jobs): Promise<void> {
    const { room, dispatcher } = this.#parts;
    try {
      const mended = dispatcher.mend();
      if (mended > 0) this.#hub.kernel.log.warn({ mended }, 'tasks that should have been waiting do so again');
      dispatcher.fillAll();
      const delayed = [...room.delayed()].map(({ row }) => row);
      for (let at = 0; at < delayed.length && this.held() && !this.#away; at += batch) {
        await this.#addAll(jobs.queue('tasks'), this.#jobsOf(delayed.slice(at, at + batch)));
      }
      if (!this.#away) await this.#parts.sweep(jobs);
    } catch (error) {
      this.#hub.kernel.log.warn({ err: error }, 'a sweep of the tasks broke off; it is done again in half a minute');
    }
  }
}
