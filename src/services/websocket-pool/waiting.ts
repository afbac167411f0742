/** The connections whose requests to join wait: each is let in, or sent away, as soon as this replica reads what was decided. */
import { isRefusal, type Refusal } from '../../errors.ts';
import type { LogEvent } from '../../events/catalog.ts';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { HubPacket } from '../../protocol.ts';
import type { SocketSession } from './client.ts';
import { limits } from './limits.ts';
import type { PoolSocket } from './pool.ts';

/** A node that proved its key, and whose request to join waits. */
export interface Waiting {
  readonly nodeId: string;
  readonly publicKey: string;
  /** Of its request, or of this repetition of it, in the log. */
  readonly position: number;
  /** Opens its session, once it is a member: what its socket is bound to, and what it is told. */
  open(): Promise<Admitted | Refusal>;
}

interface Admitted {
  readonly session: SocketSession;
  readonly reply: HubPacket<'federation:admitted'>;
}

/** What the pool does for those who wait no longer. */
interface Pool {
  /** Binds the session and tells the node. */
  admit(socket: PoolSocket, admitted: Admitted): void;
  /** A newer connection of the same node waits now. */
  supersede(socket: PoolSocket): void;
  reject(socket: PoolSocket, code: string, reason: string): void;
}

/** Whether the node itself went on, since this connection asked: it asked again over another one, or got in over another one. */
function isElsewhere({ position }: Waiting, event: LogEvent): boolean {
  switch (event.type) {
    case 'join.requested':
    case 'join.repeated':
      return event.position > position;
    case 'node.registered':
      return event.data.admission?.by !== 'approval';
    default:
      return false;
  }
}

const lapsed = 'the request to join lapsed; ask again';

/** At most `limits.waiting` connections, one a node. */
export class WaitingRoom {
  readonly #hub: Hub;
  readonly #pool: Pool;
  readonly #sockets = new Map<string, PoolSocket>();
  readonly #stops: readonly Cancel[];

  constructor(hub: Hub, pool: Pool) {
    this.#hub = hub;
    this.#pool = pool;
    const { nodes, joins, bans } = hub.live;
    this.#stops = [
      nodes.onChange((nodeId, _row, event) => this.#look(nodeId, event)),
      joins.onChange((nodeId, _row, event) => this.#look(nodeId, event)),
      bans.onChange((nodeId) => this.#look(nodeId)),
    ];
  }

  get size(): number {
    return this.#sockets.size;
  }

  sockets(): IterableIterator<PoolSocket> {
    return this.#sockets.values();
  }

  /** Lets a connection wait; of two of one node the newer stays, as both proved the same key. False when the room is full. */
  enter(socket: PoolSocket, waiting: Waiting): boolean {
    const older = this.#sockets.get(waiting.nodeId);
    if (!older && this.size >= limits.waiting) return false;
    if (older) this.#pool.supersede(older);
    socket.data.client.waiting = waiting;
    this.#sockets.set(waiting.nodeId, socket);
    // What was decided before it waited has no change to tell of it; after the answer to its request went out.
    this.#hub.kernel.after(0, () => this.#look(waiting.nodeId));
    return true;
  }

  /** It waits no longer. Answers whether it did. */
  leave(socket: PoolSocket): boolean {
    const { waiting } = socket.data.client;
    if (!waiting) return false;
    socket.data.client.waiting = undefined;
    if (this.#sockets.get(waiting.nodeId) === socket) this.#sockets.delete(waiting.nodeId);
    return true;
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }

  #look(nodeId: string, event?: LogEvent): void {
    const socket = this.#sockets.get(nodeId);
    const waiting = socket?.data.client.waiting;
    if (!socket || !waiting) return;
    const { nodes, joins, bans } = this.#hub.live;
    const ban = bans.get(nodeId);
    const asked = joins.get(nodeId);
    if (event && isElsewhere(waiting, event)) this.#pool.supersede(socket);
    else if (ban) this.#pool.reject(socket, 'banned', ban.reason);
    else if (nodes.get(nodeId)?.public_key === waiting.publicKey) void this.#admit(socket, waiting);
    else if (!asked)
      this.#pool.reject(socket, 'approval_required', lapsed); // the row goes with the request
    else if (asked.public_key !== waiting.publicKey) return;
    else if (asked.status === 'rejected') this.#pool.reject(socket, 'join_rejected', asked.reason ?? '');
  }

  /** A node that cannot be told so now comes again by itself, and is a member then. */
  async #admit(socket: PoolSocket, waiting: Waiting): Promise<void> {
    this.#sockets.delete(waiting.nodeId); // once only; `waiting` itself says until the session is bound what this connection is
    try {
      const admitted = await waiting.open();
      if (!isRefusal(admitted)) return this.#pool.admit(socket, admitted);
      this.#hub.kernel.log.info({ nodeId: waiting.nodeId, code: admitted.refused }, 'an admitted node got no session');
    } catch (error) {
      this.#hub.kernel.log.warn({ err: error, nodeId: waiting.nodeId }, 'an admitted node got no session');
    }
    socket.disconnect(true);
  }
}
