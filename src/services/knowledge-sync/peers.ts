/**
 * Other hubs that this one is a member of. One replica, by lease, is this hub's node there: it stays connected, and brings both to the same
 * state every so often. Nothing of the trust that anyone has there counts here: what comes is under the rules of `@federation`.
 */
import type { About, Executed } from '../../commands/execute.ts';
import { joinPeer, leavePeer, type PeerLink, peer, peerStream } from '../../commands/peer.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Subscription } from '../../events/log.ts';
import type { Cancel } from '../../kernel.ts';
import type { Lease } from '../../lease.ts';
import type { PeerRow } from '../../projections/peers.ts';
import { peerKey } from './peer-key.ts';
import { linkNode, PeerLine } from './peer-line.ts';
import type { PeerParts } from './peer-side.ts';

/** How long the other hub may take to answer the first time. */
const firstAnswerMs = 10_000;

export interface Joined {
  readonly link: PeerLink;
  /** Of this hub's node there. */
  readonly publicKey: string;
  /** An administrator there has not decided yet. */
  readonly waiting: boolean;
}

export class Peers {
  readonly #parts: PeerParts;
  readonly #lease: Lease;
  readonly #lines = new Map<string, PeerLine>();
  readonly #stops: Cancel[];
  readonly #subscription: Subscription;
  #closed = false;

  /** @param head of the log, from where it is followed. */
  constructor(parts: PeerParts, head: number) {
    this.#parts = parts;
    const { hub } = parts;
    this.#lease = hub.leases.acquire('knowledge-peers');
    this.#stops = [this.#lease.onChange(() => this.#look()), hub.live.peers.onChange(() => this.#look())];
    this.#subscription = hub.log.subscribe(
      head,
      ({ events }) => {
        if (events.length > 0) for (const line of this.#lines.values()) line.forget();
      },
      { types: ['memory.let-go'] },
    );
    this.#look();
  }

  /**
   * Joins another hub, with an invitation where it wants one, and syncs with it from then on; joined again, scope, direction and pace
   * change. Refuses `egress_refused`, `target_unreachable`, `limit_reached`, `conflict`, and what the other hub refuses.
   */
  async join(link: PeerLink, invite: string | undefined, about: About): Promise<Executed<Joined> | Refusal> {
    const { hub } = this.#parts;
    const barred = hub.egress.check(link.url);
    if (barred) return barred;
    const { publicKey } = await peerKey(hub.keyring, link.peer_id);
    const known = hub.live.peers.get(link.peer_id);
    const met = known ? 'member' : await this.#meet(link, invite);
    if (isRefusal(met)) return met;
    const command = { link, others: hub.live.peers.size };
    const done = await hub.executor.execute(peerStream(link.peer_id), peer, joinPeer, command, about);
    if (isRefusal(done)) return done;
    return { ...done, reply: { link: done.reply, publicKey, waiting: met === 'waiting' } };
  }

  /** Syncs with it no more. What came stays; its membership there stays too, until somebody there ends it. Refuses `not_found`. */
  leave(peerId: string, about: About): Promise<Executed<undefined> | Refusal> {
    return this.#parts.hub.executor.execute(peerStream(peerId), peer, leavePeer, { peerId }, about);
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const stop of this.#stops) stop();
    for (const line of this.#lines.values()) line.close();
    await this.#subscription.close();
    await this.#lease.release();
  }

  /** Registers there once, so that whoever asks learns at once whether it works; the invitation is kept nowhere. */
  async #meet(link: PeerLink, invite: string | undefined): Promise<'member' | 'waiting' | Refusal> {
    const { hub } = this.#parts;
    const node = await linkNode(hub, link, invite);
    let waits = false;
    node.once('waiting', () => {
      waits = true;
      node.close();
    });
    try {
      await node.connect({ timeoutMs: firstAnswerMs });
      return 'member';
    } catch (error) {
      if (waits) return 'waiting';
      const said = error instanceof Error ? error.message : String(error);
      return refuse('target_unreachable', `${link.url} did not let this hub in: ${said}`.slice(0, 500));
    } finally {
      node.close();
    }
  }

  /** Has a line to each peer while this replica holds the lease, and none otherwise. */
  #look(): void {
    const wanted = new Map<string, PeerRow>();
    if (this.#lease.held() && !this.#closed) {
      for (const row of this.#parts.hub.live.peers.values()) wanted.set(row.peer_id, row);
    }
    for (const [peerId, line] of this.#lines) {
      const row = wanted.get(peerId);
      if (row && line.isFor(row)) continue;
      line.close();
      this.#lines.delete(peerId);
    }
    for (const [peerId, row] of wanted) {
      if (!this.#lines.has(peerId)) this.#lines.set(peerId, new PeerLine(this.#parts, row));
    }
  }
}
