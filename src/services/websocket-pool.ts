/** Persistent Socket.IO connections of nodes: takes their packets, pushes what happened, and lets go of whom it must. */
import type { IncomingMessage } from 'node:http';
import { Server } from 'socket.io';
import { anonymous, Slot, socketPath } from '../doors.ts';
import { isRefusal, refuse } from '../errors.ts';
import type { Hub } from '../hub.ts';
import type { ClientPacketName, HubPacket, HubPacketName } from '../protocol.ts';
import { nodeRegistry } from './node-registry.ts';
import { service } from './service.ts';
import { type Channel, channelOf } from './websocket-pool/channel.ts';
import type { Client, PoolClient } from './websocket-pool/client.ts';
import { type Cluster, joinCluster } from './websocket-pool/cluster.ts';
import { carryWords } from './websocket-pool/cluster-adapter.ts';
import type { Handlers, PacketHandler } from './websocket-pool/dispatch.ts';
import { limits } from './websocket-pool/limits.ts';
import { Pool, type PoolServer } from './websocket-pool/pool.ts';
import { pushEvents } from './websocket-pool/pushes.ts';
import { speakerOf } from './websocket-pool/speaker.ts';

export type { Channel } from './websocket-pool/channel.ts';
export type { Client, SocketSession } from './websocket-pool/client.ts';
export type { Cluster } from './websocket-pool/cluster.ts';
export { limits as socketBounds } from './websocket-pool/limits.ts';
export { once, speakerOf } from './websocket-pool/speaker.ts';
export type { Waiting } from './websocket-pool/waiting.ts';

export interface WebsocketPool {
  /** Takes the packets of one name, from those who may send it (protocol.ts). What is returned stops it. */
  handle<N extends ClientPacketName>(name: N, handler: PacketHandler<N>): () => void;
  /** Sends to the live socket of a node, if it is at this replica and the node may be told anything: whether it did. */
  tell<N extends HubPacketName>(nodeId: string, name: N, packet: HubPacket<N>): boolean;
  /** Whether the live socket of a node is at this replica. */
  has(nodeId: string): boolean;
  /** As `tell`, and waits for the acknowledgement. Refuses `target_unreachable`. */
  ask<N extends HubPacketName>(nodeId: string, name: N, packet: HubPacket<N>, timeoutMs: number): Promise<unknown>;
  /** Told whenever the live socket of a node here is gone, or another took its place. */
  onGone(listener: (nodeId: string) => void): () => void;
  /** The connection behind a packet, to send to. */
  channel(client: Client): Channel;
  /** Sends to the connections of this replica that joined a room, but not to those named in `except`. */
  publish<N extends HubPacketName>(room: string, name: N, packet: HubPacket<N>, except: readonly string[]): void;
  /** Tells all nodes with a live socket at this replica that may be told anything. */
  announce<N extends HubPacketName>(name: N, packet: HubPacket<N>): void;
  /** Told, a moment later, of each node that has a live socket here, and whenever a node has one that it did not have before. */
  onOpen(listener: (nodeId: string) => void): () => void;
  /** The other replicas. */
  readonly cluster: Cluster;
  /** Connections of this replica; strangers are those that proved nothing yet. */
  counts(): { connections: number; nodes: number; strangers: number };
}

export const websocketPool = service({
  name: 'websocket-pool',
  purpose: 'Persistent Socket.IO connections between nodes and hub',
  needs: { registry: nodeRegistry },
  async start(hub, { registry }) {
    const io: PoolServer = new Server({
      path: socketPath,
      destroyUpgrade: false, // the doors see to those on other paths
      transports: ['websocket'],
      serveClient: false,
      perMessageDeflate: false,
      maxHttpBufferSize: limits.packetBytes,
      connectTimeout: 10_000,
      allowRequest: (request, answer) => {
        void whyNot(hub, pool, request).then((detail) => answer(detail, detail === undefined));
      },
    });
    const cluster = joinCluster(hub, io, await carryWords(hub, io));
    const handlers: Handlers = new Map();
    const pool = new Pool(hub, io, handlers);
    const api: WebsocketPool = {
      handle(name, handler) {
        const taken = handler as PacketHandler<ClientPacketName>; // dispatch checks the packet of this name
        const slot = handlers.get(name) ?? new Slot(name);
        handlers.set(name, slot);
        return slot.fill(taken);
      },
      tell: (nodeId, name, packet) => pool.tell(nodeId, name, packet),
      has: (nodeId) => pool.has(nodeId),
      ask: (nodeId, name, packet, timeoutMs) => pool.ask(nodeId, name, packet, timeoutMs),
      onGone: (listener) => pool.onGone(listener),
      onOpen: (listener) => pool.onOpen(listener),
      channel: (client) => channelOf(hub, client as PoolClient), // packets are handled with these alone
      publish: (room, name, packet, except) =>
        void io.local
          .to(room)
          .except([...except])
          .emit(name, packet),
      announce: (name, packet) => pool.publish(name, packet),
      cluster,
      counts: () => pool.counts(),
    };
    api.handle('federation:heartbeat', async (client, { node_id, ...reading }) => {
      const { nodeId, about } = speakerOf(client);
      if (node_id !== nodeId) return refuse('forbidden', 'a heartbeat is of the node itself');
      const done = await registry.heartbeat(nodeId, reading, about);
      return isRefusal(done) ? done : { position: done.position };
    });
    api.handle('federation:leave', async (client) => {
      const { nodeId, about } = speakerOf(client);
      const done = await registry.leave(nodeId, about);
      return isRefusal(done) ? done : {};
    });
    api.handle('federation:resume', (client, { position }) => pool.resume(client as PoolClient, position));
    const stopPushing = await pushEvents(hub, pool);
    return {
      api,
      async stop() {
        await pool.drain();
        await stopPushing();
        await cluster.close();
      },
    };
  },
});

/** Why a connection may not be made now. Each that is asked for costs its address a packet. */
async function whyNot({ doors, readiness }: Hub, pool: Pool, request: IncomingMessage): Promise<string | undefined> {
  const guard = doors.limits.get();
  if (isRefusal(guard)) return guard.detail;
  const passage = guard.enter(anonymous, doors.addressOf(request), 'messages', 0);
  const { short } = passage instanceof Promise ? await passage : passage;
  if (short) return 'rate_limited';
  return pool.full() ? 'full' : readiness.refusal()?.detail;
}
