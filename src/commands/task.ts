/**
 * One task: handed in, given to a node under a lease, begun, ended. Each assignment raises the lease; what a node says under an older
 * one is refused, so that a task is completed once in the log however often it was run.
 */
import { type Refusal, refuse } from '../errors.ts';
import type { DomainEvent, EventData } from '../events/catalog.ts';
import type { AttemptEnd, Backoff, Callback, Candidate, Requirements, TaskError, TaskStatus } from '../events/task.ts';
import { isoTime } from '../kernel.ts';
import type { Aggregate, Decide, Decision } from './execute.ts';

export const taskStream = (taskId: string): string => `task-${taskId}`;

/** How long a node may take to say that it started what was pushed to it. */
export const ackMs = 10_000;
/** Assignments in a row that nobody answered, after which the task is given up. */
const mostUnanswered = 20;
/** Of those, so many are followed by the next at once. */
const promptUnanswered = 3;
const progressEveryMs = 1_000;
/** Clocks of replicas may differ by so much. */
const clockSkewMs = 1_000;

export interface Task {
  readonly status: TaskStatus;
  /** `node:<id>` or `operator:<prefix>`. */
  readonly submitter: string;
  readonly type: string;
  readonly priority: number;
  readonly requirements: Requirements;
  readonly maxAttempts: number;
  readonly backoff: Backoff;
  readonly callback: Callback | undefined;
  /** Somebody is still to be told of the end. */
  readonly untold: boolean;
  /** Revision of the newest end; -1 before the first. A task that is tried again may end more than once. */
  readonly ended: number;
  /** Milliseconds since 1970. */
  readonly deadline: number | undefined;
  readonly sensitive: boolean;
  /** It may be assigned from here on, milliseconds since 1970; 0: at once. */
  readonly readyAt: number;
  /** Attempts that were begun. */
  readonly attempts: number;
  /** Assignments in a row that came to nothing before they were begun. */
  readonly unanswered: number;
  /** Of the newest assignment; 0 before the first. */
  readonly lease: number;
  /** Who has it, or had it last. */
  readonly nodeId: string | undefined;
  /** Milliseconds since 1970. */
  readonly ackBy: number;
  readonly progressedAt: number;
}

type State = Task | undefined;

export const task: Aggregate<State> = {
  initial: undefined,
  evolve(state, event) {
    if (event.type === 'task.submitted') {
      const { submitter, type, priority, requirements, max_attempts, backoff, callback, deadline, payload } =
        event.data;
      return {
        status: 'pending',
        submitter,
        type,
        priority,
        requirements,
        untold: callback?.kind === 'webhook',
        ended: -1,
        sensitive: payload.sealed !== undefined,
        maxAttempts: max_attempts,
        backoff,
        callback,
        deadline: deadline === undefined ? undefined : Date.parse(deadline),
        readyAt: 0,
        attempts: 0,
        unanswered: 0,
        lease: 0,
        nodeId: undefined,
        ackBy: 0,
        progressedAt: 0,
      };
    }
    if (!state) return state;
    switch (event.type) {
      case 'task.assigned': {
        const { node_id, lease, ack_by } = event.data;
        return { ...state, status: 'assigned', nodeId: node_id, lease, ackBy: Date.parse(ack_by) };
      }
      case 'task.started':
        return { ...state, status: 'running', attempts: state.attempts + 1, unanswered: 0 };
      case 'task.progressed':
        return { ...state, progressedAt: Date.parse(event.time) };
      case 'task.attempt-failed': {
        const { counted, retry_at } = event.data;
        const unanswered = counted ? 0 : state.unanswered + 1;
        return { ...state, status: 'pending', unanswered, readyAt: Date.parse(retry_at) };
      }
      case 'task.completed':
        return { ...state, status: 'completed', ended: event.revision };
      case 'task.failed':
        return { ...state, status: 'failed', ended: event.revision };
      case 'task.cancelled':
        return { ...state, status: 'cancelled', ended: event.revision };
      case 'task.retried':
        return {
          ...state,
          status: 'pending',
          attempts: 0,
          unanswered: 0,
          deadline: undefined,
          untold: state.callback?.kind === 'webhook',
          readyAt: 0,
        };
      case 'task.callback-delivered':
      case 'task.callback-failed':
        return { ...state, untold: false };
      default:
        return state;
    }
  },
};

