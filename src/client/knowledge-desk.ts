/** All of a node that is about knowledge: the syncs under way, and what the hub asks by itself: to sync now, to let go of copies. */
import type { HubPacket } from '../protocol.ts';
import type { AnyHubPacket } from './connection.ts';
import { HubRefusal, HubUnreachable } from './connection.ts';
import { Knowledge } from './knowledge.ts';
import type { KnowledgeStore } from './knowledge-store.ts';
import { runSync, type SyncOptions, type SyncResult, type SyncSide } from './knowledge-sync.ts';
import type { Line } from './sender.ts';

/** Syncs that wait for the one under way. */
const mostWaiting = 16;
const expireEveryMs = 60_000;
/** What one packet names. */
const mostNamed = 256;

export class KnowledgeDesk {
  readonly #line: Line;
  #side: SyncSide | undefined;
  #knowledge: Knowledge | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #offers = 0;
  #closed = false;
  #cancelExpiry = () => {};

  constructor(line: Line) {
    this.#line = line;
  }

  /** This store is what the node knows, from now on. */
  open(store: KnowledgeStore): Knowledge {
    const knowledge = new Knowledge(
      {
        self: `node:${this.#line.nodeId}`,
        sync: (side, options) => this.sync(side, options),
        trouble: (error) => this.#line.trouble(error),
        letGo: (memoryIds) => void this.#answer(memoryIds, 'honoured'),
      },
      store,
    );
    this.#knowledge = knowledge;
    this.attach(knowledge.side);
    this.#cancelExpiry();
    this.#expire();
    return knowledge;
  }

  /** Offers and withdrawals are about what this side keeps, from now on. */
  attach(side: SyncSide): void {
    this.#side = side;
  }

  /** One after another. Throws as `runSync` does, and `HubRefusal` when too many wait. */
  sync(side: SyncSide, options: SyncOptions): Promise<SyncResult> {
    if (this.#waiting >= mostWaiting)
      return Promise.reject(new HubRefusal('overloaded', `${mostWaiting} syncs of this node wait`));
    this.#waiting++;
    const running = this.#last.then(() => {
      this.#waiting--;
      options.signal?.throwIfAborted();
      if (this.#closed) throw new HubUnreachable('this node was closed');
      return runSync(this.#line, side, options, () => this.#closed);
    });
    this.#last = running.catch(() => {});
    return running;
  }

  /** Takes the packets that are about knowledge; false for others. */
  hear({ name, packet }: AnyHubPacket): boolean {
    if (name === 'federation:knowledge:withdraw') void this.#withdraw(packet);
    else if (name === 'federation:knowledge:offer') void this.#offered(packet);
    else return false;
    return true;
  }

  close(): void {
    this.#closed = true;
    this.#cancelExpiry();
  }

  async #offered({ direction, scope }: HubPacket<'federation:knowledge:offer'>): Promise<void> {
    if (!this.#side || this.#offers > 0) return; // the one that waits will find what there is
    this.#offers++;
    try {
      await this.sync(this.#side, { direction, scope });
    } catch (error) {
      if (!this.#closed) this.#line.trouble(error as Error); // what a sync throws is one
    } finally {
      this.#offers--;
    }
  }

  /** Without anything that keeps copies there is nobody to answer; the hub asks again when the node comes back. */
  async #withdraw({ memory_ids, cause }: HubPacket<'federation:knowledge:withdraw'>): Promise<void> {
    if (!this.#side) return;
    try {
      const gone = await this.#side.withdraw(memory_ids, cause);
      await this.#answer(memory_ids, gone ? 'honoured' : 'declined');
    } catch (error) {
      this.#line.trouble(error as Error); // as above
    }
  }

  /** The hub asks again for what it was not told of. */
  async #answer(memoryIds: readonly string[], outcome: 'honoured' | 'declined'): Promise<void> {
    for (let at = 0; at < memoryIds.length; at += mostNamed) {
      const memory_ids = memoryIds.slice(at, at + mostNamed);
      await this.#line.ask('federation:knowledge:withdrawn', { memory_ids, outcome }).catch(() => {});
    }
  }

  #expire(): void {
    this.#knowledge?.expire().catch((error: Error) => this.#line.trouble(error));
    this.#cancelExpiry = this.#line.clock.after(expireEveryMs, () => this.#expire());
  }
}
