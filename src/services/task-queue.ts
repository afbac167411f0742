/** The work of the federation: tasks are handed in, given to nodes that can do them, and completed once, whatever dies meanwhile. */
import type { About, Executed } from '../commands/execute.ts';
import {
  type Asker,
  cancel,
  complete,
  type Failure,
  fail,
  type Holder,
  progress,
  retry,
  start,
  submit,
  task,
  taskStream,
} from '../commands/task.ts';
import { actorOf, type Identity } from '../doors.ts';
import { isRefusal, type Refusal } from '../errors.ts';
import type { EventData } from '../events/catalog.ts';
import type { Sealed } from '../events/sealed.ts';
import type { Requirements, TaskStatus } from '../events/task.ts';
import type { Hub } from '../hub.ts';
import { whenOpen } from '../jobs.ts';
import { isoTime } from '../kernel.ts';
import type { AssignedTask, TaskSubmission } from '../protocol.ts';
import { may } from '../rights.ts';
import { contentOf, openContent } from '../task-content.ts';
import { healthAggregator } from './health-aggregator.ts';
import { modelRegistry } from './model-registry.ts';
import { nodeRegistry } from './node-registry.ts';
import { service } from './service.ts';
import { Callbacks } from './task-queue/callbacks.ts';
import { Changes, isPending } from './task-queue/changes.ts';
import { Claims } from './task-queue/claims.ts';
import { Dispatcher, readyAtOf } from './task-queue/dispatcher.ts';
import { Duty } from './task-queue/duty.ts';
import { Leases } from './task-queue/leases.ts';
import { TaskNodes } from './task-queue/nodes.ts';
import { Orders } from './task-queue/orders.ts';
import { handlePackets } from './task-queue/packets.ts';
import { Pushes } from './task-queue/pushes.ts';
import { WaitingRoom } from './task-queue/waiting-room.ts';
import { websocketPool } from './websocket-pool.ts';

export interface TaskQueue {
  /** Takes a task. Refuses `invalid_input`, `payload_too_large`, `queue_full`, `egress_refused` for its webhook. */
  submit(submission: TaskSubmission, by: Identity, about: About): Promise<Executed<{ taskId: string }> | Refusal>;
  /** Gives a node a task that it can do, if there is one within `waitMs`; undefined if there is none. */
  claim(
    nodeId: string,
    wish: { readonly types?: readonly string[] | undefined; readonly waitMs: number; readonly signal: AbortSignal },
    about: About,
  ): Promise<AssignedTask | undefined | Refusal>;
  /** The node has begun. Refuses `not_found`, `task_over`, `lease_lost`, as do the next three. */
  start(holder: Holder, about: About): Promise<Executed<undefined> | Refusal>;
  progress(
    holder: Holder & { readonly percent?: number; readonly message?: string },
    about: About,
  ): Promise<Executed<{ recorded: boolean }> | Refusal>;
  complete(holder: Holder, result: unknown, about: About): Promise<Executed<undefined> | Refusal>;
  fail(failure: Failure, about: About): Promise<Executed<{ status: TaskStatus }> | Refusal>;
  /** For whoever handed it in, and who governs. Refuses `not_found`, `forbidden`, `task_over`. */
  cancel(
    taskId: string,
    reason: string | undefined,
    by: Identity,
    about: About,
  ): Promise<Executed<{ status: TaskStatus }> | Refusal>;
  /** As `cancel`; refuses `conflict` for a task that did not fail, `queue_full`. */
  retry(taskId: string, by: Identity, about: About): Promise<Executed<{ status: TaskStatus }> | Refusal>;
  /** A payload or result in the clear; `erased` when the key that sealed it was destroyed. */
  open(content: { readonly value?: unknown; readonly sealed?: Sealed }): Promise<{ value?: unknown; erased?: true }>;
  /** What waits and what is under way, as this replica knows it. */
  counts(): {
    readonly pending: number;
    readonly assigned: number;
    readonly running: number;
    /** Of the pending: those that no node that is here could do. */
    readonly unplaceable: number;
  };
}

/** Tasks that are not over, at most; each is a small row in the memory of every replica. */
const mostOpen = 200_000;
/** Of these, one submitter's at most, so that nobody shuts the others out. */
const mostOfOne = 150_000;

