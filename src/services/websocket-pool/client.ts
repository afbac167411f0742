/** One connection, as handlers of packets and the pool see it: who speaks, and what is under way. */
import { anonymous, type Identity } from '../../doors.ts';
import type { Refusal } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { type SessionProof, sessionOver } from '../../live-session.ts';
import { type Connection, dropIfSlow, sizeOf } from './backlog.ts';
import type { Pool, PoolSocket } from './pool.ts';
import type { Waiting } from './waiting.ts';

/** The live session of a socket. */
export interface SocketSession extends SessionProof {
  /** When the key was proved, milliseconds since 1970. */
  readonly authTimeMs: number;
}

/** One connection, as handlers of packets see it. */
export interface Client {
  readonly address: string;
  /** Set once the node proved its key. */
  readonly session: SocketSession | undefined;
  /** Of the packet that is handled, until its handler waits for something. */
  readonly traceparent: string | undefined;
  /** Makes it the node's live socket; an older one of the node is let go. Answers the position that pushes start after. */
  bind(session: SocketSession): number;
  /** Keeps it while its request to join waits, for as long as that takes. */
  wait(waiting: Waiting): void;
}

/** One connection. */
export class PoolClient implements Client {
  readonly socket: PoolSocket;
  readonly address: string;
  readonly #pool: Pool;
  session: SocketSession | undefined;
  traceparent: string | undefined;
  /** Its request to join waits. */
  waiting: Waiting | undefined;
  /** It was told that its session is over, and is about to be cut. */
  revoked = false;
  underWay = 0;
  /** Packets under way that may open a newer session on this very connection. */
  opening = 0;
  resuming = false;
  readonly #live: Hub['live'];
  #bytes = 0;
  /** The last packet that waits for its allowance. */
  #last: Promise<unknown> | undefined;

  constructor(socket: PoolSocket, pool: Pool, { doors, live }: Hub) {
    this.socket = socket;
    this.address = doors.addressOf(socket.request);
    this.#pool = pool;
    this.#live = live;
    const count = ({ data }: { data?: unknown }) => {
      this.#bytes += sizeOf(data);
    };
    socket.conn.on('packet', count);
    socket.conn.on('packetCreate', count);
  }

  /** Why its session counts no more; undefined while it does, and for a stranger. */
  over(): Refusal | undefined {
    return this.session && sessionOver(this.#live, this.session);
  }

  /** Who speaks, with the role that the node has now. */
  identity(): Identity {
    const node = this.session && this.#live.nodes.get(this.session.nodeId);
    if (!this.session || !node) return anonymous;
    const { nodeId, sessionId } = this.session;
    return { kind: 'node', nodeId, sessionId, role: node.role };
  }

  /** Bytes that went over the connection, both ways, since this was last asked. */
  takeBytes(): number {
    const bytes = this.#bytes;
    this.#bytes = 0;
    return bytes;
  }

  /** Runs a handler, which asks who speaks before it waits for anything: that is when the trace of its packet is known. */
  during<T>(traceparent: string | undefined, handle: () => T): T {
    this.traceparent = traceparent;
    try {
      return handle();
    } finally {
      this.traceparent = undefined;
    }
  }

  /** Packets pass in the order in which they came, also when the allowance of some had to be asked for elsewhere. */
  inTurn<T>(passing: T | Promise<T>): T | Promise<T> {
    const before = this.#last;
    if (!before && !(passing instanceof Promise)) return passing;
    const turn = Promise.all([passing, before]).then(([passed]) => passed);
    const last = turn
      .catch(() => {})
      .finally(() => {
        if (this.#last === last) this.#last = undefined;
      });
    this.#last = last;
    return turn;
  }

  /** A packet that might have opened a newer session is done: what was put off because of it is looked at now. */
  opened(): void {
    this.opening--;
    if (this.opening === 0 && this.session) this.#pool.look(this.session.nodeId);
  }

  bind(session: SocketSession): number {
    return this.#pool.bind(this.socket, session);
  }

  wait(waiting: Waiting): void {
    this.#pool.wait(this.socket, waiting);
  }

  /** False for one that asks on and on and does not read the answers; it is let go. */
  keepsUp(): boolean {
    return !dropIfSlow(this.socket.conn as unknown as Connection); // the same object, seen from Engine.IO's side
  }
}
