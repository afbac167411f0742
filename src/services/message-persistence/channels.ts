/** Who hears which channel: joined and left by command, and left by whoever is no member of the federation any more. */
import { channelMembers, channelStream, join, leave } from '../../commands/channel.ts';
import type { About, Executed } from '../../commands/execute.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { EventData } from '../../events/catalog.ts';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { Lease } from '../../lease.ts';
import { memberOf } from '../../projections/channels.ts';
import type { OfflineQueue } from '../offline-queue.ts';

const sweepEveryMs = 30_000;

export class Channels {
  readonly #hub: Hub;
  readonly #lease: Lease;
  readonly #members: OfflineQueue['members'];
  readonly #stops: Cancel[];
  /** Channels that each node is about to join here: they count already. */
  readonly #joining = new Map<string, number>();

  constructor(hub: Hub, lease: Lease, members: OfflineQueue['members']) {
    this.#hub = hub;
    this.#lease = lease;
    this.#members = members;
    this.#stops = [
      hub.live.nodes.onChange((_nodeId, row, event) => {
        if (!row && event.type === 'node.removed') void this.#sweep();
      }),
      hub.kernel.every(sweepEveryMs, () => void this.#sweep()),
      lease.onChange(() => void this.#sweep()),
    ];
  }

  /** When it answers, the node may speak there, at this replica. Refuses `limit_reached`, and `not_found` for a node that is no member. */
  async join(channel: string, nodeId: string, about: About): Promise<Executed<undefined> | Refusal> {
    const { live } = this.#hub;
    if (!live.nodes.get(nodeId)) return refuse('not_found', `there is no node ${nodeId}`);
    const joining = this.#joining.get(nodeId) ?? 0;
    this.#joining.set(nodeId, joining + 1);
    try {
      const done = await this.#join(channel, nodeId, this.#members.channelsOf(nodeId).size + joining, about);
      if (!isRefusal(done)) await live.channels.waitFor(done.position).catch(() => {}); // it is written all the same
      return done;
    } finally {
      const left = this.#joining.get(nodeId)! - 1; // it was raised above
      if (left > 0) this.#joining.set(nodeId, left);
      else this.#joining.delete(nodeId);
    }
  }

  async #join(channel: string, nodeId: string, joined: number, about: About): Promise<Executed<undefined> | Refusal> {
    const { executor } = this.#hub;
    const stream = channelStream(channel);
    if (this.#isOld(channel, nodeId)) {
      const left = { channel, nodeId, cause: 'node_removed' } as const;
      await executor.execute(stream, channelMembers, leave, left, { actor: 'hub' });
    }
    return executor.execute(stream, channelMembers, join, { channel, nodeId, joined }, about);
  }

  /** Refuses `not_found`. */
  leave(
    channel: string,
    nodeId: string,
    cause: EventData<'channel.left'>['cause'],
    about: About,
  ): Promise<Executed<undefined> | Refusal> {
    return this.#hub.executor.execute(channelStream(channel), channelMembers, leave, { channel, nodeId, cause }, about);
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }

  /** Who joined had the name of this node before it. */
  #isOld(channel: string, nodeId: string): boolean {
    return (
      this.#hub.live.channels.get(memberOf(channel, nodeId)) !== undefined && !this.#members.hears(channel, nodeId)
    );
  }

  /** Takes out who was removed from the federation. */
  async #sweep(): Promise<void> {
    if (!this.#lease.held()) return;
    const { live, executor, kernel } = this.#hub;
    const gone = [...live.channels.values()].filter(({ channel, node_id }) => this.#isOld(channel, node_id));
    try {
      for (const { channel, node_id: nodeId } of gone) {
        const left = { channel, nodeId, cause: 'node_removed' } as const;
        await executor.execute(channelStream(channel), channelMembers, leave, left, { actor: 'hub' });
      }
    } catch (error) {
      kernel.log.warn({ err: error }, 'channels of removed nodes could not be mended; it is tried again');
    }
  }
}
