/** Bans: of a node id and of the key it had, under whatever id. */
import { appointIfUsable, dismissThen } from '../../admins.ts';
import { ban, banStream, impose, lift } from '../../commands/ban.ts';
import { wasDone } from '../../commands/command-id.ts';
import type { About, Executed } from '../../commands/execute.ts';
import { join, joinStream } from '../../commands/join.ts';
import { node, nodeStream } from '../../commands/node.ts';
import { revoke, session, sessionStream } from '../../commands/session.ts';
import { keyThumbprint } from '../../ed25519.ts';
import { isRefusal, type Refusal } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { BanRow } from '../../projections/bans.ts';
import type { NodeRegistry } from '../node-registry.ts';
import type { JoinRequests } from './join-requests.ts';

export class Bans {
  readonly #hub: Hub;
  readonly #registry: Pick<NodeRegistry, 'leave'>;
  readonly #requests: Pick<JoinRequests, 'reject'>;
  /** Banned keys by thumbprint, each with the node ids it was banned under: one look a request, however many bans. */
  readonly #keys = new Map<string, Set<string>>();
  /** The key that each banned node had. */
  readonly #keyOf = new Map<string, string>();
  readonly #stop: Cancel;

  constructor(hub: Hub, registry: Pick<NodeRegistry, 'leave'>, requests: Pick<JoinRequests, 'reject'>) {
    this.#hub = hub;
    this.#registry = registry;
    this.#requests = requests;
    for (const row of hub.live.bans.values()) this.#index(row.node_id, row);
    this.#stop = hub.live.bans.onChange((nodeId, row) => this.#index(nodeId, row));
  }

  /** The ban that meets a node id or a key, if one does. */
  find(nodeId: string, thumbprint: string): BanRow | undefined {
    const { bans } = this.#hub.live;
    const [under] = this.#keys.get(thumbprint) ?? [];
    return bans.get(nodeId) ?? (under === undefined ? undefined : bans.get(under));
  }

  /**
   * Bans a node, known or not: its sessions are over, its sockets are cut by every replica as it reads the log, and a request
   * of it to join is rejected. Refuses `last_admin`.
   */
  async impose(nodeId: string, reason: string, about: About): Promise<Executed<{ reason: string }> | Refusal> {
    const { executor, log } = this.#hub;
    const again = await wasDone(log, about);
    const known = await executor.state(nodeStream(nodeId), node);
    const asked = await executor.state(joinStream(nodeId), join);
    const publicKey = [known, asked].map((one) => ('publicKey' in one ? one.publicKey : undefined)).find(Boolean);
    const command = { nodeId, reason, thumbprint: publicKey === undefined ? null : keyThumbprint(publicKey) };
    const imposed = await dismissThen(this.#hub, `node:${nodeId}`, about, () =>
      executor.execute(banStream(nodeId), ban, impose, command, about),
    );
    if (!isRefusal(imposed) && !again) await this.#showOut(nodeId, imposed.reply.reason, about);
    return imposed;
  }

  /** Refuses `not_found`. A node that was an administrator is one again. */
  async lift(nodeId: string, about: About): Promise<Executed<undefined> | Refusal> {
    const { executor } = this.#hub;
    const lifted = await executor.execute(banStream(nodeId), ban, lift, { nodeId }, about);
    if (isRefusal(lifted)) return lifted;
    await appointIfUsable(this.#hub, nodeId, about);
    return lifted;
  }

  close(): void {
    this.#stop();
  }

  /** What a crash leaves undone here is refused at every door all the same: the ban itself is written. */
  async #showOut(nodeId: string, reason: string, { command: _, ...about }: About): Promise<void> {
    await this.#registry.leave(nodeId, about);
    // All of them, known here or not: none counts again when the ban is lifted.
    await this.#hub.executor.execute(sessionStream(nodeId), session, revoke, { nodeId, reason: 'banned' }, about);
    await this.#requests.reject(nodeId, `banned: ${reason}`, about); // refused where none waits
  }

  #index(nodeId: string, row: BanRow | undefined): void {
    const before = this.#keyOf.get(nodeId);
    if (before !== undefined) {
      const under = this.#keys.get(before);
      under?.delete(nodeId);
      if (under?.size === 0) this.#keys.delete(before);
      this.#keyOf.delete(nodeId);
    }
    if (!row?.thumbprint) return;
    this.#keyOf.set(nodeId, row.thumbprint);
    this.#keys.set(row.thumbprint, (this.#keys.get(row.thumbprint) ?? new Set()).add(nodeId));
  }
}
