/** A connection between two nodes that have proved their keys to each other: questions with answers, both ways, each within limits. */
import type { TSchema } from 'typebox';
import { Compile, type Validator } from 'typebox/compile';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import { checker } from '../../input.ts';
import { type PeerAck, type PeerPacket, type PeerPacketName, peerPackets } from '../../protocol/p2p-peers.ts';
import { FailureAck } from '../../protocol.ts';
import type { NodeClock } from '../clock.ts';
import { HubRefusal, HubUnreachable } from '../connection.ts';

/** What of a Socket.IO socket is used, of a dialled one and of an accepted one alike. */
export interface PeerSocket {
  readonly connected: boolean;
  timeout(ms: number): { emitWithAck(name: string, packet: unknown): Promise<unknown> };
  onAny(listener: (...came: unknown[]) => void): unknown;
  on(name: 'disconnect', listener: () => void): unknown;
  disconnect(close?: boolean): unknown;
}

export type PeerHandler<N extends PeerPacketName> = (
  packet: PeerPacket<N>,
) => Promise<Omit<PeerAck<N>, 'ok'> | Refusal> | Omit<PeerAck<N>, 'ok'> | Refusal;

export type PeerHandlers = { readonly [N in PeerPacketName]?: PeerHandler<N> };

/** Packets of one connection under way at once, and in a second. */
const mostUnderWay = 64;
const mostInSecond = 500;
const answerMs = 10_000;

const checks = new Map(Object.entries(peerPackets).map(([name, { packet }]) => [name, checker(packet)]));
const acks = new Map<string, Validator<Record<never, never>, TSchema>>();
const failure = Compile(FailureAck);

/** Answers the packets of a connection: `handlers` is asked at each, as what a connection may do changes when it is proved. */
export function answer(socket: PeerSocket, clock: NodeClock, handlers: () => PeerHandlers): void {
  let [underWay, second, count] = [0, 0, 0];
  socket.onAny((...came) => {
    const last = came.at(-1);
    if (typeof last !== 'function') return void socket.disconnect(true); // nodes wait for an answer
    const reply = last as (answer: object) => void; // Socket.IO made it
    const now = Math.floor(clock.monotonicMs() / 1_000);
    count = now === second ? count + 1 : 1;
    second = now;
    if (count > mostInSecond || underWay >= mostUnderWay)
      return reply(failed(refuse('overloaded', 'too many packets')));
    underWay++;
    void take(came.slice(0, -1), handlers())
      .catch(() => refuse('internal_error', 'the node could not answer'))
      .then((done) => reply(isRefusal(done) ? failed(done) : { ok: true, ...done }))
      .finally(() => {
        underWay--;
      });
  });
}

async function take(came: readonly unknown[], handlers: PeerHandlers): Promise<object | Refusal> {
  const [name, packet, ...more] = came;
  const check = typeof name === 'string' ? checks.get(name) : undefined;
  if (!check || more.length > 0) return refuse('not_found', 'nodes take no packet of this name');
  const handler = handlers[name as PeerPacketName]; // `checks` has it
  if (!handler) return refuse('unauthenticated', 'prove the key first');
  const checked = check(packet);
  return isRefusal(checked) ? checked : handler(checked as never); // of this very name
}

function failed({ refused, detail }: Refusal): object {
  return { ok: false, error: { code: refused, message: detail } };
}

/** Asks the other side. Throws `HubRefusal` with what it says, or `HubUnreachable`. */
export async function ask<N extends PeerPacketName>(
  socket: PeerSocket,
  name: N,
  packet: PeerPacket<N>,
): Promise<PeerAck<N>> {
  if (!socket.connected) throw new HubUnreachable('the connection has ended');
  let said: unknown;
  try {
    said = await socket.timeout(answerMs).emitWithAck(name, packet);
  } catch (error) {
    throw new HubUnreachable(`the node did not answer ${name}`, error);
  }
  if (failure.Check(said)) throw new HubRefusal(said.error.code, said.error.message);
  let check = acks.get(name);
  if (!check) {
    check = Compile(peerPackets[name].ack as TSchema);
    acks.set(name, check);
  }
  if (!check.Check(said)) throw new HubUnreachable(`the answer to ${name} is not one`);
  return said as PeerAck<N>; // it fits the schema of that name
}

/** A node at the other end, which proved its key. */
export class Link {
  readonly peer: string;
  /** The key that it proved. */
  readonly publicKey: string;
  /** Who dialled. */
  readonly dialer: string;
  /** Place of the roster that the other side has, as far as it said. */
  readonly rosterPosition: number;
  readonly #socket: PeerSocket;

  constructor(socket: PeerSocket, about: Pick<Link, 'peer' | 'publicKey' | 'dialer' | 'rosterPosition'>) {
    this.#socket = socket;
    this.peer = about.peer;
    this.publicKey = about.publicKey;
    this.dialer = about.dialer;
    this.rosterPosition = about.rosterPosition;
  }

  get alive(): boolean {
    return this.#socket.connected;
  }

  ask<N extends PeerPacketName>(name: N, packet: PeerPacket<N>): Promise<PeerAck<N>> {
    return ask(this.#socket, name, packet);
  }

  onGone(listener: () => void): void {
    this.#socket.on('disconnect', listener);
  }

  close(): void {
    this.#socket.disconnect(true);
  }
}