export type Submission = EventData<'task.submitted'>;

/** What adds to the queue: `full` when it has no room. Who asks again for what was done before is answered all the same. */
interface Adding {
  readonly full?: boolean;
}

const full = refuse(
  'queue_full',
  'as many tasks as are taken, of all or of this submitter, wait or are under way already',
);

/**
 * Takes a task. Refuses `queue_full`, `conflict` when there is one of this id, and `invalid_input` for a deadline that has
 * passed.
 */
export const submit: Decide<State, Submission & Adding, { taskId: string }> = (
  state,
  { full: isFull = false, ...submission },
  { now },
) => {
  if (isFull) return full;
  if (state) return refuse('conflict', `there is a task ${submission.task_id} already`);
  if (submission.deadline !== undefined && !(Date.parse(submission.deadline) > now))
    return refuse('invalid_input', 'the deadline has passed, or is no time');
  return { events: [{ type: 'task.submitted', data: submission }], reply: { taskId: submission.task_id } };
};

export interface Assignment {
  readonly taskId: string;
  readonly nodeId: string;
  readonly how: 'push' | 'claim';
  readonly considered: number;
  readonly candidates: readonly Candidate[];
}

/** Gives a task that waits to a node. A claim is begun at once. Refuses `not_found`, and `task_taken` when it does not wait. */
export const assign: Decide<State, Assignment, { taskId: string; lease: number }> = (state, command, { now }) => {
  const { taskId: task_id, nodeId: node_id, how, considered, candidates } = command;
  if (!state) return unknown(task_id);
  if (state.status !== 'pending' || state.readyAt > now + clockSkewMs)
    return refuse('task_taken', `${task_id} is ${state.status === 'pending' ? 'not due yet' : state.status}`);
  const lease = state.lease + 1;
  const ack_by = isoTime(now + ackMs);
  const data = { task_id, node_id, lease, how, ack_by, considered, candidates: [...candidates] };
  const events: DomainEvent[] = [{ type: 'task.assigned', data }];
  if (how === 'claim') events.push({ type: 'task.started', data: { task_id, node_id, lease } });
  return { events, reply: { taskId: task_id, lease } };
};

/** Who speaks of a task, and under which lease. */
export interface Holder {
  readonly taskId: string;
  readonly nodeId: string;
  readonly lease: number;
}

/** The node has begun. Again is harmless. Refuses `not_found`, `task_over`, `lease_lost`. */
export const start: Decide<State, Holder, undefined> = (state, holder) => {
  const held = holding(state, holder);
  if ('refused' in held) return held;
  return { events: held.status === 'running' ? [] : [started(holder)], reply: undefined };
};

/** Writes down how far it is, at most once a second. Refuses as `start` does. */
export const progress: Decide<State, Holder & { percent?: number; message?: string }, { recorded: boolean }> = (
  state,
  { percent, message, ...holder },
  { now },
) => {
  const held = holding(state, holder);
  if ('refused' in held) return held;
  if (now - held.progressedAt < progressEveryMs) return { events: [], reply: { recorded: false } };
  const said = { ...(percent !== undefined && { percent }), ...(message !== undefined && { message }) };
  const told = { type: 'task.progressed', data: { ...named(holder), ...said } } as const;
  return { events: [...begun(held, holder), told], reply: { recorded: true } };
};

/** The work is done. Again under the same lease is harmless. Refuses `not_found`, `task_over`, `lease_lost`. */
export const complete: Decide<State, Holder & { result: EventData<'task.completed'>['result'] }, undefined> = (
  state,
  { result, ...holder },
) => {
  if (state?.status === 'completed' && isOf(state, holder)) return { events: [], reply: undefined };
  const held = holding(state, holder);
  if ('refused' in held) return held;
  const done = { type: 'task.completed', data: { ...named(holder), result } } as const;
  return { events: [...begun(held, holder), done], reply: undefined };
};

export interface Failure extends Holder {
  readonly error: TaskError;
  /** It could go well another time. */
  readonly retryable: boolean;
  /** The node never began, and does not count it as an attempt: it has no room, or does not know the type. */
  readonly declined?: boolean;
}

