/** Services of a node that are called through its own connection to the hub: each call a Request, each answer a Response. */
import { cut, InOrder, Window } from '../call-parts.ts';
import type { ClientPacket, HubPacket } from '../protocol.ts';
import type { NodeClock } from './clock.ts';
import { type Connection, HubRefusal } from './connection.ts';

/**
 * Answers a call. The URL of the request is `http://node.invalid` and the path; its signal is aborted when the caller is gone.
 * Both bodies are streams: what is written to the response goes out as it comes. A handler that throws answers 500.
 */
export type ServiceHandler = (request: Request) => Promise<Response> | Response;

type RequestPart = HubPacket<'federation:request'>;
type AnswerPart = ClientPacket<'federation:response'>;
type Acknowledge = (answer: object) => void;

/** The hub has room for the next part within this, or gives up the call itself. */
const partTimeoutMs = 75_000;
/** How often a part is sent again that the hub had no allowance left for. */
const mostTries = 10;
/** Calls at once; the hub makes no more of them either, from one replica. */
const mostCalls = 256;
const bodyless = new Set([204, 205, 304]);

export class Serving {
  readonly #clock: NodeClock;
  readonly #trouble: (error: Error) => void;
  readonly #handlers = new Map<string, ServiceHandler>();
  readonly #calls = new Map<string, Served>();

  constructor(clock: NodeClock, trouble: (error: Error) => void) {
    this.#clock = clock;
    this.#trouble = trouble;
  }

  /** What is returned takes the handler away again. */
  handle(service: string, handler: ServiceHandler): () => void {
    this.#handlers.set(service, handler);
    return () => {
      if (this.#handlers.get(service) === handler) this.#handlers.delete(service);
    };
  }

  take(part: RequestPart, connection: Connection, acknowledge: Acknowledge): void {
    if (part.head) {
      const refused = this.#begin(part.call, part.head, connection);
      const error = { code: 'not_found', message: refused };
      acknowledge(refused === undefined ? { ok: true } : { ok: false, error });
      return;
    }
    const call = this.#calls.get(part.call);
    if (part.cancel !== undefined) call?.abort();
    if (call && part.cancel === undefined) void call.take(part).then((open) => acknowledge({ ok: true, open }));
    else acknowledge({ ok: true, open: false });
  }

  /** The connection is gone, and all calls with it. */
  drop(): void {
    for (const call of this.#calls.values()) call.abort();
    this.#calls.clear();
  }

  /** Why a call is not taken; undefined when it is. */
  #begin(id: string, head: Head, connection: Connection): string | undefined {
    const handler = this.#handlers.get(head.service);
    if (!handler) return head.service === '' ? 'it serves no calls to itself' : `it does not serve ${head.service}`;
    if (this.#calls.size >= mostCalls || this.#calls.has(id)) return `${mostCalls} calls are under way there`;
    const call = servedOf(head);
    if (!call) return 'the call is no HTTP request there';
    this.#calls.set(id, call);
    this.#answer(id, call, handler, connection)
      .catch((error: Error) => {
        if (!call.signal.aborted) this.#trouble(error);
      })
      .finally(() => {
        this.#calls.delete(id);
        call.abort();
      });
    return undefined;
  }

  async #answer(id: string, call: Served, handler: ServiceHandler, connection: Connection): Promise<void> {
    const response = await this.#respond(call, handler);
    const { signal } = call;
    const window = new Window();
    let open = true;
    let seq = 0;
    const send = async (part: Omit<AnswerPart, 'call' | 'seq'>) => {
      const numbered = { call: id, seq: seq++, ...part };
      await window.send(
        this.#send(connection, numbered, signal).then((wanted) => {
          open &&= wanted;
        }),
      );
    };
    const { body } = response;
    try {
      await send({ head: { status: response.status, headers: headersOf(response) } });
      for await (const chunk of body && !bodyless.has(response.status) ? chunksOf(body, signal) : []) {
        for (const bytes of cut(chunk)) if (open && !signal.aborted) await send({ chunk: bytes });
        if (!open || signal.aborted) return;
      }
      if (signal.aborted) return;
      await send({ end: true });
    } catch (error) {
      if (!signal.aborted) await send({ error: String(error).slice(0, 512) }).catch(() => {});
      throw error;
    }
    await window.drain();
  }

  async #respond(call: Served, handler: ServiceHandler): Promise<Response> {
    try {
      const response = await handler(call.request);
      return response.status >= 200 ? response : new Response(null, { status: 500 }); // Response.error() has none
    } catch (error) {
      if (!call.signal.aborted) this.#trouble(error instanceof Error ? error : new Error(String(error)));
      return new Response('the service failed', { status: 500 });
    }
  }

  /** Answers whether more is wanted. */
  async #send(connection: Connection, part: AnswerPart, signal: AbortSignal): Promise<boolean> {
    for (let tried = 1; ; tried++) {
      try {
        return (await connection.ask('federation:response', part, partTimeoutMs)).open;
      } catch (error) {
        const wait = error instanceof HubRefusal && error.code === 'rate_limited' ? error.retryAfterMs : undefined;
        if (wait === undefined || tried >= mostTries || signal.aborted) throw error;
        await new Promise<void>((done) => void this.#clock.after(wait, done));
      }
    }
  }
}

