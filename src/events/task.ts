/** Facts of one task, in the stream `task-<task id>`: handed in, given to a node, worked on, ended. */
import { Type } from 'typebox';
import { kept } from './define.ts';
import { NodeId } from './node.ts';
import { Sealed } from './sealed.ts';

export const TaskId = Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$', description: 'Name of a task' });
const task_id = TaskId;

const Word = Type.String({ minLength: 1, maxLength: 64, pattern: '^\\P{Cc}*$' });
const Time = Type.String({ description: 'ISO 8601 UTC' });

export const TaskType = Type.String({
  pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$',
  description: 'What kind of work it is; nodes say which they take',
});

export const Priority = Type.Integer({ minimum: 1, maximum: 10, description: '10 is most urgent' });

/** What a node must have to be given the task. */
export const Requirements = Type.Object({
  capabilities: Type.Optional(Type.Array(Word, { maxItems: 32, uniqueItems: true })),
  /** A model that the node has. */
  model: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
  /** Tokens that the model must take. */
  min_context: Type.Optional(Type.Integer({ minimum: 1 })),
  /** This node and no other. */
  node: Type.Optional(NodeId),
  labels: Type.Optional(Type.Record(Type.String({ pattern: '^.{1,64}$' }), Word, { maxProperties: 32 })),
});
export type Requirements = Type.Static<typeof Requirements>;

/** How long to wait before the next attempt: `delay_ms`, doubled each time if exponential, at most `max_ms`. */
export const Backoff = Type.Object({
  kind: Type.Union([Type.Literal('fixed'), Type.Literal('exponential')]),
  delay_ms: Type.Integer({ minimum: 0, maximum: 86_400_000 }),
  max_ms: Type.Integer({ minimum: 0, maximum: 86_400_000 }),
});
export type Backoff = Type.Static<typeof Backoff>;

/** Who is told of the end besides the log: the socket of the node that handed it in, or a web address. */
export const Callback = Type.Union([
  Type.Object({ kind: Type.Literal('socket') }),
  Type.Object({ kind: Type.Literal('webhook'), url: Type.String({ maxLength: 2048, pattern: '^https?://' }) }),
]);
export type Callback = Type.Static<typeof Callback>;

/** Work to do, or what came of it: plain, or sealed when the task is sensitive. Absent: nothing. */
const Content = {
  value: Type.Optional(Type.Unknown()),
  sealed: Type.Optional(Sealed),
};

export const TaskError = Type.Object({
  code: Type.String({ minLength: 1, maxLength: 64 }),
  message: Type.String({ maxLength: 4_096 }),
});
export type TaskError = Type.Static<typeof TaskError>;

/** One of the nodes that were looked at for a task: the higher score is the better. `why` is what made it up. */
export const Candidate = Type.Object({
  node_id: NodeId,
  score: Type.Number(),
  why: Type.Record(Type.String(), Type.Union([Type.Number(), Type.String(), Type.Boolean()])),
});
export type Candidate = Type.Static<typeof Candidate>;

/** The fencing token: grows with each assignment of the task. What comes with an older one is refused. */
const lease = Type.Integer({ minimum: 1 });

/** `assigned`: given to a node that has not said yet that it began. */
export type TaskStatus = 'pending' | 'assigned' | 'running' | 'completed' | 'failed' | 'cancelled';

/** Why an attempt came to nothing. */
export const AttemptEnd = Type.Union([
  Type.Literal('reported'),
  Type.Literal('declined'),
  Type.Literal('not_acknowledged'),
  Type.Literal('lease_expired'),
  Type.Literal('node_gone'),
]);
export type AttemptEnd = Type.Static<typeof AttemptEnd>;

export const taskEvents = {
  'task.submitted': kept(
    Type.Object({
      task_id,
      type: TaskType,
      /** `node:<id>` or `operator:<prefix>`. */
      submitter: Type.String(),
      payload: Type.Object(Content),
      /** Where the payload is when it is too large to be carried. */
      file: Type.Optional(Type.String({ maxLength: 512 })),
      priority: Priority,
      requirements: Requirements,
      deadline: Type.Optional(Time),
      max_attempts: Type.Integer({ minimum: 1, maximum: 100 }),
      backoff: Backoff,
      callback: Type.Optional(Callback),
    }),
  ),
  'task.assigned': kept(
    Type.Object({
      task_id,
      node_id: NodeId,
      lease,
      /** Pushed to its socket, or claimed by the node. */
      how: Type.Union([Type.Literal('push'), Type.Literal('claim')]),
      /** By when the node must have said that it started. A claim needs no more words: it is started. */
      ack_by: Time,
      /** How many nodes could have done it now. */
      considered: Type.Integer({ minimum: 0 }),
      /** The best of them, the chosen one first; at most eight. */
      candidates: Type.Array(Candidate, { maxItems: 8 }),
    }),
  ),
  'task.started': kept(Type.Object({ task_id, node_id: NodeId, lease })),
  /** Written at most once a second a task. */
  'task.progressed': kept(
    Type.Object({
      task_id,
      node_id: NodeId,
      lease,
      percent: Type.Optional(Type.Number({ minimum: 0, maximum: 100 })),
      message: Type.Optional(Type.String({ maxLength: 512 })),
    }),
  ),
  'task.completed': kept(Type.Object({ task_id, node_id: NodeId, lease, result: Type.Object(Content) })),
  /** The attempt came to nothing, and there will be another from `retry_at` on. */
  'task.attempt-failed': kept(
    Type.Object({
      task_id,
      node_id: NodeId,
      lease,
      cause: AttemptEnd,
      error: TaskError,
      /** It was begun, and counts against `max_attempts`. */
      counted: Type.Boolean(),
      retry_at: Time,
    }),
  ),
  /** It will not be tried again unless somebody asks for it. */
  'task.failed': kept(
    Type.Object({
      task_id,
      cause: Type.Union([
        Type.Literal('attempts'),
        Type.Literal('not_retryable'),
        Type.Literal('deadline'),
        Type.Literal('unassignable'),
      ]),
      error: TaskError,
      /** Of the attempt that failed last or was under way. */
      node_id: Type.Optional(NodeId),
      lease: Type.Optional(lease),
    }),
  ),
  'task.cancelled': kept(
    Type.Object({
      task_id,
      reason: Type.Optional(Type.String({ maxLength: 512 })),
      /** Who was at work on it. */
      node_id: Type.Optional(NodeId),
      lease: Type.Optional(lease),
    }),
  ),
  /** A failed task is to be tried again, with all its attempts and no deadline. Says anew what giving it out takes. */
  'task.retried': kept(
    Type.Object({
      task_id,
      type: TaskType,
      submitter: Type.String(),
      priority: Priority,
      requirements: Requirements,
      callback: Type.Optional(Callback),
      /** Of its newest assignment; 0 when there was none. */
      lease: Type.Integer({ minimum: 0 }),
      sensitive: Type.Optional(Type.Boolean()),
    }),
  ),
  'task.callback-delivered': kept(Type.Object({ task_id, status: Type.Integer(), attempts: Type.Integer() })),
  /** The callback is given up. */
  'task.callback-failed': kept(
    Type.Object({ task_id, error: Type.String({ maxLength: 512 }), attempts: Type.Integer() }),
  ),
} as const;
