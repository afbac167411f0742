/** The work that a node does for the federation: tasks that are pushed to it or that it claims, each under a lease. */
import type { Reading } from '../events/heartbeat.ts';
import type { NodeProfile } from '../events/node.ts';
import type { AssignedTask, ClientPacket } from '../protocol.ts';
import { Assignment, type TaskContext } from './assignment.ts';
import type { AnyHubPacket } from './connection.ts';
import type { Line, Sender } from './sender.ts';

/** Does one task. What it returns is the result, as JSON; what it throws says how it failed: see `TaskFailure`. */
export type TaskHandler = (task: AssignedTask, context: TaskContext) => unknown;
/** By type of task. */
export type TaskHandlers = Readonly<Record<string, TaskHandler>>;

export interface WorkOptions {
  /** Tasks at once, 1 to 1,000. Default 1. */
  readonly capacity?: number;
}

export interface ClaimOptions {
  /** Only tasks of these types. */
  readonly types?: readonly string[];
  /** How long to wait for one, at most 30 s. Default 30 s. */
  readonly waitMs?: number;
}

/** A task that was claimed: it is this node's until `complete` or `fail`, or until its signal aborts. */
export interface ClaimedTask extends TaskContext {
  readonly task: AssignedTask;
  /** Hands the result in. Throws `HubRefusal` when the task is not this node's any more. */
  complete(result?: unknown): Promise<void>;
  /** Says that the work failed, as a handler does by throwing. */
  fail(error: unknown): Promise<void>;
}

/** Assignments that are over and are remembered, so that one that comes again is not done again. */
const rememberedOver = 10_000;
const claimAnswerMs = 10_000;
const longestClaimMs = 30_000;

export class Work {
  readonly #line: Line;
  readonly #sender: Sender;
  #handlers: ReadonlyMap<string, TaskHandler> = new Map();
  #capacity = 0;
  /** Handlers at work. */
  #busy = 0;
  /** It finishes what it has and takes nothing new. */
  #draining = false;
  /** Those who wait until nothing is under way. */
  #idle: (() => void)[] = [];
  /** This node does tasks, so its heartbeats say which. */
  #works = false;
  /** Until the hub knows their end, by task id. */
  readonly #held = new Map<string, Assignment>();
  readonly #over = new Set<string>();

  constructor(line: Line, sender: Sender) {
    this.#line = line;
    this.#sender = sender;
  }

  /** From now on these handlers do tasks, and no others. Answers what the profile is to say. Throws `TypeError`. */
  take(handlers: TaskHandlers, { capacity = 1 }: WorkOptions): NonNullable<NodeProfile['work']> {
    const types = Object.keys(handlers).sort();
    if (types.length === 0) throw new TypeError('give a handler for at least one type of task');
    if (!Number.isInteger(capacity) || capacity < 1 || capacity > 1_000)
      throw new TypeError('capacity is a whole number from 1 to 1,000');
    this.#handlers = new Map(Object.entries(handlers));
    this.#capacity = capacity;
    this.#works = true;
    this.#draining = false;
    return { capacity, types };
  }

  /** Takes the packets that are about tasks of this node; false for others. */
  hear({ name, packet }: AnyHubPacket): boolean {
    if (name === 'federation:task:assigned') this.#assigned(packet.task);
    else if (name === 'federation:task:cancelled') this.#cancelled(packet.task_id, packet.lease, packet.reason);
    else return false;
    return true;
  }

