/**
 * Gives tasks to nodes, on the one replica that has the duty. Whenever a task is due, its group is filled; whenever a node has
 * room, the node is: so no task waits while a node that could do it is idle, and nothing else is looked at.
 */
import { LRUCache } from 'lru-cache';
import { assign, task, taskStream } from '../../commands/task.ts';
import { isRefusal } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import type { OpenTaskRow } from '../../projections/open-tasks.ts';
import { type Change, type Changes, isHeld, isPending } from './changes.ts';
import { choose } from './choice.ts';
import type { TaskNode, TaskNodes } from './nodes.ts';
import type { Group, Waiting, WaitingRoom } from './waiting-room.ts';

/** Assignments on their way into the log at most. */
const mostUnderWay = 1_000;
/** Nodes of a group that are asked whether they have room, before one that has is enough. */
const askedNodes = 128;
/** A task that could not be given out for want of a log is looked at again after so long. */
const againMs = 500;

export class Dispatcher {
  readonly #hub: Hub;
  readonly #room: WaitingRoom;
  readonly #nodes: TaskNodes;
  readonly #changes: Changes;
  readonly #onDuty: () => boolean;
  /** Tasks whose assignment is on its way into the log, or back from it. */
  readonly #underWay = new Set<string>();
  /** What handing in belonged to, so that giving out does too; of tasks that wait long it is forgotten. */
  readonly #traces = new LRUCache<string, string>({ max: 1_000 });
  /** It stopped for want of places under way. */
  #held = false;

  constructor(hub: Hub, room: WaitingRoom, nodes: TaskNodes, changes: Changes, onDuty: () => boolean) {
    this.#hub = hub;
    this.#room = room;
    this.#nodes = nodes;
    this.#changes = changes;
    this.#onDuty = onDuty;
    nodes.onChange((node) => this.fillNode(node));
    room.onRipe(({ group }) => this.fillGroup(group));
  }

  /** After a change: an assignment has come through, or who had the task has room. */
  take({ taskId, before, after, event }: Change): void {
    if (event?.type === 'task.submitted' && event.meta.traceparent) this.#traces.set(taskId, event.meta.traceparent);
    if (!isPending(after)) this.#underWay.delete(taskId);
    const node = isHeld(before) && !isHeld(after) ? this.#nodes.get(before.node_id) : undefined;
    if (this.#held && this.#underWay.size < mostUnderWay / 2) this.fillAll();
    else if (node) this.fillNode(node);
  }

  /** A task is due: it, and those that are more urgent, go to nodes as long as there is room. */
  due(taskId: string): void {
    const waiting = this.#room.get(taskId);
    if (waiting) this.fillGroup(waiting.group);
  }

  fillGroup(group: Group): void {
    while (this.#mayPlace()) {
      const first = group.due.first();
      if (!first || !this.#place(first)) return;
    }
  }

  /** Most urgent first. */
  fillNode(node: TaskNode): void {
    const tried = new Set<Group>(); // what it could do, and may not be given now
    while (this.#room.size > 0 && node.open && node.load < node.capacity && this.#mayPlace()) {
      const first = this.#room.mostUrgentFor(node, (group) => !tried.has(group));
      if (!first) return;
      if (!this.#place(first)) tried.add(first.group);
    }
  }

  fillAll(): void {
    if (this.#room.size === this.#room.unplaceable) return;
    for (const node of this.#nodes.values()) this.fillNode(node);
  }

  /** Puts right what the waiting room holds, by the tasks themselves. Answers how many were put right. */
  mend(): number {
    let mended = 0;
    for (const row of this.#changes.values()) {
      if (!isPending(row) || this.#underWay.has(row.task_id) || this.#room.get(row.task_id)) continue;
      this.#room.put(row, readyAtOf(row));
      mended++;
    }
    return mended;
  }

  #mayPlace(): boolean {
    this.#held = this.#underWay.size >= mostUnderWay;
    return !this.#held && this.#onDuty();
  }

  /** Gives a task to the best node that has room. False when there is none. */
  #place({ row, group }: Waiting): boolean {
    const { model } = group.requirements;
    const [first, ...others] = this.#withRoom(group).map((node) => this.#nodes.ableOf(node, model));
    if (!first) return false;
    const choice = choose([first, ...others], () => this.#hub.kernel.random());
    this.#room.take(row.task_id);
    this.#underWay.add(row.task_id);
    this.#nodes.reserve(choice.chosen.node, row.task_id);
    void this.#assign(row, choice.chosen.node, choice);
    return true;
  }

  /** Of many nodes not all are asked, and others the next time. */
  #withRoom(group: Group): TaskNode[] {
    const now = this.#hub.kernel.monotonicMs();
    const found: TaskNode[] = [];
    const { size } = group.able;
    const skip = size > askedNodes ? Math.floor(this.#hub.kernel.random() * size) : 0;
    let asked = 0;
    const ask = (node: TaskNode) => {
      asked++;
      if (this.#nodes.mayTake(node, group.signature, now)) found.push(node);
      return asked >= askedNodes && found.length > 0;
    };
    let at = 0;
    for (const node of group.able) if (at++ >= skip && ask(node as TaskNode)) return found; // seekers are TaskNodes here
    at = 0;
    for (const node of group.able) if (at++ >= skip || ask(node as TaskNode)) break;
    return found;
  }

  async #assign(
    row: OpenTaskRow,
    { nodeId }: TaskNode,
    { considered, candidates }: Pick<ReturnType<typeof choose>, 'considered' | 'candidates'>,
  ): Promise<void> {
    const { executor, kernel } = this.#hub;
    const taskId = row.task_id;
    const command = { taskId, nodeId, how: 'push', considered, candidates } as const;
    const traceparent = this.#traces.get(taskId);
    const about = { actor: 'hub', ...(traceparent !== undefined && { traceparent }) };
    let given = false;
    try {
      given = !isRefusal(await executor.execute(taskStream(taskId), task, assign, command, about));
    } catch (error) {
      kernel.log.warn({ err: error, taskId }, 'a task was not given out; it is tried again');
    }
    if (!given) this.#giveUp(taskId, nodeId);
  }

  /** It was not given out, or perhaps it was: what the log says a moment later counts. */
  #giveUp(taskId: string, nodeId: string): void {
    this.#underWay.delete(taskId);
    this.#hub.kernel.after(againMs, () => {
      const now = this.#changes.get(taskId);
      if (!isHeld(now) || now.node_id !== nodeId) this.#nodes.release(nodeId, taskId);
      if (!isPending(now) || this.#underWay.has(taskId)) return;
      if (!this.#room.get(taskId)) this.#room.put(now, readyAtOf(now));
      this.due(taskId);
    });
  }
}

/** Milliseconds since 1970; 0: at once. */
export function readyAtOf({ ready_at, submitted_at }: OpenTaskRow): number {
  return ready_at === submitted_at ? 0 : Date.parse(ready_at); // the clock of who took it may be ahead of ours
}
