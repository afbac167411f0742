/** Where the socket of a node is, and what passes between it and the replica that makes a call, which may be another. */
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import type { Span, Tracer } from '../../tracing.ts';
import { type Cluster, speakerOf, type WebsocketPool } from '../websocket-pool.ts';
import { CallFailed } from './call.ts';
import type { AnswerPart } from './exchange.ts';
import type { Deliver, RequestPart } from './socket-calls.ts';

/** The calls that this replica makes. */
interface Own {
  /** A node sent a part of an answer. Resolves when there is room for the next: with false when no more is wanted. */
  answered(nodeId: string, part: AnswerPart): Promise<boolean>;
  /** The socket of a node is gone: all calls through it, or the one that another replica names. */
  lost(nodeId: string, call: string | undefined): void;
  /** Calls to a node under way. */
  toNode(nodeId: string): number;
  /** Whether a call is under way. */
  has(call: string): boolean;
}

/** A call of another replica to a node that has its socket here. */
interface Relayed {
  readonly owner: string;
  readonly nodeId: string;
  /** How often in a row its replica did not say that it still waits. */
  missed: number;
}

/** Until another replica says that it has the socket. */
const findMs = 2_000;
/** Until a node takes the head of a call. */
const headMs = 5_000;
/** Until a node, or the caller behind another replica, has room for more. */
const partMs = 60_000;
/** Calls to one node under way at once, of this replica through any socket, and of all replicas through a socket here. */
export const mostToNode = 64;
/** How often other replicas are asked whether they still wait for their calls, and how often they may not say so. */
const lookEveryMs = 5_000;
const mostMissed = 2;
/** Calls of others under way here. */
const mostRelayed = 1_024;

export class Relay {
  readonly #replica: string;
  readonly #sockets: WebsocketPool;
  readonly #cluster: Cluster;
  readonly #own: Own;
  readonly #tracing: Tracer;
  readonly #relayed = new Map<string, Relayed>();
  readonly #stops: (() => void)[];

