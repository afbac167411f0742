/** Tells the sockets of this replica what the log says of tasks that they have: given, taken back. Each replica follows the log for its own. */
import { cancel, task, taskStream } from '../../commands/task.ts';
import type { LogEvent } from '../../events/catalog.ts';
import type { Hub } from '../../hub.ts';
import { isoTime } from '../../kernel.ts';
import type { OpenTaskRow } from '../../projections/open-tasks.ts';
import type { WebsocketPool } from '../websocket-pool.ts';
import { type Change, type Changes, isHeld } from './changes.ts';
import type { TaskNodes } from './nodes.ts';
import type { Orders } from './orders.ts';

export class Pushes {
  readonly #hub: Hub;
  readonly #sockets: WebsocketPool;
  readonly #changes: Changes;
  readonly #nodes: TaskNodes;
  readonly #orders: Orders;
  readonly #stop: () => void;

  constructor(hub: Hub, sockets: WebsocketPool, changes: Changes, nodes: TaskNodes, orders: Orders) {
    this.#hub = hub;
    this.#sockets = sockets;
    this.#changes = changes;
    this.#nodes = nodes;
    this.#orders = orders;
    this.#stop = sockets.onOpen((nodeId) => this.#again(nodeId));
  }

  take({ taskId, before, after, event }: Change): void {
    switch (event?.type) {
      case 'task.assigned':
        if (after?.how === 'push') this.#tell(after, event.position, event.time, event.meta.traceparent);
        return;
      case 'task.attempt-failed': {
        const { node_id, lease, cause } = event.data;
        if (cause !== 'reported' && cause !== 'declined') this.#takeBack(node_id, taskId, lease, cause, event);
        return;
      }
      case 'task.cancelled':
      case 'task.failed':
      case 'task.completed':
        this.#end(taskId, before, event);
    }
  }

  close(): void {
    this.#stop();
  }

  /** A node is here again: what it has is told again, in case it was not heard, or forgotten. */
  #again(nodeId: string): void {
    const time = isoTime(this.#hub.kernel.now());
    for (const taskId of this.#nodes.get(nodeId)?.held ?? []) {
      const row = this.#changes.get(taskId);
      if (isHeld(row) && row.node_id === nodeId && row.how === 'push') this.#tell(row, row.submitted_position, time);
    }
  }

  #tell(row: OpenTaskRow, position: number, time: string, traceparent?: string): void {
    const { task_id: taskId, node_id: nodeId, lease, ack_by, begun } = row;
    if (nodeId === null || !this.#sockets.has(nodeId)) return;
    const given = { lease, ackBy: ack_by ?? time, begun: row.status === 'running' ? begun - 1 : begun };
    const { kernel } = this.#hub;
    this.#orders.of(row, given).then(
      (order) => {
        const now = this.#changes.get(taskId);
        if (!isHeld(now) || now.lease !== lease) return; // it went elsewhere while the payload was read
        if (order === 'erased') void this.#giveUp(taskId);
        else {
          const span = this.#hub.tracing.within(
            'push federation:task:assigned',
            'producer',
            traceparent ?? order.traceparent,
          );
          span?.set('federation.node', nodeId);
          const told = span ? { ...order, traceparent: span.traceparent } : order;
          this.#sockets.tell(nodeId, 'federation:task:assigned', { position, time, task: told });
          span?.end();
        }
      },
      (error: unknown) => kernel.log.warn({ err: error, taskId }, 'a node was not told of its task; it goes elsewhere'),
    );
  }

  /** What nobody can read any more, nobody can do. */
  async #giveUp(taskId: string): Promise<void> {
    const { executor, kernel } = this.#hub;
    const by = { actor: 'hub', governs: true };
    const command = { taskId, by, reason: 'its payload was erased' };
    await executor
      .execute(taskStream(taskId), task, cancel, command, { actor: 'hub' })
      .catch((error: unknown) => kernel.log.warn({ err: error, taskId }, 'an erased task was not cancelled'));
  }

  #takeBack(nodeId: string, taskId: string, lease: number, reason: string, { position, time }: LogEvent): void {
    if (!this.#sockets.has(nodeId)) return;
    this.#sockets.tell(nodeId, 'federation:task:cancelled', { position, time, task_id: taskId, lease, reason });
  }

  #end(
    taskId: string,
    before: OpenTaskRow | undefined,
    event: LogEvent<'task.cancelled' | 'task.failed' | 'task.completed'>,
  ): void {
    if (event.type !== 'task.completed' && isHeld(before)) {
      const { data, meta } = event;
      const reported = event.type === 'task.failed' && meta.actor === `node:${data.node_id}`; // it knows
      const reason = event.type === 'task.failed' ? event.data.cause : (event.data.reason ?? 'cancelled');
      if (data.node_id !== undefined && data.lease !== undefined && !reported)
        this.#takeBack(data.node_id, taskId, data.lease, reason, event);
    }
    this.#orders.forget(taskId);
  }
}

/** The node behind an actor. */
export function nodeOf(actor: string): string | undefined {
  return actor.startsWith('node:') ? actor.slice('node:'.length) : undefined;
}