export const taskQueue = service({
  name: 'task-queue',
  purpose: 'Tasks by priority and requirement, given to nodes under leases, and completed once',
  needs: { registry: nodeRegistry, sockets: websocketPool, health: healthAggregator, models: modelRegistry },
  async start(hub, { registry, sockets, health, models }, standing) {
    const orders = await Orders.start(hub);
    const changes = new Changes(hub.live.openTasks);
    const room = new WaitingRoom(() => hub.kernel.now());
    const nodes = new TaskNodes(hub, room, health, models);
    const dispatcher: Dispatcher = new Dispatcher(hub, room, nodes, changes, () => duty?.held() ?? false);
    const leases = new Leases(hub, changes, nodes, health, registry);
    const claims = new Claims(hub, room, nodes, changes, orders);
    const callbacks = new Callbacks(hub, changes);
    const pushes = new Pushes(hub, sockets, changes, nodes, orders);
    let duty: Duty | undefined;
    // Who has what is known before room is looked for, and what waits before anyone takes it.
    changes.listen((change) => nodes.take(change));
    changes.listen(({ taskId, after }) => {
      if (isPending(after)) room.put(after, readyAtOf(after));
      else room.take(taskId);
    });
    changes.listen((change) => leases.take(change));
    changes.listen((change) => pushes.take(change));
    changes.listen((change) => callbacks.take(change, duty?.held() ?? false));
    changes.listen((change) => claims.take(change));
    changes.listen((change) => duty?.take(change));
    changes.listen((change) => dispatcher.take(change));
    changes.begin();
    const lease = hub.leases.acquire('task-dispatcher');
    duty = new Duty(hub, lease, { room, nodes, dispatcher, leases, sweep: () => callbacks.sweep() });
    const stopOpening = whenOpen(hub, standing, (jobs) => {
      callbacks.use(jobs);
      duty.use(jobs);
    });
    const api = createTaskQueue(hub, { changes, room, claims, orders });
    const stopHandling = handlePackets(sockets, api);
    return {
      api,
      async stop() {
        stopOpening();
        stopHandling();
        claims.close();
        duty.close();
        leases.close();
        pushes.close();
        nodes.close();
        changes.close();
        await orders.close();
        await lease.release();
      },
    };
  },
});

interface Parts {
  readonly changes: Changes;
  readonly room: WaitingRoom;
  readonly claims: Claims;
  readonly orders: Orders;
}

function createTaskQueue(hub: Hub, { changes, room, claims, orders }: Parts): TaskQueue {
  const { executor, kernel, egress } = hub;
  const on = taskStream;
  /** Whose key seals what belongs to a task; undefined when it is not sensitive. */
  const sealerOf = async (taskId: string): Promise<string | undefined> => {
    const row = changes.get(taskId);
    if (row) return row.sensitive === 1 ? row.submitter : undefined;
    const known = await executor.state(on(taskId), task); // this replica has not heard of it yet, or it is over
    return known?.sensitive ? known.submitter : undefined;
  };

  const askerOf = async (taskId: string, by: Identity): Promise<Asker> => {
    const namesake = by.kind === 'node' && (await orders.isNamesake(by.nodeId, taskId));
    return { actor: actorOf(by), governs: may(by, 'govern'), namesake };
  };

  return {
    async submit(submission, by, about) {
      const { payload, sensitive, callback } = submission;
      const full = isFull(changes, actorOf(by));
      const barred = callback?.kind === 'webhook' ? egress.check(callback.url) : undefined;
      if (barred) return barred;
      const submitter = actorOf(by);
      const content = await contentOf(hub, payload, sensitive ? submitter : undefined);
      if (isRefusal(content)) return content;
      const command = submitted(kernel.uuid(), submitter, submission, content);
      return executor.execute(on(command.task_id), task, submit, { ...command, full }, about);
    },
    claim: (nodeId, wish, about) => claims.claim(nodeId, wish, about),
    start: (holder, about) => executor.execute(on(holder.taskId), task, start, holder, about),
    progress: (said, about) => executor.execute(on(said.taskId), task, progress, said, about),
    async complete(holder, value, about) {
      const result = await contentOf(hub, value, await sealerOf(holder.taskId));
      if (isRefusal(result)) return result;
      return executor.execute(on(holder.taskId), task, complete, { ...holder, result }, about);
    },
    fail: (failure, about) => executor.execute(on(failure.taskId), task, fail, failure, about),
    cancel: async (taskId, reason, by, about) =>
      executor.execute(on(taskId), task, cancel, { taskId, reason, by: await askerOf(taskId, by) }, about),
    async retry(taskId, by, about) {
      const command = { taskId, by: await askerOf(taskId, by), full: isFull(changes, actorOf(by)) };
      return executor.execute(on(taskId), task, retry, command, about);
    },
    open: (content) => openContent(hub, content),
    counts: () => ({
      pending: changes.count('pending'),
      assigned: changes.count('assigned'),
      running: changes.count('running'),
      unplaceable: room.unplaceable,
    }),
  };
}

function isFull(changes: Changes, submitter: string): boolean {
  return changes.open >= mostOpen || changes.openOf(submitter) >= mostOfOne;
}

const defaults = {
  priority: 5,
  requirements: {},
  max_attempts: 3,
  backoff: { kind: 'exponential', delay_ms: 1_000, max_ms: 300_000 },
} as const;

function submitted(
  task_id: string,
  submitter: string,
  { type, file, deadline, callback, ...given }: TaskSubmission,
  payload: EventData<'task.submitted'>['payload'],
): EventData<'task.submitted'> {
  const { priority, requirements, max_attempts, backoff } = { ...defaults, ...given };
  const time = deadline === undefined ? Number.NaN : Date.parse(deadline);
  return {
    task_id,
    type,
    submitter,
    payload,
    ...(file !== undefined && { file }),
    priority,
    requirements: inOrder(requirements),
    ...(deadline !== undefined && { deadline: Number.isNaN(time) ? deadline : isoTime(time) }),
    max_attempts,
    backoff,
    ...(callback && { callback }),
  };
}

/** What is asked for in another order is the same. */
function inOrder({ capabilities, ...others }: Requirements): Requirements {
  return capabilities ? { ...others, capabilities: [...capabilities].sort() } : others;
}