/** What a body brings. It is cancelled at once when the caller is gone, though it may be silent just then. */
async function* chunksOf(body: ReadableStream<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  const cancel = () => void reader.cancel(signal.reason).catch(() => {}); // one that failed is over
  signal.addEventListener('abort', cancel, { once: true });
  if (signal.aborted) cancel();
  try {
    for (let read = await reader.read(); !read.done; read = await reader.read()) yield read.value;
  } finally {
    signal.removeEventListener('abort', cancel);
    cancel();
  }
}

type Head = NonNullable<RequestPart['head']>;

/** A method or header that the hub takes may be none that a Request takes. */
function servedOf(head: Head): Served | undefined {
  try {
    return new Served(head);
  } catch {
    return undefined;
  }
}

/** A call under way: its body comes in parts. */
class Served {
  readonly request: Request;
  readonly #left = new AbortController();
  readonly #order = new InOrder<RequestPart>();
  #body: ReadableStreamDefaultController<Uint8Array> | undefined;
  /** Parts that are acknowledged when there is room again. */
  #waiting: (() => void)[] = [];

  constructor({ method, path, headers, body }: Head) {
    this.#order.take({ call: '', seq: 0 });
    const stream = body
      ? new ReadableStream<Uint8Array>({
          start: (controller) => {
            this.#body = controller;
          },
          pull: () => this.#makeRoom(),
          cancel: () => this.#end(),
        })
      : undefined;
    const list = Object.entries(headers).flatMap(([name, value]) => [value].flat().map((each) => [name, each]));
    this.request = new Request(`http://node.invalid${path}`, {
      method,
      headers: list as [string, string][], // a name and a value each
      signal: this.#left.signal,
      ...(stream && { body: stream, duplex: 'half' }),
    });
  }

  get signal(): AbortSignal {
    return this.#left.signal;
  }

  /** Resolves when there is room for the next part: with false when no more is wanted. */
  async take(part: RequestPart): Promise<boolean> {
    const due = this.#order.take(part);
    if (!due) this.abort();
    for (const { chunk, end } of due ?? []) {
      if (chunk) this.#body?.enqueue(chunk);
      if (!end) continue;
      this.#body?.close();
      this.#end();
    }
    if (due && due.length > 1) this.#makeRoom(); // for those that came early
    while (this.#body && (this.#order.isEarly(part) || (this.#body.desiredSize ?? 0) <= 0))
      await new Promise<void>((room) => this.#waiting.push(room));
    return this.#body !== undefined;
  }

  /** The caller is gone, or the call is over. */
  abort(): void {
    this.#left.abort();
    this.#body?.error(new Error('the caller is gone'));
    this.#end();
  }

  #end(): void {
    this.#body = undefined;
    this.#makeRoom();
  }

  #makeRoom(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const room of waiting) room();
  }
}

function headersOf({ headers }: Response): Record<string, string> {
  return Object.fromEntries(headers);
}
