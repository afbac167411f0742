/** The connections of one replica: which is the live one of each node, who may stay, and how all are let go. */
import type { DefaultEventsMap, Server, Socket } from 'socket.io';
import { end, session, sessionStream } from '../../commands/session.ts';
import { type Fault, type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { type HubPacket, type HubPacketName, PROTOCOL_VERSION } from '../../protocol.ts';
import { type Connection, drained, dropIfSlow } from './backlog.ts';
import { dispatcher, type Handlers } from './dispatch.ts';
import { limits } from './limits.ts';
import { type Receiver, replay } from './pushes.ts';

/** The live session of a socket. */
export interface SocketSession {
  readonly nodeId: string;
  readonly sessionId: string;
  readonly epoch: number;
  /** When the key was proved, milliseconds since 1970. */
  readonly authTimeMs: number;
}

/** One connection, as handlers of packets see it. */
export interface Client {
  readonly address: string;
  /** Set once the node proved its key. */
  readonly session: SocketSession | undefined;
  /** Makes it the node's live socket; an older one of the node is let go. Answers the position that pushes start after. */
  bind(session: SocketSession): number;
}

export type PoolSocket = Socket<DefaultEventsMap, DefaultEventsMap, DefaultEventsMap, { client: PoolClient }>;
export type PoolServer = Server<DefaultEventsMap, DefaultEventsMap, DefaultEventsMap, { client: PoolClient }>;

/** Room of the nodes that hear what happens in the federation. */
const membersRoom = 'members';

/** The connections of this replica. */
export class Pool {
  readonly #hub: Hub;
  readonly #io: PoolServer;
  /** The live socket of each node. */
  readonly #nodes = new Map<string, PoolSocket>();
  readonly #stops: (() => void)[];
  #strangers = 0;
  #draining = false;
  /** What happened up to here was pushed to the members. */
  pushed = 0;

  constructor(hub: Hub, io: PoolServer, handlers: Handlers) {
    this.#hub = hub;
    this.#io = io;
    const dispatch = dispatcher(hub, handlers);
    io.on('connection', (socket) => this.#welcome(socket, dispatch));
    io.attach(hub.doors.server);
    this.#stops = [
      hub.kernel.every(1_000, () => this.#dropSlow()),
      hub.readiness.onCutOff(() => this.#letAllGo('cut_off', 2_000)),
    ];
  }

  counts(): { connections: number; nodes: number } {
    return { connections: this.#io.engine.clientsCount, nodes: this.#nodes.size };
  }

  /** Counts those too that never went further than the upgrade. */
  full(): boolean {
    const { clientsCount } = this.#io.engine;
    return clientsCount >= limits.connections || clientsCount - this.#nodes.size >= limits.strangers;
  }

  /** Makes a connection the live one of its node, unless a newer one is there already. */
  bind(socket: PoolSocket, opened: SocketSession): number {
    if (!socket.connected) {
      void this.#end(opened, 'gone before it was opened');
      return this.pushed;
    }
    const older = this.#nodes.get(opened.nodeId);
    if (older && older.data.client.session!.epoch > opened.epoch) {
      this.revoke(socket, 'superseded');
      return this.pushed;
    }
    const former = socket.data.client.session;
    if (!former) this.#strangers--;
    else if (former.nodeId !== opened.nodeId && this.#nodes.get(former.nodeId) === socket) {
      this.#nodes.delete(former.nodeId); // the connection speaks for one node at a time
      void this.#end(former, 'became another node');
    }
    socket.data.client.session = opened;
    this.#nodes.set(opened.nodeId, socket);
    void socket.join(membersRoom);
    if (older && older !== socket) this.revoke(older, 'superseded');
    return this.pushed;
  }

  /** The node's live socket on this replica, if it is here. */
  socketOf(nodeId: string): PoolSocket | undefined {
    return this.#nodes.get(nodeId);
  }

  /** Tells a connection that it is over, and why, and cuts it. */
  revoke(socket: PoolSocket, reason: HubPacket<'federation:revoked'>['reason'], detail?: string): void {
    if (socket.data.client.revoked) return; // both the newer socket and its event in the log may find the older one
    socket.data.client.revoked = true;
    send(socket, 'federation:revoked', { reason, ...(detail && { detail }) });
    this.#hub.kernel.after(100, () => socket.disconnect(true)); // after the packet went out
    void socket.leave(membersRoom);
  }

  /** Pushes to every member here. */
  publish<N extends HubPacketName>(name: N, packet: HubPacket<N>): void {
    this.#io.local.to(membersRoom).emit(name, packet);
  }

  /** Pushes what a node missed, then puts it back among those who hear what happens now. */
  async resume(client: PoolClient, after: number): Promise<{ position: number } | Refusal> {
    if (client.resuming) return refuse('conflict', 'a resume is under way on this connection');
    client.resuming = true;
    void client.socket.leave(membersRoom);
    const met = () => {
      if (client.socket.connected && this.#nodes.get(client.session!.nodeId) === client.socket)
        void client.socket.join(membersRoom);
    };
    const receiver: Receiver = {
      send: (name, packet) => send(client.socket, name, packet),
      ready: () => drained(client.socket),
      met,
    };
    try {
      return { position: await replay(this.#hub.log, after, this, receiver) };
    } catch (error) {
      met();
      throw error;
    } finally {
      client.resuming = false;
    }
  }

  /** Asks all to come back later, ends their sessions, and closes. */
  async drain(): Promise<void> {
    this.#draining = true;
    for (const stop of this.#stops) stop();
    const sessions = [...this.#nodes.values()].map((socket) => socket.data.client.session!);
    this.#letAllGo('draining', 1_000);
    const late = new Promise<void>((done) => void this.#hub.kernel.after(2_000, done));
    await Promise.race([Promise.allSettled(sessions.map((ended) => this.#end(ended, 'draining'))), late]);
    await this.#hub.kernel.sleep(50); // the goodbyes go out
    this.#io.disconnectSockets(true);
    this.#io.engine.close();
  }

  #welcome(socket: PoolSocket, dispatch: ReturnType<typeof dispatcher>): void {
    if (this.#draining || this.#strangers >= limits.strangers) {
      send(socket, 'federation:error', {
        code: 'overloaded',
        message: 'too many connections prove nothing; come back later',
      });
      socket.disconnect(true);
      return;
    }
    this.#strangers++;
    const client = new PoolClient(socket, this);
    socket.data.client = client;
    const late = this.#hub.kernel.after(limits.strangerMs, () => {
      if (!client.session) socket.disconnect(true);
    });
    socket.onAny((...came: unknown[]) => dispatch(client, came));
    socket.on('error', () => {}); // Socket.IO throws it at the process otherwise
    socket.on('disconnect', (cause) => {
      late();
      this.#forget(socket, cause);
    });
    send(socket, 'federation:connected', { protocol_version: PROTOCOL_VERSION, federation_id: this.#hub.federationId });
  }

  #forget(socket: PoolSocket, cause: string): void {
    const { session: ended } = socket.data.client;
    if (!ended) {
      this.#strangers--;
      return;
    }
    if (this.#nodes.get(ended.nodeId) !== socket) return; // a stale goodbye: a newer socket is live
    this.#nodes.delete(ended.nodeId);
    if (!this.#draining) void this.#end(ended, cause);
  }

  async #end({ nodeId, sessionId }: SocketSession, cause: string): Promise<void> {
    const command = { nodeId, sessionId, cause };
    const { executor, kernel } = this.#hub;
    await executor
      .execute(sessionStream(nodeId), session, end, command, { actor: `node:${nodeId}` })
      .catch((error: Fault) =>
        kernel.log.warn({ err: error, nodeId }, 'the end of a session was not written; the next session takes over'),
      );
  }

  /** A reader that does not keep up is let go before it costs the others memory. */
  #dropSlow(): void {
    const { clients } = this.#io.engine as unknown as { clients: Record<string, unknown> }; // all connections by id; not in the types
    for (const connection of Object.values(clients)) dropIfSlow(connection as Connection); // what Engine.IO keeps there
  }

  #letAllGo(reason: 'draining' | 'cut_off', retryMs: number): void {
    for (const socket of this.#nodes.values()) {
      const retry_after_ms = Math.round(retryMs * (0.5 + this.#hub.kernel.random()));
      send(socket, 'federation:degraded', { reason, retry_after_ms });
      if (reason === 'cut_off') this.#hub.kernel.after(100, () => socket.disconnect(true));
    }
  }
}

/** One connection. */
export class PoolClient implements Client {
  readonly socket: PoolSocket;
  readonly address: string;
  readonly #pool: Pool;
  session: SocketSession | undefined;
  /** It was told that its session is over, and is about to be cut. */
  revoked = false;
  underWay = 0;
  resuming = false;

  constructor(socket: PoolSocket, pool: Pool) {
    this.socket = socket;
    this.address = socket.handshake.address;
    this.#pool = pool;
  }

  bind(session: SocketSession): number {
    return this.#pool.bind(this.socket, session);
  }

  /** False for one that asks on and on and does not read the answers; it is let go. */
  keepsUp(): boolean {
    return !dropIfSlow(this.socket.conn as unknown as Connection); // the same object, seen from Engine.IO's side
  }
}

function send<N extends HubPacketName>(socket: PoolSocket, name: N, packet: HubPacket<N>): void {
  socket.emit(name, packet);
}