/** The node says that it could not. Answers what comes next. Refuses `not_found`, `task_over`, `lease_lost`. */
export const fail: Decide<State, Failure, { status: TaskStatus }> = (
  state,
  { error, retryable, declined = false, ...holder },
  { now },
) => {
  const held = holding(state, holder);
  if ('refused' in held) return held;
  if (declined && held.status === 'assigned') return again(held, holder, 'declined', error, false, now);
  const first = begun(held, holder);
  const attempts = held.attempts + first.length;
  if (!retryable) return given(first, holder, 'not_retryable', error);
  if (attempts >= held.maxAttempts) return given(first, holder, 'attempts', error);
  const next = again({ ...held, attempts }, holder, 'reported', error, true, now);
  return { events: [...first, ...next.events], reply: next.reply };
};

export interface Lapse extends Holder {
  readonly cause: Exclude<AttemptEnd, 'reported' | 'declined'>;
}

/** The hub takes the task back from a node that does not answer. Nothing when it is not that node's any more. */
export const lapse: Decide<State, Lapse, { changed: boolean }> = (state, { cause, ...holder }, { now }) => {
  if (!state || !isHeld(state) || !isOf(state, holder)) return unchanged;
  const counted = state.status === 'running';
  if (cause === 'not_acknowledged' && (counted || state.ackBy > now)) return unchanged;
  const error = { code: cause, message: lapseMessages[cause] };
  const used = counted ? state.attempts >= state.maxAttempts : state.unanswered + 1 >= mostUnanswered;
  const { events } = used
    ? given([], holder, counted ? 'attempts' : 'unassignable', error)
    : again(state, holder, cause, error, counted, now);
  return { events, reply: { changed: true } };
};

const lapseMessages: Readonly<Record<Lapse['cause'], string>> = {
  not_acknowledged: 'the node did not say in time that it started',
  lease_expired: 'the node was not heard of in time',
  node_gone: 'the node is gone',
};

/** The deadline passed. Nothing when it has none, or is over. */
export const expire: Decide<State, { taskId: string }, { changed: boolean }> = (state, { taskId }, { now }) => {
  if (!state || isOver(state) || state.deadline === undefined || state.deadline > now) return unchanged;
  const holder = isHeld(state) ? { node_id: state.nodeId!, lease: state.lease } : {}; // who has a task is known
  const error = { code: 'deadline', message: 'the deadline passed' };
  return {
    events: [{ type: 'task.failed', data: { task_id: taskId, cause: 'deadline', error, ...holder } }],
    reply: { changed: true },
  };
};

/** Who asks for something that is for whoever handed the task in, and for who governs. */
export interface Asker {
  /** `node:<id>`, `operator:<prefix>` or `hub`. */
  readonly actor: string;
  readonly governs: boolean;
  /** A node that took the name of one that was removed, which handed the task in: it is another. */
  readonly namesake?: boolean;
}

/** Ends a task, whoever has it. Again is harmless. Refuses `not_found`, `forbidden`, `task_over`. */
export const cancel: Decide<
  State,
  { taskId: string; by: Asker; reason?: string | undefined },
  { status: TaskStatus }
> = (state, { taskId, by, reason }) => {
  if (!state) return unknown(taskId);
  if (!mayChange(state, by)) return notTheirs(taskId);
  if (state.status === 'cancelled') return { events: [], reply: { status: 'cancelled' } };
  if (isOver(state)) return over(taskId, state);
  const holder = isHeld(state) ? { node_id: state.nodeId!, lease: state.lease } : {}; // as above
  const data = { task_id: taskId, ...(reason !== undefined && { reason }), ...holder };
  return { events: [{ type: 'task.cancelled', data }], reply: { status: 'cancelled' } };
};

/** Has a failed task tried again, with all its attempts and no deadline. Refuses `not_found`, `forbidden`, `queue_full`, and `conflict` when it did not fail. */
export const retry: Decide<State, { taskId: string; by: Asker } & Adding, { status: TaskStatus }> = (
  state,
  { taskId, by, full: isFull = false },
) => {
  if (!state) return unknown(taskId);
  if (!mayChange(state, by)) return notTheirs(taskId);
  if (state.status !== 'failed') return refuse('conflict', `${taskId} is ${state.status}, not failed`);
  if (isFull) return full;
  const { type, submitter, priority, requirements, callback, lease, sensitive } = state;
  const optional = { ...(callback && { callback }), ...(sensitive && { sensitive }) };
  const data = { task_id: taskId, type, submitter, priority, requirements, lease, ...optional };
  return { events: [{ type: 'task.retried', data }], reply: { status: 'pending' } };
};

