/** What was each task, who worked on it, and what came of it? */
import type { Kysely } from 'kysely';
import type { EventData } from '../events/catalog.ts';
import type { AttemptEnd, Backoff, Callback, Candidate, Requirements, TaskError, TaskStatus } from '../events/task.ts';
import type { ViewTables } from './catalog.ts';
import { projection } from './define.ts';

/** One time that the task was given to a node. */
export interface TaskAttempt {
  lease: number;
  node_id: string;
  how: 'push' | 'claim';
  assigned_at: string;
  assigned_position: number;
  started_at?: string;
  ended_at?: string;
  /** How it ended; absent while it goes on. */
  end?: AttemptEnd | 'completed' | 'failed' | 'cancelled' | 'deadline';
  error?: TaskError;
}

export interface TaskRow {
  task_id: string;
  type: string;
  status: TaskStatus;
  submitter: string;
  priority: number;
  requirements: Requirements;
  payload: EventData<'task.submitted'>['payload'];
  file: string | null;
  deadline: string | null;
  max_attempts: number;
  backoff: Backoff;
  callback: Callback | null;
  callback_status: 'owed' | 'delivered' | 'failed' | null;
  /** Who has it, or had it last. */
  node_id: string | null;
  lease: number;
  /** Of an assigned task: until when the node may take to say that it began. */
  ack_by: string | null;
  /** Of a pending task: when it may be given out next. */
  ready_at: string | null;
  percent: number | null;
  message: string | null;
  result: EventData<'task.completed'>['result'] | null;
  /** What went wrong last. Named apart from the text columns `error` of other tables. */
  failure: TaskError | null;
  /** Why it went to the node that has it: how many could have, and the best of them. */
  choice: { considered: number; candidates: Candidate[] } | null;
  /** The newest of them, the oldest first; at most `keptAttempts`. */
  attempts: TaskAttempt[];
  /** The node whose socket is told of the end. */
  told_node: string | null;
  submitted_at: string;
  submitted_position: number;
  updated_at: string;
  ended_at: string | null;
  ended_position: number | null;
}

const keptAttempts = 32;

