/** The connections of one replica: which is the live one of each node, who may stay, and how all are let go. */
import type { DefaultEventsMap, Server, Socket } from 'socket.io';
import { end, session, sessionStream } from '../../commands/session.ts';
import { keyThumbprint } from '../../ed25519.ts';
import { type Fault, isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { sessionOver } from '../../live-session.ts';
import type { BanRow } from '../../projections/bans.ts';
import { type HubPacket, type HubPacketName, PROTOCOL_VERSION } from '../../protocol.ts';
import { boundPings, type Connection, drained, dropIfSlow } from './backlog.ts';
import { PoolClient, type SocketSession } from './client.ts';
import { dispatcher, type Handlers } from './dispatch.ts';
import { limits } from './limits.ts';
import { type Receiver, replay } from './pushes.ts';
import { type Waiting, WaitingRoom } from './waiting.ts';

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
  readonly #waiting: WaitingRoom;
  readonly #stops: (() => void)[];
  /** Who is told that the live socket of a node here is gone. */
  readonly #goneListeners = new Set<(nodeId: string) => void>();
  readonly #openListeners = new Set<(nodeId: string) => void>();
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
    io.engine.on('connection', (connection: Connection) => boundPings(connection, hub.kernel));
    this.#waiting = new WaitingRoom(hub, {
      admit: (socket, { session: opened, reply }) => {
        const position = this.bind(socket, opened);
        if (!socket.data.client.revoked) send(socket, 'federation:admitted', { ...reply, position });
      },
      supersede: (socket) => {
        if (this.#waiting.leave(socket)) this.#strangers++;
        this.revoke(socket, 'superseded');
      },
      reject: (socket, code, reason) => this.#reject(socket, code, reason),
    });
    this.#stops = [
      () => this.#waiting.close(),
      hub.live.bans.onChange((nodeId, ban) => ban && this.#showOut(nodeId, ban)),
      hub.live.nodes.onChange((nodeId) => this.look(nodeId)),
      hub.live.sessions.onChange((_id, row) => row && this.look(row.node_id)),
      hub.live.access.onChange((_id, _row, event) => {
        const about = event.data as { subject?: string }; // what changes the lists names its subject
        if (about.subject !== undefined) this.#reconsider(about.subject);
      }),
      hub.kernel.every(1_000, () => this.#dropSlow()),
      hub.readiness.onCutOff(() => this.#letAllGo('cut_off', 2_000)),
    ];
  }

  counts(): { connections: number; nodes: number; strangers: number } {
    const { clientsCount: connections } = this.#io.engine;
    const nodes = this.#nodes.size;
    return { connections, nodes, strangers: Math.max(0, connections - nodes - this.#waiting.size) };
  }

  /** Counts those too that never went further than the upgrade. */
  full(): boolean {
    const { connections, strangers } = this.counts();
    return connections >= limits.connections || strangers >= limits.strangers;
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
    // What comes later is told by its change: the maps hold what was written before the session.
    const barred = this.#barred(opened);
    if (barred) {
      void this.#end(opened, barred.refused);
      this.revoke(socket, barred.refused === 'session_superseded' ? 'superseded' : barred.refused, barred.detail);
      return this.pushed;
    }
    const former = socket.data.client.session;
    if (!former && !this.#waiting.leave(socket)) this.#strangers--;
    if (former && former.nodeId !== opened.nodeId && this.#nodes.get(former.nodeId) === socket) {
      this.#nodes.delete(former.nodeId); // the connection speaks for one node at a time
      this.#tellGone(former.nodeId);
      void this.#end(former, 'became another node');
    }
    socket.data.client.session = opened;
    this.#nodes.set(opened.nodeId, socket);
    if (this.#mayHear(socket.data.client)) void socket.join(membersRoom);
    this.#hub.kernel.after(0, () => this.#tellOpen(opened.nodeId)); // once it was answered
    if (older && older !== socket) {
      this.revoke(older, 'superseded');
      this.#tellGone(opened.nodeId);
    }
    return this.pushed;
  }

  /** Keeps a connection whose request to join waits. One that finds no room stays a stranger. */
  wait(socket: PoolSocket, waiting: Waiting): void {
    const { client } = socket.data;
    if (!socket.connected || client.session || client.revoked) return;
    if (this.#waiting.leave(socket)) this.#strangers++;
    if (this.#waiting.enter(socket, waiting)) this.#strangers--;
  }

  /** Sends to a node that is here, unless it is banned or blocked: asked again at delivery. Answers whether it did. */
  tell<N extends HubPacketName>(nodeId: string, name: N, packet: HubPacket<N>): boolean {
    const socket = this.#nodes.get(nodeId);
    if (!socket || !this.#mayHear(socket.data.client)) return false;
    send(socket, name, packet);
    return true;
  }

  has(nodeId: string): boolean {
    return this.#nodes.has(nodeId);
  }

  /**
   * Sends to a node that is here, as `tell` does, and waits for its acknowledgement. Refuses `target_unreachable` when it is
   * not here or does not answer in time.
   */
  async ask<N extends HubPacketName>(
    nodeId: string,
    name: N,
    packet: HubPacket<N>,
    timeoutMs: number,
  ): Promise<unknown> {
    const socket = this.#nodes.get(nodeId);
    const { client } = socket?.data ?? {};
    if (!socket || !client?.keepsUp() || !this.#mayHear(client))
      return refuse('target_unreachable', 'the node has no socket here');
    // A timeout of Socket.IO's own would keep a process that stops alive until it is over.
    return new Promise((resolve) => {
      const late = this.#hub.kernel.after(timeoutMs, () =>
        resolve(refuse('target_unreachable', `the node did not take the packet within ${timeoutMs} ms`)),
      );
      socket.emit(name, packet, (answer: unknown) => {
        late();
        resolve(isRefusal(answer) ? undefined : answer); // nodes refuse nothing in the name of the hub
      });
    });
  }

  /** Told, a moment later, of each node that has a live socket here, and whenever a node has one that it did not have before. */
  onOpen(listener: (nodeId: string) => void): () => void {
    this.#openListeners.add(listener);
    this.#hub.kernel.after(0, () => {
      for (const nodeId of this.#nodes.keys()) if (this.#openListeners.has(listener)) listener(nodeId);
    });
    return () => void this.#openListeners.delete(listener);
  }

  /** Told whenever what was under way over a node's live socket here has come to an end with it. */
  onGone(listener: (nodeId: string) => void): () => void {
    this.#goneListeners.add(listener);
    return () => void this.#goneListeners.delete(listener);
  }

  /**
   * Cuts the socket of a node whose session counts no more. A newer session may have been opened on this very connection and not
   * be bound yet: then it is looked at when that packet is done. Meanwhile it is taken nothing from and told nothing.
   */
  look(nodeId: string): void {
    const socket = this.#nodes.get(nodeId);
    const over = socket?.data.client.over();
    if (!socket || !over) return;
    const { live } = this.#hub;
    const removed = live.nodes.get(nodeId) === undefined;
    if (!removed && socket.data.client.opening > 0) return;
    const { epoch } = socket.data.client.session!; // one without a session is not among the nodes
    const revoked = (live.sessions.get(`${nodeId}/all`)?.epoch ?? 0) > epoch;
    this.revoke(socket, removed ? 'removed' : revoked ? 'revoked' : 'superseded', over.detail);
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
      const live = client.socket.connected && this.#nodes.get(client.session!.nodeId) === client.socket;
      if (live && this.#mayHear(client)) void client.socket.join(membersRoom);
    };
    const receiver: Receiver = {
      send: (name, packet) => this.#mayHear(client) && send(client.socket, name, packet),
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
    this.#io.local.disconnectSockets(true); // those of other replicas stay
    this.#io.engine.close();
  }

  /** Why a session that was just opened gets no socket. */
  #barred(opened: SocketSession): Refusal | undefined {
    const over = sessionOver(this.#hub.live, opened);
    if (over) return over;
    const guard = this.#hub.doors.bans.get();
    const { nodeId, sessionId } = opened;
    return isRefusal(guard) ? guard : guard({ kind: 'node', nodeId, sessionId, role: 'observer' });
  }

  /** A ban meets the node, and whoever has its key. */
  #showOut(nodeId: string, { thumbprint, reason }: BanRow): void {
    for (const [known, socket] of this.#nodes) {
      const { keyId } = socket.data.client.session!; // as above
      if (known === nodeId || keyId === thumbprint) this.revoke(socket, 'banned', reason);
    }
  }

  #reject(socket: PoolSocket, code: string, reason: string): void {
    if (this.#waiting.leave(socket)) this.#strangers++;
    send(socket, 'federation:rejected', { code, reason });
    this.#hub.kernel.after(100, () => socket.disconnect(true)); // after the packet went out
  }

  /** The block list changed: those that may not hear leave the room, those that may again come back. */
  #reconsider(subject: string): void {
    const nodeId = this.#hub.live.keys.get(keyThumbprint(subject))?.node_id ?? subject; // a key, else an id
    const socket = this.#nodes.get(nodeId);
    if (!socket || socket.data.client.resuming) return; // who resumes is judged when that is over
    void (this.#mayHear(socket.data.client) ? socket.join(membersRoom) : socket.leave(membersRoom));
  }

  #mayHear(client: PoolClient): boolean {
    return !client.revoked && !client.over() && this.#hub.doors.judge(client.identity()) === undefined;
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
    const client = new PoolClient(socket, this, this.#hub);
    socket.data.client = client;
    const late = this.#hub.kernel.after(limits.strangerMs, () => {
      if (!client.session && !client.waiting) socket.disconnect(true);
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
      if (!this.#waiting.leave(socket)) this.#strangers--;
      return;
    }
    if (this.#nodes.get(ended.nodeId) !== socket) return; // a stale goodbye: a newer socket is live
    this.#nodes.delete(ended.nodeId);
    this.#tellGone(ended.nodeId);
    if (!this.#draining) void this.#end(ended, cause);
  }

  #tellOpen(nodeId: string): void {
    for (const listener of this.#openListeners) listener(nodeId);
  }

  #tellGone(nodeId: string): void {
    for (const listener of this.#goneListeners) listener(nodeId);
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
    for (const socket of [...this.#nodes.values(), ...this.#waiting.sockets()]) {
      const retry_after_ms = Math.round(retryMs * (0.5 + this.#hub.kernel.random()));
      send(socket, 'federation:degraded', { reason, retry_after_ms });
      if (reason === 'cut_off') this.#hub.kernel.after(100, () => socket.disconnect(true));
    }
  }
}

function send<N extends HubPacketName>(socket: PoolSocket, name: N, packet: HubPacket<N>): void {
  socket.emit(name, packet);
}
