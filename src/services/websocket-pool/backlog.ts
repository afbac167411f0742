/** What waits to be sent to one connection: how much is too much, and when it is gone. */
import type { Socket } from 'socket.io';
import type { Kernel } from '../../kernel.ts';
import { limits } from './limits.ts';

/** What of an Engine.IO connection matters here; its own types leave some of it out. */
export interface Connection {
  /** Packets that wait for those before them to leave. */
  readonly writeBuffer: readonly { readonly data?: unknown }[];
  /** The WebSocket under it, and the bytes that the other side has not taken from it: pongs too. */
  readonly transport: {
    readonly socket?: {
      readonly bufferedAmount: number;
      terminate(): void;
      on(event: 'ping' | 'pong', listener: () => void): void;
    };
  };
}

/** Packets after which their bytes are counted; fewer cannot be too many. */
const fewPackets = 32;

/** Cuts a connection whose reader does not keep up, before it costs the others memory. Answers whether it did. */
export function dropIfSlow({ writeBuffer, transport }: Connection): boolean {
  const { socket } = transport;
  const slow =
    writeBuffer.length > limits.unsent ||
    (socket?.bufferedAmount ?? 0) > limits.unsentBytes ||
    (writeBuffer.length > fewPackets && bytesOf(writeBuffer) > limits.unsentBytes);
  if (slow) socket?.terminate(); // a close frame would wait behind all that is not read
  return slow;
}

/**
 * Cuts a connection that sends more WebSocket pings and pongs in a second than anyone needs: each is answered before anything else
 * is done, so that a flood of them would keep all others waiting.
 */
export function boundPings({ transport: { socket } }: Connection, kernel: Kernel): void {
  let second = 0;
  let count = 0;
  const take = () => {
    const now = Math.floor(kernel.monotonicMs() / 1_000);
    count = now === second ? count + 1 : 1;
    second = now;
    if (count > limits.pings) socket?.terminate();
  };
  socket?.on('ping', take);
  socket?.on('pong', take);
}

/** Resolves once nothing waits to be sent; with false when the connection is gone. */
export function drained(socket: Socket): Promise<boolean> {
  const { conn } = socket;
  const waiting = (conn as unknown as Connection).writeBuffer; // the same object, seen from Engine.IO's side
  if (!socket.connected || waiting.length === 0) return Promise.resolve(socket.connected);
  return new Promise((resolve) => {
    const settle = () => {
      conn.off('drain', settle);
      conn.off('close', settle);
      resolve(socket.connected);
    };
    conn.on('drain', settle);
    conn.on('close', settle);
  });
}

function bytesOf(packets: Connection['writeBuffer']): number {
  return packets.reduce((sum, { data }) => sum + sizeOf(data), 0);
}

/** Bytes of what Engine.IO carries: text, or an attachment. */
export function sizeOf(data: unknown): number {
  if (typeof data === 'string') return data.length;
  return data instanceof ArrayBuffer || ArrayBuffer.isView(data) ? data.byteLength : 0;
}
