/** What work is still owed? The tasks that are not over, and those whose callback is due: what every replica keeps in memory. */
import type { Kysely } from 'kysely';
import type { EventData } from '../events/catalog.ts';
import type { Callback, Requirements, TaskStatus } from '../events/task.ts';
import type { ViewTables } from './catalog.ts';
import { projection } from './define.ts';

/** Only what giving it out takes; the rest is in `federation_tasks`. */
export interface OpenTaskRow {
  task_id: string;
  type: string;
  /** Over, while a webhook is still to be told. */
  status: TaskStatus;
  submitter: string;
  priority: number;
  requirements: Requirements;
  /** Who has it. */
  node_id: string | null;
  how: 'push' | 'claim' | null;
  lease: number;
  /** Attempts that were begun. */
  begun: number;
  ack_by: string | null;
  /** When it was given to the node that has it. */
  assigned_at: string | null;
  /** When the node that has it last said how far it is. */
  progressed_at: string | null;
  /** From when on it may be given out; when it was handed in, unless it waits after an attempt. */
  ready_at: string;
  deadline: string | null;
  submitted_at: string;
  submitted_position: number;
  /** Who is to be told of the end. */
  callback: Callback | null;
  /** Payload and result are sealed: 1, else 0. */
  sensitive: number;
}

export const openTasks = projection<OpenTaskRow>({
  table: {
    name: 'federation_tasks_open',
    key: 'task_id',
    columns: {
      task_id: 'text',
      type: 'text',
      status: 'text',
      submitter: 'text',
      priority: 'integer',
      requirements: 'json',
      node_id: { type: 'text', nullable: true },
      how: { type: 'text', nullable: true },
      lease: 'integer',
      begun: 'integer',
      ack_by: { type: 'text', nullable: true },
      assigned_at: { type: 'text', nullable: true },
      progressed_at: { type: 'text', nullable: true },
      ready_at: 'text',
      deadline: { type: 'text', nullable: true },
      submitted_at: 'text',
      submitted_position: 'integer',
      callback: { type: 'json', nullable: true },
      sensitive: 'integer',
    },
  },
  version: 1,
  on: {
    'task.submitted': {
      key: ({ data }) => data.task_id,
      fold: (_row, { data, time, position }) => ({
        ...waiting(data, time, position),
        deadline: data.deadline ?? null,
        sensitive: data.payload.sealed ? 1 : 0,
      }),
    },
    'task.retried': {
      key: ({ data }) => data.task_id,
      fold: (_row, { data, time, position }) => ({
        ...waiting(data, time, position),
        lease: data.lease,
        sensitive: data.sensitive ? 1 : 0,
      }),
    },
    'task.assigned': {
      key: ({ data }) => data.task_id,
      fold: (row, { data: { node_id, lease, how, ack_by }, time }) =>
        row && { ...row, status: 'assigned', node_id, lease, how, ack_by, assigned_at: time },
    },
    'task.started': {
      key: ({ data }) => data.task_id,
      fold: (row) => row && { ...row, status: 'running', ack_by: null, begun: row.begun + 1 },
    },
    'task.progressed': {
      key: ({ data }) => data.task_id,
      fold: (row, { time }) => row && { ...row, progressed_at: time },
    },
    'task.attempt-failed': {
      key: ({ data }) => data.task_id,
      fold: (row, { data: { retry_at } }) => row && { ...row, ...free, status: 'pending', ready_at: retry_at },
    },
    'task.completed': { key: ({ data }) => data.task_id, fold: (row) => over(row, 'completed') },
    'task.failed': { key: ({ data }) => data.task_id, fold: (row) => over(row, 'failed') },
    'task.cancelled': { key: ({ data }) => data.task_id, fold: (row) => over(row, 'cancelled') },
    'task.callback-delivered': { key: ({ data }) => data.task_id, fold: (row) => told(row) },
    'task.callback-failed': { key: ({ data }) => data.task_id, fold: (row) => told(row) },
  },
});

/** A task as it is handed in, or tried anew. */
function waiting(
  {
    task_id,
    type,
    submitter,
    priority,
    requirements,
    callback,
  }: EventData<'task.submitted'> | EventData<'task.retried'>,
  time: string,
  position: number,
): OpenTaskRow {
  return {
    task_id,
    type,
    status: 'pending',
    submitter,
    priority,
    requirements,
    ...free,
    lease: 0,
    begun: 0,
    ready_at: time,
    deadline: null,
    submitted_at: time,
    submitted_position: position,
    callback: callback ?? null,
    sensitive: 0,
  };
}

const free = { node_id: null, how: null, ack_by: null, assigned_at: null, progressed_at: null } as const;

/** Gone, unless somebody is still to be told. */
function over(row: OpenTaskRow | undefined, status: TaskStatus): OpenTaskRow | undefined | null {
  if (!row) return undefined;
  return row.callback?.kind !== 'webhook' ? null : { ...row, ...free, status };
}

/** The end was told, or nobody could be told; a task that is tried again meanwhile stays. */
function told(row: OpenTaskRow | undefined): OpenTaskRow | undefined | null {
  if (!row) return undefined;
  return row.status === 'completed' || row.status === 'failed' || row.status === 'cancelled' ? null : row;
}

/** How many tasks there are of each status and priority that are not over, and since when the oldest of them waits. */
export function countOpenTasks(
  db: Kysely<ViewTables>,
): Promise<{ status: TaskStatus; priority: number; count: number; oldest: string }[]> {
  return db
    .selectFrom('federation_tasks_open')
    .where('status', 'in', ['pending', 'assigned', 'running'])
    .groupBy(['status', 'priority'])
    .select((build) => ['status', 'priority', build.fn.countAll<number>().as('count')])
    .select((build) => build.fn.min('submitted_at').as('oldest'))
    .execute();
}

/** Tasks that wait and ask for the same, the longest wait first, at most `limit` kinds of them. */
export function findWaitingKinds(
  db: Kysely<ViewTables>,
  limit: number,
): Promise<{ type: string; requirements: Requirements; count: number; oldest: string }[]> {
  return db
    .selectFrom('federation_tasks_open')
    .where('status', '=', 'pending')
    .groupBy(['type', 'requirements'])
    .select((build) => ['type', 'requirements', build.fn.countAll<number>().as('count')])
    .select((build) => build.fn.min('submitted_at').as('oldest'))
    .orderBy('oldest')
    .orderBy('type')
    .limit(limit)
    .execute();
}
