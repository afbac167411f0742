/** What nodes acknowledge goes into the log: one fact for all that a node acknowledged while the one before was being written. */
import type { About, Executed } from '../../commands/execute.ts';
import { deliver, mailbox, mailboxStream } from '../../commands/mailbox.ts';
import type { Refusal } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import type { Mailroom } from './mailroom.ts';

type Acknowledged = Executed<{ through: number }> | Refusal;

interface Running {
  readonly ended: Promise<unknown>;
  /** What was acknowledged meanwhile. */
  next: { through: number; readonly done: Promise<Acknowledged> } | undefined;
}

export class Acks {
  readonly #hub: Pick<Hub, 'executor'>;
  readonly #room: Mailroom;
  readonly #running = new Map<string, Running>();

  constructor(hub: Pick<Hub, 'executor'>, room: Mailroom) {
    this.#hub = hub;
    this.#room = room;
  }

  /** The node has all up to here, as far as there is anything. Acknowledged twice is acknowledged once. */
  acknowledge(nodeId: string, through: number, about: About): Promise<Acknowledged> {
    const running = this.#running.get(nodeId);
    if (!running) return this.#write(nodeId, through, about);
    running.next ??= {
      through,
      done: running.ended.then(() => this.#write(nodeId, running.next!.through, about)), // it is set by then
    };
    running.next.through = Math.max(running.next.through, through);
    return running.next.done;
  }

  async #write(nodeId: string, through: number, about: About): Promise<Acknowledged> {
    const box = this.#room.box(nodeId);
    const last = box.lastUpTo(through);
    if (last === undefined) return { position: box.through, reply: { through: box.through } };
    const command = { nodeId, through: last };
    const writing = this.#hub.executor.execute(mailboxStream(nodeId), mailbox, deliver, command, about);
    const running: Running = { ended: writing.catch(() => {}), next: undefined };
    this.#running.set(nodeId, running);
    try {
      return await writing;
    } finally {
      if (this.#running.get(nodeId) === running) this.#running.delete(nodeId);
    }
  }
}
