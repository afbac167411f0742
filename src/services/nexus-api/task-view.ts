/** A task as the HTTP API shows it: what is told to everyone, and what only to those it concerns. */
import { type Static, type TSchema, Type } from 'typebox';
import { actorOf, type Identity } from '../../doors.ts';
import { NodeId } from '../../events/node.ts';
import {
  AttemptEnd,
  Backoff,
  Candidate,
  Priority,
  Requirements,
  TaskError,
  TaskId,
  TaskType,
} from '../../events/task.ts';
import type { Hub } from '../../hub.ts';
import type { TaskRow } from '../../projections/tasks.ts';
import { may } from '../../rights.ts';
import type { TaskQueue } from '../task-queue.ts';

const orNull = <S extends TSchema>(schema: S) => Type.Union([schema, Type.Null()]);
const Time = Type.String({ description: 'ISO 8601 UTC' });

export const TaskStatusWord = Type.Enum(['pending', 'assigned', 'running', 'completed', 'failed', 'cancelled']);

export const TaskSummary = Type.Object({
  task_id: TaskId,
  type: TaskType,
  status: TaskStatusWord,
  submitter: Type.String({ description: '`node:<id>` or `operator:<prefix>`' }),
  priority: Priority,
  requirements: Requirements,
  node_id: Type.Union([NodeId, Type.Null()], { description: 'Who has it, or had it last' }),
  percent: orNull(Type.Number()),
  message: Type.Union([Type.String(), Type.Null()], { description: 'For those who see the content' }),
  error: Type.Union([TaskError, Type.Null()], {
    description: 'What went wrong last; its message is empty for those who do not see the content',
  }),
  deadline: orNull(Time),
  submitted_at: Time,
  updated_at: Time,
  ended_at: orNull(Time),
});

const Attempt = Type.Object({
  lease: Type.Integer(),
  node_id: NodeId,
  how: Type.Enum(['push', 'claim']),
  assigned_at: Time,
  started_at: Type.Optional(Time),
  ended_at: Type.Optional(Time),
  end: Type.Optional(Type.Union([AttemptEnd, Type.Enum(['completed', 'failed', 'cancelled', 'deadline'])])),
  error: Type.Optional(TaskError),
});

export const TaskView = Type.Object({
  ...TaskSummary.properties,
  lease: Type.Integer({ description: 'Fencing token of the newest assignment; 0 before the first' }),
  ack_by: orNull(Time),
  ready_at: Type.Union([Time, Type.Null()], { description: 'Of a task that waits: when it may be given out next' }),
  max_attempts: Type.Integer(),
  backoff: Backoff,
  callback: orNull(
    Type.Object({
      kind: Type.Enum(['socket', 'webhook']),
      url: Type.Optional(Type.String({ description: 'For those who see the content' })),
      status: orNull(Type.Enum(['owed', 'delivered', 'failed'])),
    }),
  ),
  choice: Type.Union([Type.Object({ considered: Type.Integer(), candidates: Type.Array(Candidate) }), Type.Null()], {
    description: 'Why it went to the node that has it: how many could have, and the best of them with their scores',
  }),
  missing: Type.Union([Type.Array(Type.String()), Type.Null()], {
    description:
      'Of a task that waits: what no node that is there has, for people. Empty: one could do it, and it waits for its time or for room',
  }),
  attempts: Type.Array(Attempt, { description: 'The newest 32, the oldest first' }),
  content: Type.Union([Type.Literal('shown'), Type.Literal('withheld'), Type.Literal('erased')], {
    description:
      'Payload, result and where the callback goes are shown to whoever handed the task in, the nodes of its attempts, and who governs',
  }),
  payload: Type.Optional(Type.Unknown()),
  file: Type.Optional(Type.String()),
  result: Type.Optional(Type.Unknown()),
});

/** A task as a list shows it to whoever asks. What nodes say of the work may hold what it is about. */
export function summaryOf(row: TaskRow, reader: Reader): Static<typeof TaskSummary> {
  const { task_id, type, status, submitter, priority, requirements, node_id, percent, failure } = row;
  const { deadline, submitted_at, updated_at, ended_at } = row;
  const times = { deadline, submitted_at, updated_at, ended_at };
  const concerned = concerns(row, reader);
  const message = concerned ? row.message : null;
  const error = failure && errorFor(failure, concerned);
  return { task_id, type, status, submitter, priority, requirements, node_id, percent, message, error, ...times };
}

/** Who asks for a task, and since which position a node is a member. */
export interface Reader {
  readonly identity: Identity;
  readonly since: number;
}

/** A task as whoever asks may see it. Throws a `Fault` when the keyring cannot be asked. */
export async function viewOf(
  row: TaskRow,
  reader: Reader,
  { open, missing }: { open: TaskQueue['open']; missing: string[] | null },
): Promise<Static<typeof TaskView>> {
  const { lease, ack_by, ready_at, max_attempts, backoff, choice, attempts, callback_status } = row;
  const concerned = concerns(row, reader);
  const url = concerned && row.callback?.kind === 'webhook' ? { url: row.callback.url } : {};
  const callback = row.callback && { kind: row.callback.kind, ...url, status: callback_status };
  const shown = attempts.map(({ assigned_position: _, error, ...attempt }) => ({
    ...attempt,
    ...(error && { error: errorFor(error, concerned) }),
  }));
  const known = { lease, ack_by, ready_at, max_attempts, backoff, callback, choice, missing, attempts: shown };
  return { ...summaryOf(row, reader), ...known, ...(concerned ? await contentOf(row, open) : { content: 'withheld' }) };
}

function errorFor({ code, message }: TaskError, concerned: boolean): TaskError {
  return { code, message: concerned ? message : '' };
}

/** Who asks, as `viewOf` needs to know it. */
export function readerOf({ live }: Pick<Hub, 'live'>, identity: Identity): Reader {
  const member = identity.kind === 'node' ? live.nodes.get(identity.nodeId) : undefined;
  return { identity, since: member?.registered_position ?? Number.POSITIVE_INFINITY };
}

async function contentOf({ payload, file, result }: TaskRow, open: TaskQueue['open']) {
  const [given, made] = [await open(payload), result ? await open(result) : {}];
  const content: 'shown' | 'erased' = given.erased || made.erased ? 'erased' : 'shown';
  return {
    content,
    ...(given.value !== undefined && { payload: given.value }),
    ...(file !== null && { file }),
    ...(made.value !== undefined && { result: made.value }),
  };
}

/** Whether somebody handed the task in, worked on it, or governs. Who took the name of a node that was removed did neither. */
function concerns({ submitter, submitted_position, attempts }: TaskRow, { identity, since }: Reader): boolean {
  if (may(identity, 'govern')) return true;
  if (identity.kind !== 'node') return submitter === actorOf(identity);
  if (submitter === actorOf(identity) && submitted_position > since) return true;
  return attempts.some(({ node_id, assigned_position }) => node_id === identity.nodeId && assigned_position > since);
}
