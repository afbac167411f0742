/** The tasks that are not over, as they change: what was, what is, and the event in between, to all parts in one order. */
import type { LogEvent } from '../../events/catalog.ts';
import type { TaskStatus } from '../../events/task.ts';
import type { Cancel } from '../../kernel.ts';
import type { LiveView } from '../../projections/live.ts';
import type { OpenTaskRow } from '../../projections/open-tasks.ts';

export interface Change {
  readonly taskId: string;
  readonly before: OpenTaskRow | undefined;
  /** Undefined when it is over, and nobody is still to be told. */
  readonly after: OpenTaskRow | undefined;
  /** Undefined for what was there when the service began. */
  readonly event: LogEvent | undefined;
}

export class Changes {
  readonly #live: LiveView<OpenTaskRow>;
  /** Rows as they were told last. */
  readonly #known = new Map<string, OpenTaskRow>();
  readonly #counts: Record<TaskStatus, number> = {
    pending: 0,
    assigned: 0,
    running: 0,
    completed: 0,
    failed: 0,
    cancelled: 0,
  };
  readonly #bySubmitter = new Map<string, number>();
  readonly #stop: Cancel;
  readonly #listeners: ((change: Change) => void)[] = [];

  constructor(live: LiveView<OpenTaskRow>) {
    this.#live = live;
    this.#stop = live.onChange((taskId, row, event) => this.#take(taskId, row, event));
  }

  /** All that is heard from now on; nothing before `begin`. In the order of listening. */
  listen(listener: (change: Change) => void): void {
    this.#listeners.push(listener);
  }

  /** Tells of what is there. */
  begin(): void {
    for (const row of this.#live.values()) this.#take(row.task_id, row, undefined);
  }

  get(taskId: string): OpenTaskRow | undefined {
    return this.#known.get(taskId);
  }

  values(): IterableIterator<OpenTaskRow> {
    return this.#known.values();
  }

  count(status: TaskStatus): number {
    return this.#counts[status];
  }

  /** Tasks that are not over, and those whose end is still to be told. */
  get open(): number {
    return this.#known.size;
  }

  /** Of these, those of one submitter. */
  openOf(submitter: string): number {
    return this.#bySubmitter.get(submitter) ?? 0;
  }

  close(): void {
    this.#stop();
    this.#listeners.length = 0;
  }

  #take(taskId: string, after: OpenTaskRow | undefined, event: LogEvent | undefined): void {
    const before = this.#known.get(taskId);
    if (before) this.#counts[before.status]--;
    if (after) this.#counts[after.status]++;
    if (after) this.#known.set(taskId, after);
    else this.#known.delete(taskId);
    if (!before && after) this.#count(after.submitter, 1);
    if (before && !after) this.#count(before.submitter, -1);
    const change = { taskId, before, after, event };
    for (const listener of this.#listeners) listener(change);
  }

  #count(submitter: string, by: number): void {
    const count = this.openOf(submitter) + by;
    if (count > 0) this.#bySubmitter.set(submitter, count);
    else this.#bySubmitter.delete(submitter);
  }
}

/** Whether a node has it. */
export function isHeld(row: OpenTaskRow | undefined): row is OpenTaskRow & { node_id: string } {
  return row?.status === 'assigned' || row?.status === 'running';
}

export function isPending(row: OpenTaskRow | undefined): row is OpenTaskRow {
  return row?.status === 'pending';
}
