/** Durable subscriptions: made by whoever may act, moved on by their owners, and ended with them. */
import type { About, Executed } from '../../commands/execute.ts';
import {
  type Asker,
  acknowledge,
  create,
  pause,
  remove,
  resume,
  seek,
  subscription,
  subscriptionStream,
} from '../../commands/subscription.ts';
import { actorOf, type Identity } from '../../doors.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Delivery, EventFilter } from '../../events/subscription.ts';
import type { Hub } from '../../hub.ts';
import type { SubscriptionRow } from '../../projections/subscriptions.ts';
import { may } from '../../rights.ts';
import { beyondLog } from './channels.ts';
import { typesOf } from './patterns.ts';

/** In all, and of one owner. Replicas that count at the same moment may pass it by a few. */
const mostSubscriptions = 1_000;
const mostOfOwner = 50;
/** How long a write waits until this replica goes by it. */
const settleMs = 1_000;
/** How long one is waited for that may have been made at another replica just now. */
const lateMs = 500;

export interface SubscriptionWish {
  readonly label: string;
  readonly patterns: readonly string[];
  readonly filter: EventFilter | undefined;
  readonly delivery: Delivery;
  /** What lies after it is delivered; `now`: what happens from now on. */
  readonly after: number | 'now';
}

type Done<Reply> = Promise<Executed<Reply> | Refusal>;

export interface Subscriptions {
  /** Refuses `limit_reached`, `egress_refused` for an address that is never called, `invalid_input`. */
  create(wish: SubscriptionWish, by: Identity, about: About): Done<{ subscriptionId: string }>;
  /** For its owner and who governs. Refuses `not_found`. */
  find(subscriptionId: string, by: Identity): Promise<SubscriptionRow | Refusal>;
  /** By the owner alone: everything up to a position was read. Refuses `not_found`, `invalid_input`. */
  acknowledge(subscriptionId: string, position: number, by: Identity, about: About): Done<{ position: number }>;
  /** By the owner alone: it goes on from this position. Refuses `not_found`, `invalid_input`. */
  seek(subscriptionId: string, position: number, by: Identity, about: About): Done<{ position: number }>;
  /** By the owner or who governs, as the next two. Refuses `not_found`. */
  pause(subscriptionId: string, by: Identity, about: About): Done<undefined>;
  resume(subscriptionId: string, by: Identity, about: About): Done<undefined>;
  remove(subscriptionId: string, by: Identity, about: About): Done<undefined>;
}

export function createSubscriptions(hub: Hub): Subscriptions {
  const { executor, live, log, kernel } = hub;
  const places = new Places(hub);

  /** Whoever gets the answer finds this replica going by it. */
  const settled = async <Reply>(done: Done<Reply>): Done<Reply> => {
    const written = await done;
    if (!isRefusal(written)) await live.subscriptions.waitFor(written.position, settleMs).catch(() => {});
    return written;
  };
  const asker = (by: Identity): Asker => ({ actor: actorOf(by), governs: may(by, 'govern') });

  return {
    async create({ label, patterns, filter, delivery, after }, by, about) {
      if (typesOf(patterns).size === 0) return refuse('invalid_input', 'no type of event is named by these patterns');
      const never = delivery.kind === 'webhook' ? hub.egress.check(delivery.url) : undefined;
      if (never) return never;
      const head = await log.head();
      if (after !== 'now' && after > head) return beyondLog(after);
      const owner = actorOf(by);
      const { full, leave } = places.take(owner);
      try {
        const subscriptionId = kernel.uuid();
        const from = after === 'now' ? head : after;
        const wish = { subscriptionId, owner, label, patterns, filter, delivery, after: from, full };
        return await settled(executor.execute(subscriptionStream(subscriptionId), subscription, create, wish, about));
      } finally {
        leave();
      }
    },

    async find(subscriptionId, by) {
      if (!live.subscriptions.get(subscriptionId)) {
        await live.subscriptions.waitFor(await log.head(), lateMs).catch(() => {}); // then it is not there, as far as is known
      }
      const row = live.subscriptions.get(subscriptionId);
      if (row && (row.owner === actorOf(by) || may(by, 'govern'))) return row;
      return refuse('not_found', `there is no subscription ${subscriptionId} of yours`);
    },

    async acknowledge(subscriptionId, position, by, about) {
      if (position > (await log.head())) return beyondLog(position);
      const command = { subscriptionId, position, asker: asker(by) };
      return settled(executor.execute(subscriptionStream(subscriptionId), subscription, acknowledge, command, about));
    },

    async seek(subscriptionId, position, by, about) {
      if (position > (await log.head())) return beyondLog(position);
      const command = { subscriptionId, position, asker: asker(by) };
      return settled(executor.execute(subscriptionStream(subscriptionId), subscription, seek, command, about));
    },

    pause(subscriptionId, by, about) {
      const command = { subscriptionId, asker: asker(by), reason: `paused by ${actorOf(by)}`, failures: 0 };
      return settled(executor.execute(subscriptionStream(subscriptionId), subscription, pause, command, about));
    },

    resume(subscriptionId, by, about) {
      const command = { subscriptionId, asker: asker(by) };
      return settled(executor.execute(subscriptionStream(subscriptionId), subscription, resume, command, about));
    },

    remove(subscriptionId, by, about) {
      const command = { subscriptionId, asker: asker(by) };
      return settled(executor.execute(subscriptionStream(subscriptionId), subscription, remove, command, about));
    },
  };
}

/** Counts those too that are being made. */
class Places {
  readonly #live: Hub['live']['subscriptions'];
  readonly #making = new Map<string, number>();

  constructor({ live }: Pick<Hub, 'live'>) {
    this.#live = live.subscriptions;
  }

  /** `full`: why there is none left. `leave` gives the place back, when it is counted by itself. */
  take(owner: string): { readonly full: Refusal | undefined; leave(): void } {
    let all = this.#live.size;
    let own = this.#making.get(owner) ?? 0;
    for (const making of this.#making.values()) all += making;
    for (const row of this.#live.values()) if (row.owner === owner) own++;
    this.#making.set(owner, (this.#making.get(owner) ?? 0) + 1);
    return {
      full: fullAt(all, own, owner),
      leave: () => {
        const left = this.#making.get(owner)! - 1; // this one was counted
        if (left > 0) this.#making.set(owner, left);
        else this.#making.delete(owner);
      },
    };
  }
}

function fullAt(all: number, own: number, owner: string): Refusal | undefined {
  if (all >= mostSubscriptions) return refuse('limit_reached', `there are ${mostSubscriptions} subscriptions`);
  if (own >= mostOfOwner) return refuse('limit_reached', `${owner} has ${mostOfOwner} subscriptions`);
  return undefined;
}
