/** What a node is told of a task that it is to do. Payloads that passed by lately are remembered as text; others are read from the log. */
import { LRUCache } from 'lru-cache';
import { taskStream } from '../../commands/task.ts';
import type { LogEvent } from '../../events/catalog.ts';
import { decode } from '../../events/decode.ts';
import type { Recorded, Subscription } from '../../events/log.ts';
import type { Hub } from '../../hub.ts';
import type { OpenTaskRow } from '../../projections/open-tasks.ts';
import type { AssignedTask } from '../../protocol.ts';
import { openContent } from '../../task-content.ts';

const rememberedBytes = 64 * 1024 * 1024;

/** Which assignment a node is told of. */
export interface Given {
  readonly lease: number;
  readonly ackBy: string;
  /** How often it was begun before. */
  readonly begun: number;
}

export class Orders {
  readonly #hub: Hub;
  /** `task.submitted` as it came out of the log. */
  readonly #texts = new LRUCache<string, Recorded>({
    maxSize: rememberedBytes,
    sizeCalculation: ({ data }) => 2 * data.length + 512,
  });
  readonly #subscription: Subscription;

  static async start(hub: Hub): Promise<Orders> {
    return new Orders(hub, await hub.log.head());
  }

  private constructor(hub: Hub, head: number) {
    this.#hub = hub;
    this.#subscription = hub.log.subscribe(
      head,
      ({ events }) => {
        for (const recorded of events) this.#texts.set(recorded.stream, recorded);
      },
      { types: ['task.submitted'] },
    );
  }

  /** The order; `erased` when the payload cannot be read any more. Throws a `Fault` when log or keyring fail. */
  async of({ task_id, priority }: OpenTaskRow, { lease, ackBy, begun }: Given): Promise<AssignedTask | 'erased'> {
    const { data, meta } = await this.#submitted(task_id);
    const { type, payload, file, deadline } = data;
    const opened = payload.sealed ? await openContent(this.#hub, payload) : payload;
    if ('erased' in opened) return 'erased';
    return {
      task_id,
      type,
      ...(opened.value !== undefined && { payload: opened.value }),
      ...(file !== undefined && { file }),
      priority,
      lease,
      attempt: begun + 1,
      ...(deadline !== undefined && { deadline }),
      ack_by: ackBy,
      ...(meta.traceparent !== undefined && { traceparent: meta.traceparent }),
    };
  }

  async #submitted(taskId: string): Promise<LogEvent<'task.submitted'>> {
    const recorded = await this.#recorded(taskId);
    const event = recorded && decode(recorded);
    if (event?.type !== 'task.submitted') throw new Error(`the log does not begin ${taskId} with its submission`);
    return event;
  }

  /** Whether a node became a member after a task was handed in: then it is not the one that did, even if it has its name. */
  async isNamesake(nodeId: string, taskId: string): Promise<boolean> {
    const since = this.#hub.live.nodes.get(nodeId)?.registered_position ?? Number.POSITIVE_INFINITY;
    const { position = Number.POSITIVE_INFINITY } = (await this.#recorded(taskId)) ?? {};
    return position < since;
  }

  /** The submission; undefined when there is no such task. */
  async #recorded(taskId: string): Promise<Recorded | undefined> {
    const stream = taskStream(taskId);
    return this.#texts.get(stream) ?? (await this.#hub.log.readStream(stream, 0, 1))[0];
  }

  /** It is over: nobody is told of it again. */
  forget(taskId: string): void {
    this.#texts.delete(taskStream(taskId));
  }

  close(): Promise<void> {
    return this.#subscription.close();
  }
}