export const tasks = projection<TaskRow>({
  table: {
    name: 'federation_tasks',
    key: 'task_id',
    columns: {
      task_id: 'text',
      type: 'text',
      status: 'text',
      submitter: 'text',
      priority: 'integer',
      requirements: 'json',
      payload: 'json',
      file: { type: 'text', nullable: true },
      deadline: { type: 'text', nullable: true },
      max_attempts: 'integer',
      backoff: 'json',
      callback: { type: 'json', nullable: true },
      callback_status: { type: 'text', nullable: true },
      node_id: { type: 'text', nullable: true },
      lease: 'integer',
      ack_by: { type: 'text', nullable: true },
      ready_at: { type: 'text', nullable: true },
      percent: { type: 'real', nullable: true },
      message: { type: 'text', nullable: true },
      result: { type: 'json', nullable: true },
      failure: { type: 'json', nullable: true },
      choice: { type: 'json', nullable: true },
      attempts: 'json',
      told_node: { type: 'text', nullable: true },
      submitted_at: 'text',
      submitted_position: 'integer',
      updated_at: 'text',
      ended_at: { type: 'text', nullable: true },
      ended_position: { type: 'integer', nullable: true },
    },
    indexes: [
      ['status', 'submitted_position'],
      ['node_id', 'submitted_position'],
      ['submitter', 'submitted_position'],
      ['submitted_position'],
      ['told_node', 'ended_position'],
    ],
  },
  version: 3,
  on: {
    'task.submitted': {
      key: ({ data }) => data.task_id,
      fold: (_row, { data, time, position }) => ({
        ...data,
        status: 'pending',
        file: data.file ?? null,
        deadline: data.deadline ?? null,
        callback: data.callback ?? null,
        callback_status: null,
        node_id: null,
        lease: 0,
        ack_by: null,
        ready_at: time,
        percent: null,
        message: null,
        result: null,
        failure: null,
        choice: null,
        attempts: [],
        told_node: toldNode(data),
        submitted_at: time,
        submitted_position: position,
        updated_at: time,
        ended_at: null,
        ended_position: null,
      }),
    },
    'task.assigned': {
      key: ({ data }) => data.task_id,
      fold: (row, { data: { node_id, lease, how, ack_by, considered, candidates }, time, position }) =>
        row && {
          ...row,
          status: 'assigned',
          node_id,
          lease,
          ack_by,
          ready_at: null,
          choice: { considered, candidates },
          attempts: [...row.attempts, { lease, node_id, how, assigned_at: time, assigned_position: position }].slice(
            -keptAttempts,
          ),
          updated_at: time,
        },
    },
    'task.started': {
      key: ({ data }) => data.task_id,
      fold: (row, { time }) =>
        row && { ...row, ...inLast(row, { started_at: time }), status: 'running', ack_by: null, updated_at: time },
    },
    'task.progressed': {
      key: ({ data }) => data.task_id,
      fold: (row, { data: { percent = null, message = null }, time }) =>
        row && { ...row, percent: percent ?? row.percent, message: message ?? row.message, updated_at: time },
    },
    'task.completed': {
      key: ({ data }) => data.task_id,
      fold: (row, { data: { result }, time, position }) =>
        row && {
          ...row,
          ...inLast(row, { ended_at: time, end: 'completed' }),
          ...ended(row, time, position),
          status: 'completed',
          percent: 100,
          result,
          failure: null,
        },
    },
    'task.attempt-failed': {
      key: ({ data }) => data.task_id,
      fold: (row, { data: { cause, error, retry_at }, time }) =>
        row && {
          ...row,
          ...inLast(row, { ended_at: time, end: cause, error }),
          status: 'pending',
          ack_by: null,
          ready_at: retry_at,
          failure: error,
          updated_at: time,
        },
    },
    'task.failed': {
      key: ({ data }) => data.task_id,
      fold: (row, { data: { cause, error, lease }, time, position }) =>
        row && {
          ...row,
          ...(lease === undefined
            ? {}
            : inLast(row, { ended_at: time, end: cause === 'deadline' ? 'deadline' : 'failed', error })),
          ...ended(row, time, position),
          status: 'failed',
          failure: error,
        },
    },
    'task.cancelled': {
      key: ({ data }) => data.task_id,
      fold: (row, { data: { lease }, time, position }) =>
        row && {
          ...row,
          ...(lease === undefined ? {} : inLast(row, { ended_at: time, end: 'cancelled' })),
          ...ended(row, time, position),
          status: 'cancelled',
        },
    },
    'task.retried': {
      key: ({ data }) => data.task_id,
      fold: (row, { time }) =>
        row && {
          ...row,
          status: 'pending',
          deadline: null,
          callback_status: null,
          ready_at: time,
          percent: null,
          message: null,
          updated_at: time,
          ended_at: null,
          ended_position: null,
        },
    },
    'task.callback-delivered': {
      key: ({ data }) => data.task_id,
      fold: (row) => row && { ...row, callback_status: 'delivered' },
    },
    'task.callback-failed': {
      key: ({ data }) => data.task_id,
      fold: (row) => row && { ...row, callback_status: 'failed' },
    },
  },
});

/** The newest attempt, with what is known of it now. */
function inLast({ attempts }: TaskRow, change: Partial<TaskAttempt>): Pick<TaskRow, 'attempts'> {
  const last = attempts.at(-1);
  return { attempts: last ? [...attempts.slice(0, -1), { ...last, ...change }] : attempts };
}

function ended(row: TaskRow, time: string, position: number) {
  const callback_status = row.callback?.kind === 'webhook' ? ('owed' as const) : null;
  return { ack_by: null, ready_at: null, callback_status, updated_at: time, ended_at: time, ended_position: position };
}

/** Who handed it in, when its socket is to be told. */
function toldNode({ submitter, callback }: EventData<'task.submitted'>): string | null {
  return callback?.kind === 'socket' && submitter.startsWith('node:') ? submitter.slice('node:'.length) : null;
}

export interface TaskFilter {
  readonly status?: TaskStatus | undefined;
  readonly type?: string | undefined;
  readonly node?: string | undefined;
  readonly submitter?: string | undefined;
}

/** Tasks, the newest first, before a position of submission, at most `limit`. */
export function findTasks(
  db: Kysely<ViewTables>,
  { status, type, node, submitter }: TaskFilter,
  before: number,
  limit: number,
): Promise<TaskRow[]> {
  let query = db.selectFrom('federation_tasks').selectAll().where('submitted_position', '<', before);
  if (status !== undefined) query = query.where('status', '=', status);
  if (type !== undefined) query = query.where('type', '=', type);
  if (node !== undefined) query = query.where('node_id', '=', node);
  if (submitter !== undefined) query = query.where('submitter', '=', submitter);
  return query.orderBy('submitted_position', 'desc').limit(limit).execute();
}

export function findTask(db: Kysely<ViewTables>, taskId: string): Promise<TaskRow | undefined> {
  return db.selectFrom('federation_tasks').selectAll().where('task_id', '=', taskId).executeTakeFirst();
}