  /** A heartbeat with the tasks whose leases are to live: these, and no others. */
  addTo(reading: Reading): Reading {
    if (!this.#works) return reading;
    const mine = [...this.#held.values()].filter(({ signal }) => !signal.aborted);
    const running_tasks = mine.slice(0, 1_000).map(({ task }) => task.task_id);
    return { active_tasks: running_tasks.length, ...reading, running_tasks };
  }

  /** Asks for a task; undefined when there is none in time. Throws `HubRefusal` or `HubUnreachable`. */
  async claim({ types, waitMs = longestClaimMs }: ClaimOptions): Promise<ClaimedTask | undefined> {
    this.#works = true;
    const wait_ms = Math.min(longestClaimMs, Math.max(0, Math.round(waitMs)));
    const wish: ClientPacket<'federation:task:claim'> = { wait_ms, ...(types && { types: [...types] }) };
    const { task } = await this.#line.ask('federation:task:claim', wish, wait_ms + claimAnswerMs);
    if (!task) return undefined;
    const assignment = this.#hold(task, true);
    const { signal, progress } = assignment;
    const ending = (end: Promise<void>) => end.finally(() => this.#release(assignment));
    return {
      task,
      signal,
      progress,
      complete: (result) => ending(assignment.complete(result)),
      fail: (error) => ending(assignment.fail(error)),
    };
  }

  /** Takes nothing new, and resolves when what is under way is over; what is not after `ms` is given back then. */
  async drain(ms: number): Promise<void> {
    this.#draining = true;
    if (this.#held.size > 0) {
      await new Promise<void>((resolve) => {
        const cancel = this.#line.clock.after(ms, resolve);
        this.#idle.push(() => {
          cancel();
          resolve();
        });
      });
    }
    const left = [...this.#held.values()].filter(({ signal }) => !signal.aborted);
    await Promise.allSettled(left.map((assignment) => assignment.giveBack()));
  }

  /** The node is closed: what is under way is told, and nothing of it will be handed in. */
  close(): void {
    for (const assignment of this.#held.values()) assignment.withdraw('the node was closed');
  }

  /** Each assignment is done once, however often it is pushed. */
  #assigned(task: AssignedTask): void {
    const older = this.#held.get(task.task_id);
    if (this.#over.has(nameOf(task)) || (older && older.task.lease >= task.lease)) return;
    older?.withdraw('the task was given out anew');
    const handler = this.#handlers.get(task.type);
    if (this.#draining) this.#decline(task, 'node_stopping', 'this node takes no more tasks');
    else if (handler && this.#busy < this.#capacity) void this.#run(this.#hold(task, false), handler);
    else if (handler) this.#decline(task, 'no_room', `${this.#capacity} tasks are under way here`);
    else this.#decline(task, 'no_handler', `nothing here does tasks of type ${task.type}`);
  }

  #cancelled(taskId: string, lease: number, reason: string): void {
    const held = this.#held.get(taskId);
    if (held && held.task.lease <= lease) held.withdraw(reason);
  }

  async #run(assignment: Assignment, handler: TaskHandler): Promise<void> {
    this.#busy++;
    let report: () => Promise<void>;
    try {
      const result = await handler(assignment.task, assignment);
      report = () => assignment.complete(result);
    } catch (error) {
      report = () => assignment.fail(error);
    }
    this.#busy--; // before the hub is told: it may send the next one at once
    if (!assignment.signal.aborted) await report().catch((error: unknown) => this.#unreported(assignment, error));
    this.#release(assignment);
  }

  #decline(task: AssignedTask, code: string, message: string): void {
    const assignment = new Assignment(task, this.#sender, this.#line.clock, true);
    assignment.decline(code, message).catch((error: unknown) => this.#unreported(assignment, error));
  }

  #hold(task: AssignedTask, begun: boolean): Assignment {
    const assignment = new Assignment(task, this.#sender, this.#line.clock, begun);
    this.#held.set(task.task_id, assignment);
    return assignment;
  }

  #release(assignment: Assignment): void {
    const { task } = assignment;
    if (this.#held.get(task.task_id) === assignment) this.#held.delete(task.task_id);
    if (this.#held.size === 0) for (const tell of this.#idle.splice(0)) tell();
    this.#over.add(nameOf(task));
    const [oldest] = this.#over;
    if (this.#over.size > rememberedOver && oldest !== undefined) this.#over.delete(oldest);
  }

  /** The work was done in vain: the hub had given the task to another, or did not answer for very long. */
  #unreported({ task, signal }: Assignment, cause: unknown): void {
    if (signal.aborted) return;
    this.#line.trouble(new Error(`what became of task ${task.task_id} could not be handed in: ${cause}`, { cause }));
  }
}

function nameOf({ task_id, lease }: AssignedTask): string {
  return `${task_id}/${lease}`;
}
