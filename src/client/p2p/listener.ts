/** Where a node listens for others: a server of its own, for nothing but them, that remembers no more of strangers than a stated number. */
import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Socket } from 'socket.io';
import { peerPacketBytes } from '../../protocol/p2p-peers.ts';
import type { NodeClock } from '../clock.ts';

/** Connections in all, and of those that proved nothing yet; how long those may take. */
const mostConnections = 256;
const mostStrangers = 64;
const strangerMs = 5_000;
/** WebSocket pings and pongs in a second. */
const mostPings = 50;
/** Bytes that wait to be read by one connection. */
const mostUnsent = 8 * 1024 * 1024;
const lookEveryMs = 1_000;

export const peerPath = '/p2p/';

/** A connection that proved nothing yet. `proved` keeps it. */
export interface Stranger {
  readonly socket: Socket;
  proved(): void;
}

export interface Listener {
  readonly port: number;
  close(): Promise<void>;
}

/** Opens the port; 0 is any free one. Rejects when it is taken. */
export async function listen(
  { port, host }: { readonly port: number; readonly host: string },
  clock: NodeClock,
  welcome: (stranger: Stranger) => void,
): Promise<Listener> {
  const { Server } = await import('socket.io'); // nodes that only dial have no use for it
  const http = createServer({ headersTimeout: strangerMs, requestTimeout: strangerMs }, (_request, response) => {
    response.writeHead(404, { connection: 'close' }).end();
  });
  http.maxConnections = mostConnections + mostStrangers;
  http.maxHeadersCount = 32;
  http.on('clientError', (_error, socket) => socket.destroy());
  let strangers = 0;
  const io = new Server(http, {
    path: peerPath,
    transports: ['websocket'],
    serveClient: false,
    perMessageDeflate: false,
    maxHttpBufferSize: peerPacketBytes,
    connectTimeout: strangerMs,
    pingInterval: 10_000,
    pingTimeout: 10_000,
    allowRequest: (_request, answer) =>
      answer(null, strangers < mostStrangers && io.engine.clientsCount < mostConnections),
  });
  io.on('connection', (socket) => {
    if (strangers >= mostStrangers) return void socket.disconnect(true); // several were let in at once
    strangers++;
    let counted = true;
    const settle = () => {
      if (counted) strangers--;
      counted = false;
      late();
    };
    const late = clock.after(strangerMs, () => socket.disconnect(true));
    socket.on('disconnect', settle);
    welcome({ socket, proved: settle });
  });
  io.engine.on('connection', (connection: Wire) => boundPings(connection, clock));
  let stopLooking = () => {};
  const look = () => {
    stopLooking = clock.after(lookEveryMs, () => {
      const { clients } = io.engine as unknown as { clients: Record<string, Wire> }; // all connections by id; not in the types
      for (const { transport } of Object.values(clients))
        if ((transport.socket?.bufferedAmount ?? 0) > mostUnsent) transport.socket?.terminate();
      look();
    });
  };
  look();
  await opened(http, port, host);
  return {
    port: (http.address() as AddressInfo).port, // a TCP server's address is one
    async close() {
      stopLooking();
      await io.close();
    },
  };
}

function opened(http: HttpServer, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    http.once('error', reject);
    http.listen(port, host, () => {
      http.off('error', reject);
      resolve();
    });
  });
}

/** What of an Engine.IO connection matters here; its own types leave some of it out. */
interface Wire {
  readonly transport: {
    readonly socket?: {
      readonly bufferedAmount: number;
      terminate(): void;
      on(event: 'ping' | 'pong', listener: () => void): void;
    };
  };
}

/** Each ping is answered before anything else is done: a flood of them would keep all others waiting. */
function boundPings({ transport: { socket } }: Wire, clock: NodeClock): void {
  let [second, count] = [0, 0];
  const take = () => {
    const now = Math.floor(clock.monotonicMs() / 1_000);
    count = now === second ? count + 1 : 1;
    second = now;
    if (count > mostPings) socket?.terminate();
  };
  socket?.on('ping', take);
  socket?.on('pong', take);
}
