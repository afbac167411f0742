/** Persistent Socket.IO connections of nodes: takes their packets, pushes what happened, and lets go of whom it must. */
import { Server } from 'socket.io';
import { isRefusal, refuse } from '../errors.ts';
import type { ClientPacketName } from '../protocol.ts';
import { nodeRegistry } from './node-registry.ts';
import { service } from './service.ts';
import type { Handlers, PacketHandler } from './websocket-pool/dispatch.ts';
import { limits } from './websocket-pool/limits.ts';
import { Pool, type PoolClient, type PoolServer } from './websocket-pool/pool.ts';
import { pushEvents } from './websocket-pool/pushes.ts';

export interface WebsocketPool {
  /** Takes the packets of one name. `who`: anyone, or only nodes with a session. What is returned stops it. */
  handle<N extends ClientPacketName>(name: N, who: 'anyone' | 'node', handler: PacketHandler<N>): () => void;
  /** Connections of this replica. */
  counts(): { connections: number; nodes: number };
}

export const websocketPool = service({
  name: 'websocket-pool',
  tier: 'P0',
  purpose: 'Persistent Socket.IO connections between nodes and hub',
  needs: { registry: nodeRegistry },
  async start(hub, { registry }) {
    const io: PoolServer = new Server({
      transports: ['websocket'],
      serveClient: false,
      perMessageDeflate: false,
      maxHttpBufferSize: limits.packetBytes,
      connectTimeout: 10_000,
      allowRequest: (_request, answer) => {
        const detail = pool.full() ? 'full' : hub.readiness.refusal()?.detail;
        answer(detail, detail === undefined);
      },
    });
    const handlers: Handlers = new Map();
    const pool = new Pool(hub, io, handlers);
    const api: WebsocketPool = {
      handle(name, who, handler) {
        handlers.set(name, { who, handler: handler as PacketHandler<ClientPacketName> }); // dispatch checks the packet of this name
        return () => void handlers.delete(name);
      },
      counts: () => pool.counts(),
    };
    api.handle('federation:heartbeat', 'node', async ({ session }, { node_id, ...reading }) => {
      if (node_id !== session!.nodeId) return refuse('forbidden', 'a heartbeat is of the node itself');
      const done = await registry.heartbeat(node_id, reading, { actor: `node:${node_id}` });
      return isRefusal(done) ? done : { position: done.position };
    });
    api.handle('federation:leave', 'node', async ({ session }) => {
      const done = await registry.leave(session!.nodeId, { actor: `node:${session!.nodeId}` });
      return isRefusal(done) ? done : {};
    });
    api.handle('federation:resume', 'node', (client, { position }) => pool.resume(client as PoolClient, position));
    const stopPushing = await pushEvents(hub, pool);
    return {
      api,
      async stop() {
        await pool.drain();
        await stopPushing();
      },
    };
  },
});
