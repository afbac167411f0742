/** One connection as those see it who send to it on their own account: by rooms, which are encoded once, or by itself. */
import type { Identity } from '../../doors.ts';
import type { Hub } from '../../hub.ts';
import type { HubPacket, HubPacketName } from '../../protocol.ts';
import { drained } from './backlog.ts';
import type { PoolClient } from './client.ts';

export interface Channel {
  /** Of the connection; good in `except` of `publish`. */
  readonly id: string;
  /** The node that hears, with the role it has now; undefined while it may be told nothing. */
  hearer(): Extract<Identity, { kind: 'node' }> | undefined;
  join(room: string): void;
  leave(room: string): void;
  send<N extends HubPacketName>(name: N, packet: HubPacket<N>): void;
  /** Resolves when what was sent is on its way; false when nobody is there any more. */
  drained(): Promise<boolean>;
  connected(): boolean;
  onGone(listener: () => void): void;
}

export function channelOf({ doors }: Pick<Hub, 'doors'>, client: PoolClient): Channel {
  const { socket } = client;
  return {
    id: socket.id,
    hearer() {
      if (client.revoked || client.over()) return undefined;
      const identity = client.identity();
      return identity.kind === 'node' && doors.judge(identity) === undefined ? identity : undefined;
    },
    join: (room) => void socket.join(room),
    leave: (room) => void socket.leave(room),
    send: (name, packet) => void socket.emit(name, packet),
    drained: () => drained(socket),
    connected: () => socket.connected,
    onGone: (listener) => void socket.once('disconnect', listener),
  };
}
