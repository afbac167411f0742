/** Nodes that ask for work: the most urgent task that they can do is theirs, on whichever replica they ask, or they wait for one. */
import type { About, Executed } from '../../commands/execute.ts';
import { assign, cancel, task, taskStream } from '../../commands/task.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { StoredCommand } from '../../events/log.ts';
import type { Hub } from '../../hub.ts';
import { isoTime } from '../../kernel.ts';
import type { AssignedTask } from '../../protocol.ts';
import { type Change, type Changes, isHeld, isPending } from './changes.ts';
import { readyAtOf } from './dispatcher.ts';
import type { TaskNode, TaskNodes } from './nodes.ts';
import type { Orders } from './orders.ts';
import type { Group, Waiting, WaitingRoom } from './waiting-room.ts';

/** Claims that wait at this replica at most. */
const mostWaiting = 1_000;
/** Of these, one node's at most, so that none takes the places of the others. */
const mostOfNode = 64;
const longestWaitMs = 30_000;
/** Tasks that a claim tries for before it waits for a change: others may take them first. */
const mostTries = 20;
const againMs = 500;

export interface Wish {
  readonly types?: readonly string[] | undefined;
  readonly waitMs: number;
  readonly signal: AbortSignal;
}

/** Whether a claim takes tasks of a group. */
type Fits = (group: Group) => boolean;

interface Waiter {
  readonly fits: Fits;
  wake(): void;
}

export class Claims {
  readonly #hub: Hub;
  readonly #room: WaitingRoom;
  readonly #nodes: TaskNodes;
  readonly #changes: Changes;
  readonly #orders: Orders;
  readonly #waiters = new Map<string, Set<Waiter>>();
  #count = 0;
  #closed = false;

