/** Subscriptions that are read: their owners ask for what comes next, wait for it if need be, and say how far they have come. */
import { type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import type { SubscriptionRow } from '../../projections/subscriptions.ts';
import type { CloudEvent } from '../../protocol.ts';
import type { Facts } from './facts.ts';
import type { Fanout } from './fanout.ts';
import { readHistory } from './history.ts';
import { typesOf } from './patterns.ts';
import type { Standing } from './standing.ts';

/** Who waits at this replica, and of one owner: one for each subscription that it may have, and some that are about to end. */
const mostWaiting = 1_000;
const mostOfOwner = 64;
const mostBytes = 1024 * 1024;
/** How long one question may look through the log. */
const mostLookMs = 2_000;

export interface CursorWish {
  readonly limit: number;
  /** How long to wait when there is nothing. */
  readonly waitMs: number;
  /** The one who asked is gone. */
  readonly signal: AbortSignal;
  readonly standing: Standing;
}

/** `position`: what to acknowledge when these were dealt with. */
export interface CursorAnswer {
  readonly events: readonly CloudEvent[];
  readonly position: number;
}

export class Cursors {
  readonly #hub: Pick<Hub, 'log' | 'kernel'>;
  readonly #facts: Facts;
  readonly #fanout: Fanout;
  /** Whose subscription is waited for, by what ends the wait. */
  readonly #waiting = new Map<() => void, string>();
  #closed = false;

  constructor(hub: Pick<Hub, 'log' | 'kernel'>, facts: Facts, fanout: Fanout) {
    this.#hub = hub;
    this.#facts = facts;
    this.#fanout = fanout;
  }

  /** What lies after the position of a subscription. Refuses `conflict` for one that is paused or not read, `limit_reached`, `overloaded`. */
  async read(row: SubscriptionRow, wish: CursorWish): Promise<CursorAnswer | Refusal> {
    const { delivery, status, owner: actor, filter, patterns } = row;
    if (delivery.kind !== 'cursor') return refuse('conflict', 'events of this subscription are sent to its address');
    if (status === 'paused') return refuse('conflict', `the subscription is paused: ${row.reason}`);
    const types = typesOf(patterns);
    const { standing, limit: mostEvents } = wish;
    const asked = { types, filter, actor, standing, mostEvents, mostBytes, mostMs: mostLookMs };
    const end = this.#hub.kernel.monotonicMs() + wish.waitMs;
    let news = false;
    let wake = () => {};
    const stop = this.#fanout.add({
      types,
      take() {
        news = true;
        wake();
      },
    });
    try {
      for (let from = row.position; ; ) {
        news = false;
        const found = await readHistory(this.#hub, this.#facts, from, asked);
        if ('refused' in found) return found;
        const { views, through, more } = found;
        const left = end - this.#hub.kernel.monotonicMs();
        const over = views.length > 0 || more || left <= 0 || wish.signal.aborted || this.#closed;
        if (over) return { events: views.map(({ event }) => event), position: through };
        from = through;
        if (news) continue;
        const full = this.#isFull(actor);
        if (full) return full;
        await this.#wait(actor, left, wish.signal, (rouse) => {
          wake = rouse;
        });
      }
    } finally {
      stop();
    }
  }

  /** Answers all who wait. */
  close(): void {
    this.#closed = true;
    for (const rouse of this.#waiting.keys()) rouse();
  }

  #isFull(owner: string): Refusal | undefined {
    if (this.#waiting.size >= mostWaiting) return refuse('overloaded', `${mostWaiting} wait for events here already`);
    let own = 0;
    for (const waiting of this.#waiting.values()) if (waiting === owner) own++;
    return own < mostOfOwner ? undefined : refuse('limit_reached', `${owner} waits ${mostOfOwner} times here already`);
  }

  async #wait(owner: string, ms: number, signal: AbortSignal, give: (rouse: () => void) => void): Promise<void> {
    await new Promise<void>((resolve) => {
      const rouse = () => {
        cancel();
        signal.removeEventListener('abort', rouse);
        this.#waiting.delete(rouse);
        resolve();
      };
      const cancel = this.#hub.kernel.after(ms, rouse);
      signal.addEventListener('abort', rouse);
      this.#waiting.set(rouse, owner);
      give(rouse);
    });
    give(() => {});
  }
}
