/**
 * What the followers of one process are fed by: what the process writes itself, and one reader of what other processes write.
 *
 * The reader follows the head with the loop of follow.ts, and offers each of its pages to every follower. So a flush of this
 * process is read back by nobody, and one of another process is read once, however many follow. A follower that is behind
 * reads for itself until what is offered joins its position; it holds a bounded number of offered events, and polls, as ever.
 */
import type { Kernel } from '../kernel.ts';
import { type Follower, follow, type Offered } from './follow.ts';
import type { EventLog, OnBatch, SubscribeOptions, Subscription } from './log.ts';

export class Tail {
  readonly #source: Pick<EventLog, 'readAll'>;
  readonly #kernel: Kernel;
  readonly #followers = new Set<Follower>();
  #reader: Follower | undefined;
  /** The last position that this process heard of. */
  #head: number;
  #writing = false;

  /** @param head a position that the log has reached */
  constructor(source: Pick<EventLog, 'readAll'>, kernel: Kernel, head: number) {
    this.#source = source;
    this.#kernel = kernel;
    this.#head = head;
  }

  subscribe(after: number, onBatch: OnBatch, options?: SubscribeOptions): Subscription {
    this.#reader ??= this.#read(); // who only writes reads nothing
    const follower = follow(this.#source, this.#kernel, after, onBatch, options);
    this.#followers.add(follower);
    return {
      get position() {
        return follower.position;
      },
      close: () => {
        this.#followers.delete(follower);
        return follower.close();
      },
    };
  }

  /** This process begins to write: what is heard until `wrote` is likely its own, and comes by that way. */
  writes(): void {
    this.#writing = true;
  }

  /** The writing ended, with this; with nothing, where nothing was written or nobody knows. */
  wrote(page: Offered | undefined): void {
    this.#writing = false;
    if (page) this.#reader?.offer(page);
    if (page && page.through >= this.#head) this.#head = page.through;
    else this.#look();
  }

  /** Somebody wrote the log up to this position. */
  heard(head: number): void {
    this.#head = Math.max(this.#head, head);
    if (!this.#writing) this.#look();
  }

  /** Something may have been written and not been heard of. */
  missed(): void {
    this.#reader?.wake();
  }

  /** Ends the followers, each when its running batch has returned. */
  async close(): Promise<void> {
    await Promise.all([...this.#followers, this.#reader].map((follower) => follower?.close()));
  }

  /** Past what this process has already, there is nothing to read. */
  #look(): void {
    if (this.#reader && this.#reader.position < this.#head) this.#reader.wake();
  }

  #read(): Follower {
    const reader = follow(this.#source, this.#kernel, this.#head, (page) => {
      const offered = { ...page, after: reader.position };
      for (const follower of this.#followers) follower.offer(offered);
    });
    return reader;
  }
}
