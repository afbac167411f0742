/**
 * The way to a target through its own socket, at this replica or another, for nodes that no one can dial: the call goes to it
 * in parts, and each part is acknowledged when there is room for the next, all the way.
 */
import { validateHeaderName, validateHeaderValue } from 'node:http';
import type { Readable } from 'node:stream';
import { cut, Window } from '../../call-parts.ts';
import { isRefusal } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import type { HubPacket } from '../../protocol.ts';
import type { WebsocketPool } from '../websocket-pool.ts';
import { type Answer, type Call, CallerGone, CallFailed, late } from './call.ts';
import { type AnswerHead, type AnswerPart, Exchange } from './exchange.ts';
import type { Headers } from './headers.ts';
import { mostToNode, Relay } from './relay.ts';
import type { Target } from './targets.ts';

export type RequestPart = HubPacket<'federation:request'>;
/** Brings a part to the node. Answers what the node acknowledged. */
export type Deliver = (part: RequestPart) => Promise<unknown>;

const mostCalls = 1_024;
const lookEveryMs = 10_000;

export class SocketCalls {
  readonly #hub: Hub;
  readonly #relay: Relay;
  readonly #calls = new Map<string, Exchange>();
  readonly #stops: (() => void)[];

  constructor(hub: Hub, sockets: WebsocketPool) {
    this.#hub = hub;
    this.#relay = new Relay(hub, sockets, {
      answered: (nodeId, part) => this.#answered(nodeId, part),
      lost: (nodeId, call) => this.#lost(nodeId, call),
      toNode: (nodeId) => this.#toNode(nodeId),
      has: (call) => this.#calls.has(call),
    });
    this.#stops = [
      () => this.#relay.close(),
      hub.kernel.every(lookEveryMs, () => {
        for (const exchange of this.#calls.values()) exchange.look();
      }),
    ];
  }

  /** Makes a call. Throws `CallFailed`, and `CallerGone`. */
  async call({ nodeId, service }: Target, call: Call): Promise<Answer> {
    if (!this.#room(nodeId))
      throw new CallFailed('overloaded', `${mostToNode} calls through its socket are under way`, { unsent: true });
    const { method, path, headers, caller, timeoutMs } = call;
    const id = this.#hub.kernel.uuid();
    let deliver: Deliver | undefined;
    const exchange = new Exchange(nodeId, this.#hub.kernel, (early) => {
      this.#calls.delete(id);
      if (early) void deliver?.({ call: id, seq: 0, cancel: 'nobody waits for the answer' });
    });
    this.#calls.set(id, exchange);
    const leave = () => exchange.fail(new CallerGone('the caller left'));
    caller.once('abort', leave);
    exchange.body.once('close', () => caller.off('abort', leave));
    const expire = () => exchange.fail(late(timeoutMs));
    let expiry = this.#hub.kernel.after(timeoutMs, expire);
    let waits = true;
    const taken = () => {
      if (!waits) return;
      expiry();
      expiry = this.#hub.kernel.after(timeoutMs, expire);
    };
    try {
      const over = exchange.head; // rejects when nobody waits any more: then the node does not hear of the call
      deliver = (await Promise.race([this.#relay.find(nodeId), over])) as Deliver; // no head comes before it was asked for
      const head = { service, method, path, headers, body: call.body !== undefined };
      await Promise.race([this.#begin(deliver, { call: id, seq: 0, head }), over]);
      if (call.body) void this.#send(deliver, id, call.body.open(), exchange, taken);
      return { ...checked(await exchange.head, method), body: exchange.body };
    } catch (error) {
      exchange.fail(error as Error); // all that is thrown here is an Error
      throw caller.gone ? new CallerGone('the caller left', { cause: error }) : error;
    } finally {
      expiry();
      waits = false;
    }
  }

  close(): void {
    for (const stop of this.#stops) stop();
    for (const exchange of this.#calls.values())
      exchange.fail(new CallFailed('target_unreachable', 'this replica stops'));
  }

  #room(nodeId: string): boolean {
    return this.#calls.size < mostCalls && this.#toNode(nodeId) + this.#relay.toNode(nodeId) < mostToNode;
  }

  #toNode(nodeId: string): number {
    let toNode = 0;
    for (const exchange of this.#calls.values()) if (exchange.nodeId === nodeId) toNode++;
    return toNode;
  }

  async #begin(deliver: Deliver, part: RequestPart): Promise<void> {
    const acknowledged = await deliver(part);
    if (isRefusal(acknowledged)) {
      const unsent = acknowledged.refused === 'overloaded';
      throw new CallFailed(unsent ? 'overloaded' : 'target_unreachable', acknowledged.detail, { unsent });
    }
    const { ok, error } = (acknowledged ?? {}) as { ok?: unknown; error?: { message?: unknown } }; // nothing is sure about it
    const detail = typeof error?.message === 'string' ? error.message.slice(0, 200) : 'it did not take the call';
    if (ok !== true) throw new CallFailed('target_unreachable', detail, { unsent: true });
  }

  /** The body of the caller, as fast as the node takes it: each part is told to `taken`. A node may answer without all of it. */
  async #send(deliver: Deliver, call: string, body: Readable, exchange: Exchange, taken: () => void): Promise<void> {
    const window = new Window();
    let seq = 1;
    let wanted = true;
    const send = async (part: RequestPart) => {
      const acknowledged = await deliver(part);
      if (isRefusal(acknowledged)) throw new CallFailed('target_unreachable', acknowledged.detail);
      wanted &&= (acknowledged as { open?: unknown } | null)?.open !== false;
      taken();
    };
    try {
      for await (const chunk of body) {
        for (const bytes of cut(chunk as Buffer)) await window.send(send({ call, seq: seq++, chunk: bytes })); // of a request: bytes
        if (!wanted || exchange.body.destroyed) return void body.destroy();
      }
      await window.send(send({ call, seq, end: true }));
      await window.drain();
    } catch (error) {
      exchange.fail(error as Error); // of the body or of `send`
    }
  }

  async #answered(nodeId: string, part: AnswerPart): Promise<boolean> {
    const exchange = this.#calls.get(part.call);
    return exchange?.nodeId === nodeId ? exchange.take(part) : false; // a node answers for itself
  }

  #lost(nodeId: string, call: string | undefined): void {
    const gone = call === undefined ? [...this.#calls.values()] : [this.#calls.get(call)];
    for (const exchange of gone) {
      if (exchange?.nodeId === nodeId) exchange.fail(new CallFailed('target_unreachable', 'its connection ended'));
    }
  }
}

/** Nobody parsed this head as HTTP: what it holds must not break the answer that it becomes. */
function checked({ status, headers }: AnswerHead, method: string): { status: number; headers: Headers } {
  const { 'content-length': length, ...others } = headers; // how long it is shows; a wrong length would reach into the next answer
  try {
    for (const [name, value] of Object.entries(others)) {
      validateHeaderName(name);
      for (const each of [value].flat()) validateHeaderValue(name, each);
    }
  } catch (cause) {
    throw new CallFailed('target_unreachable', 'its answer has headers that are none', { cause });
  }
  const known = method === 'HEAD' && typeof length === 'string' && /^\d{1,15}$/.test(length);
  return { status, headers: known ? { ...others, 'content-length': length } : others };
}