  constructor({ kernel, tracing }: Hub, sockets: WebsocketPool, own: Own) {
    this.#tracing = tracing;
    this.#replica = kernel.replica;
    this.#sockets = sockets;
    this.#cluster = sockets.cluster;
    this.#own = own;
    // Words of the other replicas, which run this same code.
    this.#stops = [
      sockets.handle('federation:response', async (client, part) => ({
        open: await this.#answered(speakerOf(client).nodeId, part),
      })),
      sockets.onGone((nodeId) => this.#gone(nodeId)),
      this.#cluster.handle('call:find', (word) => {
        const { nodeId } = word as { nodeId: string };
        return sockets.has(nodeId) ? Promise.resolve({ replica: this.#replica }) : undefined;
      }),
      this.#cluster.handle('call:part', (word, owner) => {
        const { nodeId, part } = word as { nodeId: string; part: RequestPart };
        return this.#pass({ owner, nodeId, missed: 0 }, part);
      }),
      this.#cluster.handle('call:held', async (word) => {
        const { calls } = word as { calls: string[] };
        return { held: calls.filter((call) => own.has(call)) };
      }),
      kernel.every(lookEveryMs, () => {
        const owners = new Set([...this.#relayed.values()].map(({ owner }) => owner));
        for (const owner of owners) void this.#look(owner);
      }),
      this.#cluster.handle('call:answer', async (word) => {
        const { nodeId, part } = word as { nodeId: string; part: AnswerPart };
        return { open: await own.answered(nodeId, part) };
      }),
      this.#cluster.handle('call:lost', async (word) => {
        const { nodeId, call } = word as { nodeId: string; call: string };
        own.lost(nodeId, call);
        return {};
      }),
    ];
  }

  /** The way to the socket of a node. Throws `CallFailed` when no replica says that it has it. */
  async find(nodeId: string): Promise<Deliver> {
    if (this.#sockets.has(nodeId)) return (part) => this.#tell(nodeId, part);
    const found = await this.#cluster.ask(undefined, 'call:find', { nodeId }, findMs);
    if (isRefusal(found))
      throw new CallFailed('target_unreachable', 'it has no socket that could be found', { unsent: true });
    const { replica } = found as { replica: string };
    return (part) => this.#cluster.ask(replica, 'call:part', { nodeId, part }, waitMs(part) + findMs);
  }

  /** Calls of other replicas to a node under way here. */
  toNode(nodeId: string): number {
    let toNode = 0;
    for (const relayed of this.#relayed.values()) if (relayed.nodeId === nodeId) toNode++;
    return toNode;
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }

  #tell(nodeId: string, part: RequestPart): Promise<unknown> {
    return this.#sockets.ask(nodeId, 'federation:request', part, waitMs(part));
  }

  /** Gives a part to the node that is here, for the replica that makes the call. */
  async #pass(relayed: Relayed, part: RequestPart): Promise<object | Refusal> {
    if (part.head) {
      if (this.#relayed.size >= mostRelayed)
        return refuse('overloaded', `${mostRelayed} calls of other replicas are under way`);
      if (this.toNode(relayed.nodeId) + this.#own.toNode(relayed.nodeId) >= mostToNode)
        return refuse('overloaded', `${mostToNode} calls through its socket are under way`);
      this.#relayed.set(part.call, relayed);
    }
    if (part.cancel !== undefined) this.#relayed.delete(part.call);
    const span = this.#tracing.within('relay', 'client', traceOf(part));
    span?.set('federation.node', relayed.nodeId);
    const acknowledged = await this.#tell(relayed.nodeId, span ? under(span, part) : part);
    span?.end(isRefusal(acknowledged) ? acknowledged.refused : undefined);
    const taken = typeof acknowledged === 'object' && acknowledged !== null && !isRefusal(acknowledged);
    if (part.head && !(taken && 'ok' in acknowledged && acknowledged.ok === true)) this.#relayed.delete(part.call);
    return typeof acknowledged === 'object' && acknowledged !== null ? acknowledged : {};
  }

  async #answered(nodeId: string, part: AnswerPart): Promise<boolean> {
    const relayed = this.#relayed.get(part.call);
    if (!relayed) return this.#own.answered(nodeId, part);
    if (relayed.nodeId !== nodeId) return false;
    const answer = await this.#cluster.ask(relayed.owner, 'call:answer', { nodeId, part }, partMs + findMs);
    const open = !isRefusal(answer) && (answer as { open?: unknown }).open === true;
    if (!open) this.#relayed.delete(part.call);
    return open;
  }

  /** Ends the calls of a replica that is gone, or waits for them no more and was not heard when it said so. */
  async #look(owner: string): Promise<void> {
    const calls = [...this.#relayed.keys()].filter((call) => this.#relayed.get(call)?.owner === owner);
    const answer = await this.#cluster.ask(owner, 'call:held', { calls }, findMs);
    const held = isRefusal(answer) ? [] : (answer as { held: string[] }).held;
    for (const call of calls) {
      const relayed = this.#relayed.get(call);
      if (!relayed) continue;
      relayed.missed = held.includes(call) ? 0 : relayed.missed + 1;
      if (relayed.missed < mostMissed) continue;
      this.#relayed.delete(call);
      void this.#tell(relayed.nodeId, { call, seq: 0, cancel: 'the replica that made the call is gone' });
    }
  }

  #gone(nodeId: string): void {
    this.#own.lost(nodeId, undefined);
    for (const [call, relayed] of this.#relayed) {
      if (relayed.nodeId !== nodeId) continue;
      this.#relayed.delete(call);
      void this.#cluster.ask(relayed.owner, 'call:lost', { nodeId, call }, findMs);
    }
  }
}

/** What the head of a call says of its trace. */
function traceOf({ head }: RequestPart): string | undefined {
  const traceparent = head?.headers.traceparent;
  return typeof traceparent === 'string' ? traceparent : undefined;
}

function under({ traceparent }: Span, part: RequestPart): RequestPart {
  return part.head ? { ...part, head: { ...part.head, headers: { ...part.head.headers, traceparent } } } : part;
}

function waitMs({ head }: RequestPart): number {
  return head ? headMs : partMs;
}
