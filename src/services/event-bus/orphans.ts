/**
 * Subscriptions of a node that was removed go with it. Every replica notes them as it hears of the removal, and the one with the
 * lease ends them; each half minute those are looked for whose node is no member, so that a crash leaves none behind.
 */
import { node, nodeStream } from '../../commands/node.ts';
import { remove, subscription, subscriptionStream } from '../../commands/subscription.ts';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { Lease } from '../../lease.ts';

const lookEveryMs = 30_000;

export class Orphans {
  readonly #hub: Pick<Hub, 'live' | 'executor' | 'kernel'>;
  readonly #lease: Lease;
  /** Noted and not yet gone; at most all subscriptions there are. */
  readonly #noted = new Set<string>();
  readonly #stops: Cancel[];
  #ending: Promise<void> | undefined;
  #closed = false;

  constructor(hub: Pick<Hub, 'live' | 'executor' | 'kernel'>, lease: Lease) {
    this.#hub = hub;
    this.#lease = lease;
    this.#stops = [
      hub.live.nodes.onChange((nodeId, row, { position }) => {
        if (!row) this.#note(nodeId, position);
      }),
      hub.live.subscriptions.onChange((id, row) => !row && this.#noted.delete(id)),
      lease.onChange(() => this.#end()),
      hub.kernel.every(lookEveryMs, () => void this.#look()),
    ];
    void this.#look();
  }

  /** Whether a subscription is about to go with its node. */
  has(subscriptionId: string): boolean {
    return this.#noted.has(subscriptionId);
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const stop of this.#stops) stop();
    await this.#ending;
  }

  /** Notes the subscriptions that a node had at a position. */
  #note(nodeId: string, before: number): void {
    for (const { subscription_id, owner, created_position } of this.#hub.live.subscriptions.values()) {
      if (owner === `node:${nodeId}` && created_position < before) this.#noted.add(subscription_id);
    }
    this.#end();
  }

  async #look(): Promise<void> {
    const { live, executor, kernel } = this.#hub;
    try {
      for (const { subscription_id, owner } of [...live.subscriptions.values()]) {
        const nodeId = owner.startsWith('node:') ? owner.slice('node:'.length) : undefined;
        if (nodeId === undefined || live.nodes.get(nodeId)) continue;
        const { membership } = await executor.state(nodeStream(nodeId), node);
        if (membership !== 'member') this.#noted.add(subscription_id);
      }
      this.#end();
    } catch (error) {
      kernel.log.warn({ err: error }, 'subscriptions of removed nodes could not be looked for; it is tried again');
    }
  }

  #end(): void {
    if (this.#ending || this.#closed || this.#noted.size === 0 || !this.#lease.held()) return;
    this.#ending = this.#endAll().finally(() => {
      this.#ending = undefined;
    });
  }

  async #endAll(): Promise<void> {
    const asker = { actor: 'hub', governs: true };
    for (const subscriptionId of [...this.#noted]) {
      if (this.#closed) return;
      try {
        const { executor } = this.#hub;
        const stream = subscriptionStream(subscriptionId);
        await executor.execute(stream, subscription, remove, { subscriptionId, asker }, { actor: 'hub' });
        this.#noted.delete(subscriptionId); // one that is not there any more is refused, and done with as well
      } catch (error) {
        this.#hub.kernel.log.warn({ err: error, subscriptionId }, 'a subscription of a removed node is tried again');
        return;
      }
    }
  }
}