  constructor(hub: Hub, room: WaitingRoom, nodes: TaskNodes, changes: Changes, orders: Orders) {
    this.#hub = hub;
    this.#room = room;
    this.#nodes = nodes;
    this.#changes = changes;
    this.#orders = orders;
    nodes.onChange(({ nodeId }) => this.#wake(nodeId));
    room.onRipe((waiting) => this.#due(waiting));
  }

  /** A task that waits may be what somebody waits for. */
  take({ after }: Change): void {
    const waiting = isPending(after) ? this.#room.get(after.task_id) : undefined;
    if (waiting) this.#due(waiting);
  }

  /** Of those who could do it and asked for its type, one is woken for it. */
  #due({ due, group }: Waiting): void {
    if (!due || this.#count === 0) return;
    for (const [nodeId, waiters] of this.#waiters) {
      const node = this.#nodes.get(nodeId);
      if (!node || !group.able.has(node) || this.#hub.doors.judge(node.identity)) continue;
      const waiter = [...waiters].find(({ fits }) => fits(group));
      waiter?.wake();
      if (waiter) return;
    }
  }

  /**
   * Refuses `not_found` for a node that is not there, `queue_full` when too many wait, `idempotency_mismatch`, and what bars the
   * node: also one that was barred while it waited.
   */
  async claim(
    nodeId: string,
    { types, waitMs, signal }: Wish,
    about: About,
  ): Promise<AssignedTask | undefined | Refusal> {
    const node = this.#nodes.claiming(nodeId);
    if (!node) return refuse('not_found', `there is no node ${nodeId}`);
    const wanted = types && new Set(types);
    const fits: Fits = wanted ? (group) => wanted.has(group.type) : () => true;
    const until = this.#hub.kernel.monotonicMs() + Math.min(waitMs, longestWaitMs);
    const got = await this.#get(node, { fits, until, signal }, about);
    const took = got !== undefined && !isRefusal(got);
    if (!took) this.#handOn(node, fits);
    return got;
  }

  async #get(
    node: TaskNode,
    { fits, until, signal }: { fits: Fits; until: number; signal: AbortSignal },
    about: About,
  ): Promise<AssignedTask | undefined | Refusal> {
    const { command } = about;
    for (;;) {
      const known = command && (await this.#hub.log.findCommand(command.id));
      if (known) return known.bodyHash === command.bodyHash ? this.#again(node, known) : otherClaim;
      if (signal.aborted || this.#closed) return undefined;
      const barred = this.#hub.doors.judge(node.identity);
      if (barred) return barred;
      const got = await this.#tryNow(node, fits, about);
      if (got === 'known') continue;
      if (got) return got;
      const left = until - this.#hub.kernel.monotonicMs();
      if (left <= 0) return undefined;
      const waiting = this.#waiters.get(node.nodeId)?.size ?? 0;
      if (this.#count >= mostWaiting || waiting >= mostOfNode) return tooMany;
      await this.#change(node.nodeId, fits, left, signal);
    }
  }

  /** A claim goes without what it may have been woken for: another is. */
  #handOn(node: TaskNode, fits: Fits): void {
    const first = this.#count > 0 ? this.#room.mostUrgentFor(node, fits) : undefined;
    if (first) this.#due(first);
  }

  /** The same claim was made before: what it got is answered, unless it went elsewhere since. */
  async #again({ nodeId }: TaskNode, { reply, position }: StoredCommand): Promise<AssignedTask | undefined> {
    const { taskId, lease } = JSON.parse(reply ?? 'null') as { taskId: string; lease: number }; // written by `assign`
    await this.#hub.live.openTasks.waitFor(position);
    const row = this.#changes.get(taskId);
    if (!isHeld(row) || row.node_id !== nodeId || row.lease !== lease) return undefined;
    const given = { lease, ackBy: isoTime(this.#hub.kernel.now()), begun: row.begun - 1 };
    const order = await this.#orders.of(row, given);
    return order === 'erased' ? undefined : order;
  }

  /** Lets all go. */
  close(): void {
    this.#closed = true;
    for (const nodeId of [...this.#waiters.keys()]) this.#wake(nodeId);
  }

  async #tryNow(node: TaskNode, fits: Fits, about: About): Promise<AssignedTask | 'known' | undefined> {
    this.#room.ripen();
    for (let tries = 0; tries < mostTries; tries++) {
      const first = this.#room.mostUrgentFor(node, fits);
      if (!first) return undefined;
      const got = await this.#take(node, first, about);
      if (got) return got;
    }
    return undefined;
  }

  /**
   * Takes one out of the room and tells the log; undefined when somebody else was faster, and `known` when the same claim got
   * a task meanwhile, here or at another replica.
   */
  async #take(
    { nodeId }: TaskNode,
    { row, group }: Waiting,
    about: About,
  ): Promise<AssignedTask | 'known' | undefined> {
    const { executor, kernel } = this.#hub;
    const taskId = row.task_id;
    const command = { taskId, nodeId, how: 'claim', considered: group.able.size, candidates: [] } as const;
    this.#room.take(taskId);
    let done: Executed<{ taskId: string; lease: number }> | Refusal;
    try {
      done = await executor.execute(taskStream(taskId), task, assign, command, about);
    } catch (error) {
      this.#putBack(taskId);
      throw error;
    }
    if (isRefusal(done) || done.reply.taskId !== taskId) {
      this.#putBack(taskId);
      return isRefusal(done) && done.refused !== 'idempotency_mismatch' ? undefined : 'known';
    }
    const given = { lease: done.reply.lease, ackBy: isoTime(kernel.now()), begun: row.begun };
    const order = await this.#orders.of(row, given);
    if (order !== 'erased') return order;
    const by = { actor: 'hub', governs: true };
    const reason = 'its payload was erased';
    await executor.execute(taskStream(taskId), task, cancel, { taskId, by, reason }, { actor: 'hub' });
    return undefined;
  }

  /** What the log says a moment later counts. */
  #putBack(taskId: string): void {
    this.#hub.kernel.after(againMs, () => {
      const now = this.#changes.get(taskId);
      if (!isPending(now) || this.#room.get(taskId)) return;
      this.#due(this.#room.put(now, readyAtOf(now)));
    });
  }

  /** Resolves when there may be something for the node, or nothing more is to be waited for. */
  #change(nodeId: string, fits: Fits, ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const waiters = this.#waiters.get(nodeId) ?? new Set();
      const cancelTimer = this.#hub.kernel.after(ms, () => waiter.wake());
      const waiter: Waiter = {
        fits,
        wake: () => {
          if (!waiters.delete(waiter)) return;
          this.#count--;
          if (waiters.size === 0) this.#waiters.delete(nodeId);
          cancelTimer();
          signal.removeEventListener('abort', waiter.wake);
          resolve();
        },
      };
      waiters.add(waiter);
      this.#count++;
      this.#waiters.set(nodeId, waiters);
      signal.addEventListener('abort', waiter.wake);
    });
  }

  /** Wakes those who wait for a node. */
  #wake(nodeId: string): void {
    for (const waiter of [...(this.#waiters.get(nodeId) ?? [])]) waiter.wake();
  }
}

const tooMany = refuse('queue_full', `${mostWaiting} claims wait already, or ${mostOfNode} of this node`);
const otherClaim = refuse('idempotency_mismatch', 'this idempotency key was used for another claim');