function holding(state: State, holder: Holder): Task | Refusal {
  if (!state) return unknown(holder.taskId);
  if (!isOf(state, holder)) return refuse('lease_lost', `${holder.taskId} was taken from this node meanwhile`);
  if (isOver(state)) return over(holder.taskId, state);
  return isHeld(state) ? state : refuse('lease_lost', `${holder.taskId} was taken from this node meanwhile`);
}

function isOf(state: Task, { nodeId, lease }: Holder): boolean {
  return state.nodeId === nodeId && state.lease === lease;
}

function isHeld({ status }: Task): boolean {
  return status === 'assigned' || status === 'running';
}

function isOver({ status }: Pick<Task, 'status'>): boolean {
  return status === 'completed' || status === 'failed' || status === 'cancelled';
}

function named({ taskId: task_id, nodeId: node_id, lease }: Holder) {
  return { task_id, node_id, lease };
}

function started(holder: Holder): DomainEvent {
  return { type: 'task.started', data: named(holder) };
}

/** Who ends a task without having said that it began, began it. */
function begun(state: Task, holder: Holder): DomainEvent[] {
  return state.status === 'assigned' ? [started(holder)] : [];
}

function given(
  first: readonly DomainEvent[],
  holder: Holder,
  cause: EventData<'task.failed'>['cause'],
  error: TaskError,
): Decision<{ status: TaskStatus }> {
  return {
    events: [...first, { type: 'task.failed', data: { ...named(holder), cause, error } }],
    reply: { status: 'failed' },
  };
}

function again(
  state: Task,
  holder: Holder,
  cause: AttemptEnd,
  error: TaskError,
  counted: boolean,
  now: number,
): Decision<{ status: TaskStatus }> {
  const retry_at = isoTime(now + waitMs(state, cause, counted));
  return {
    events: [{ type: 'task.attempt-failed', data: { ...named(holder), cause, error, counted, retry_at } }],
    reply: { status: 'pending' },
  };
}

/** Another node takes over at once; work that failed waits as it asked to; nodes that never answer are asked ever more slowly. */
function waitMs({ backoff, attempts, unanswered }: Task, cause: AttemptEnd, counted: boolean): number {
  if (cause === 'reported') {
    const { kind, delay_ms, max_ms } = backoff;
    return Math.min(max_ms, kind === 'fixed' ? delay_ms : delay_ms * 2 ** (attempts - 1));
  }
  if (counted || unanswered < promptUnanswered) return 0;
  return Math.min(60_000, 500 * 2 ** (unanswered - promptUnanswered));
}

function mayChange(state: Task, { actor, governs, namesake = false }: Asker): boolean {
  return governs || (state.submitter === actor && !namesake);
}

function notTheirs(taskId: string): Refusal {
  return refuse('forbidden', `${taskId} was handed in by another`);
}

function unknown(taskId: string): Refusal {
  return refuse('not_found', `there is no task ${taskId}`);
}

function over(taskId: string, { status }: Task): Refusal {
  return refuse('task_over', `${taskId} is ${status}`);
}

const unchanged = { events: [], reply: { changed: false } };

/** What became of the callback; once an end. `ended`: the revision of the end that was told. */
export const callBack: Decide<
  State,
  { taskId: string; ended: number; attempts: number } & ({ status: number } | { error: string }),
  undefined
> = (state, { taskId: task_id, ended, attempts, ...end }) => {
  if (!state?.untold || !isOver(state) || state.ended !== ended) return { events: [], reply: undefined };
  const event: DomainEvent =
    'status' in end
      ? { type: 'task.callback-delivered', data: { task_id, status: end.status, attempts } }
      : { type: 'task.callback-failed', data: { task_id, error: end.error, attempts } };
  return { events: [event], reply: undefined };
};
