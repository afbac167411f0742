/** One WebSocket to a hub, from dial to end: questions with answers out, packets in. Never reconnects by itself. */
import type { Agent } from 'node:http';
import { io, type ManagerOptions, type Socket } from 'socket.io-client';
import type { TSchema } from 'typebox';
import { Compile, type Validator } from 'typebox/compile';
import type { Code } from '../errors.ts';
import {
  type Ack,
  type ClientPacket,
  type ClientPacketName,
  clientPackets,
  FailureAck,
  type HubPacket,
  type HubPacketName,
  hubPackets,
} from '../protocol.ts';

/** The hub answered no. `code` is for programs, the message for people. */
export class HubRefusal extends Error {
  /** One of the hub's closed list, or one that a newer hub knows. */
  readonly code: Code | (string & {});
  /** How long the hub asks to wait before the next try. */
  readonly retryAfterMs: number | undefined;
  /** What the hub said besides. */
  readonly extra: Readonly<Record<string, unknown>>;

  constructor(code: string, message: string, extra: Readonly<Record<string, unknown>> = {}) {
    super(message);
    this.name = 'HubRefusal';
    this.code = code;
    this.retryAfterMs = typeof extra.retry_after_ms === 'number' ? extra.retry_after_ms : undefined;
    this.extra = extra;
  }
}

/** The hub could not be reached, or did not answer in time: whether it did what was asked is not known. */
export class HubUnreachable extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'HubUnreachable';
  }
}

/** A packet from the hub that fits its schema. */
export type AnyHubPacket = { [N in HubPacketName]: { readonly name: N; readonly packet: HubPacket<N> } }[HubPacketName];

export interface ConnectionHandlers {
  /** `acknowledge` answers the packet, if the hub waits for that. */
  onPacket(packet: AnyHubPacket, acknowledge: (answer: object) => void): void;
  /** The other side or the network ended it. Not called after `end()`. */
  onLost(reason: string): void;
}

export interface ConnectionOptions {
  readonly agent?: Agent | undefined;
  /** Of what is sent just now. */
  readonly traceparent?: (() => string | undefined) | undefined;
}

const openTimeoutMs = 10_000;

export class Connection {
  readonly #socket: Socket;
  readonly #traceparent: () => string | undefined;

  private constructor(socket: Socket, traceparent: () => string | undefined) {
    this.#socket = socket;
    this.#traceparent = traceparent;
  }

  /** Dials. A path in the URL is where a proxy serves the hub. Throws `HubUnreachable`. */
  static open(url: string, handlers: ConnectionHandlers, options: ConnectionOptions = {}): Promise<Connection> {
    const { agent, traceparent = () => undefined } = options;
    const { origin, pathname } = new URL(url);
    const socket = io(origin, {
      path: `${pathname.replace(/\/+$/, '')}/socket.io`,
      transports: ['websocket'],
      reconnection: false,
      forceNew: true,
      timeout: openTimeoutMs,
      ...(agent && { agent: agent as unknown as NonNullable<ManagerOptions['agent']> }), // handed on to Node's request, whatever its type says
    });
    return new Promise((resolve, reject) => {
      socket.once('connect', () => resolve(new Connection(socket, traceparent)));
      socket.once('connect_error', (error) => {
        socket.disconnect();
        reject(new HubUnreachable(`no connection to ${origin}: ${error.message}`, error));
      });
      socket.once('disconnect', (reason) => {
        if (reason !== 'io client disconnect') handlers.onLost(reason);
      });
      for (const name of Object.keys(hubPackets) as HubPacketName[]) {
        socket.on(name, (packet: unknown, acknowledge: unknown) => {
          const check = validator(hubPackets[name]);
          const answer = typeof acknowledge === 'function' ? (value: object) => void acknowledge(value) : () => {};
          if (check.Check(packet)) handlers.onPacket({ name, packet } as AnyHubPacket, answer); // it fits the schema of that name
        });
      }
    });
  }

  get alive(): boolean {
    return this.#socket.connected;
  }

  /** Sends a packet and waits for its answer. Throws `HubRefusal`, or `HubUnreachable` after `timeoutMs`. */
  async ask<N extends ClientPacketName>(name: N, packet: ClientPacket<N>, timeoutMs = 10_000): Promise<Ack<N>> {
    if (!this.#socket.connected) throw new HubUnreachable('the connection has ended'); // else it would be queued for ever
    const traceparent = this.#traceparent();
    const traced = traceparent === undefined ? packet : { ...packet, traceparent };
    let answer: unknown;
    try {
      answer = await this.#socket.timeout(timeoutMs).emitWithAck(name, traced);
    } catch (error) {
      throw new HubUnreachable(`the hub did not answer ${name}`, error);
    }
    if (validator(FailureAck).Check(answer)) throw refusalOf(answer as FailureAck);
    if (!validator(clientPackets[name].ack).Check(answer))
      throw new HubUnreachable(`the hub's answer to ${name} is not one`);
    return answer as Ack<N>; // it fits the schema of that name
  }

  /** Ends it; answers still awaited are given up. Twice is harmless. */
  end(): void {
    this.#socket.disconnect();
  }
}

const validators = new Map<TSchema, Validator>();

function validator(schema: TSchema): Validator {
  let found = validators.get(schema);
  if (!found) {
    found = Compile(schema);
    validators.set(schema, found);
  }
  return found;
}

function refusalOf({ error }: FailureAck): HubRefusal {
  const { code, message, ...extra } = error;
  return new HubRefusal(code, message, extra);
}
