/** Events by pattern: asked for in every session anew, from where the listener had come to, so that none is missed and none comes twice. */
import type { ClientPacket, HubPacket } from '../protocol.ts';
import type { NodeClock } from './clock.ts';
import { HubRefusal } from './connection.ts';
import { isPassing, retryInMs } from './retry.ts';

/** A CloudEvent. What this node may not see is left out of its data. */
export type FederationEvent = HubPacket<'federation:event'>['event'];

export interface SubscribeOptions {
  /** Members that the data must have: `{ node_id: 'a' }`. They are compared as text. */
  readonly filter?: ClientPacket<'federation:subscribe'>['filter'];
  /** First what happened after this position; left out: what happens from now on. */
  readonly after?: number;
}

export interface EventSubscription {
  /** Everything up to here was handed to the listener. Keep it to pass as `after` later. */
  readonly position: number;
  unsubscribe(): Promise<void>;
}

export interface SubscriberParts {
  readonly clock: NodeClock;
  /** Rejects with `HubRefusal` or `HubUnreachable`. */
  subscribe(packet: ClientPacket<'federation:subscribe'>): Promise<{ subscription: string; position: number }>;
  unsubscribe(subscription: string): Promise<unknown>;
  /** There is a session to ask in. */
  connected(): boolean;
  trouble(error: Error): void;
  /** A durable subscription of this node was paused by the hub. */
  paused(event: FederationEvent): void;
  /** Calls the program's listener; what it throws is the program's defect. */
  hand(listener: (event: FederationEvent) => void, event: FederationEvent): void;
}

interface Entry {
  readonly key: string;
  readonly wish: Omit<ClientPacket<'federation:subscribe'>, 'after'>;
  readonly listener: (event: FederationEvent) => void;
  /** As the hub knows it in this session. */
  id: string | undefined;
  position: number | undefined;
  gone: boolean;
  /** Grows with each time that the hub is asked for it: what became of the time before does not matter. */
  turn: number;
  /** Calls off asking again. */
  cancel: () => void;
  settle: { done(): void; failed(error: Error): void } | undefined;
}

/** Events that came before the answer that says whose they are. */
const earlyMax = 1_000;

export class Subscriber {
  readonly #parts: SubscriberParts;
  readonly #entries = new Map<string, Entry>();
  #asking = 0;
  #early: HubPacket<'federation:event'>[] = [];

  constructor(parts: SubscriberParts) {
    this.#parts = parts;
  }

  /** Resolves when the hub has it. Waits for a session, and for a hub that has no time now; rejects with `HubRefusal`, and a `TypeError` for what is subscribed to already. */
  async subscribe(
    patterns: readonly string[],
    listener: (event: FederationEvent) => void,
    { filter, after }: SubscribeOptions = {},
  ): Promise<EventSubscription> {
    const wish = { patterns: [...patterns], ...(filter && { filter }) };
    const key = JSON.stringify([[...patterns].sort(), Object.entries(filter ?? {}).sort()]);
    if (this.#entries.has(key)) throw new TypeError('this is subscribed to already');
    const entry: Entry = {
      key,
      wish,
      listener,
      id: undefined,
      position: after,
      gone: false,
      turn: 0,
      cancel: () => {},
      settle: undefined,
    };
    this.#entries.set(key, entry);
    await new Promise<void>((done, failed) => {
      entry.settle = { done, failed };
      if (this.#parts.connected()) void this.#ask(entry);
    });
    return {
      get position() {
        return entry.position!; // known since the hub answered
      },
      unsubscribe: () => this.#end(entry),
    };
  }

  /** A session is open: what was subscribed to is asked for from where it was. */
  opened(): void {
    this.#early = [];
    for (const entry of this.#entries.values()) entry.id = undefined;
    for (const entry of this.#entries.values()) void this.#ask(entry);
  }

  /** The log was restored to before what was seen. */
  rewind(position: number): void {
    for (const entry of this.#entries.values()) {
      if (entry.position !== undefined) entry.position = Math.min(entry.position, position);
    }
  }

  hear(packet: HubPacket<'federation:event'>): void {
    const entry = [...this.#entries.values()].find(({ id }) => id === packet.subscription);
    if (entry) this.#hand(entry, packet.event);
    else if (this.#asking > 0 && this.#early.length < earlyMax) this.#early.push(packet);
    else if (packet.event.type === 'subscription.paused') this.#parts.paused(packet.event);
  }

  /** No session comes any more. */
  close(error: Error): void {
    for (const { settle, cancel } of this.#entries.values()) {
      cancel();
      settle?.failed(error);
    }
    this.#entries.clear();
  }

  async #ask(entry: Entry, failures = 0): Promise<void> {
    const { position: after, wish } = entry;
    entry.cancel();
    const turn = ++entry.turn;
    this.#asking++;
    try {
      const { subscription, position } = await this.#parts.subscribe({
        ...wish,
        ...(after !== undefined && { after }),
      });
      entry.id = subscription;
      entry.position ??= position;
      entry.settle?.done();
      entry.settle = undefined;
    } catch (error) {
      if (turn === entry.turn && !entry.gone) this.#failed(entry, error, failures);
    } finally {
      this.#asking--;
      const early = this.#early;
      this.#early = [];
      for (const packet of early) this.hear(packet);
    }
  }

  /** A hub that refuses will refuse again; one that has no time for it now, or does not answer, is asked again. */
  #failed(entry: Entry, error: unknown, failures: number): void {
    if (isPassing(error)) {
      const { clock, connected } = this.#parts;
      const asked = error instanceof HubRefusal ? error.retryAfterMs : undefined;
      entry.cancel = clock.after(retryInMs(failures, asked, clock.random()), () => {
        if (connected()) void this.#ask(entry, failures + 1); // else the next session asks
      });
      return;
    }
    const refusal = error instanceof Error ? error : new Error(String(error));
    this.#entries.delete(entry.key);
    if (entry.settle) entry.settle.failed(refusal);
    else this.#parts.trouble(refusal);
    entry.settle = undefined;
  }

  #hand(entry: Entry, event: FederationEvent): void {
    if (entry.gone || (entry.position !== undefined && event.position <= entry.position)) return;
    entry.position = event.position;
    this.#parts.hand(entry.listener, event);
  }

  async #end(entry: Entry): Promise<void> {
    if (entry.gone) return;
    entry.gone = true;
    entry.cancel();
    this.#entries.delete(entry.key);
    if (entry.id !== undefined && this.#parts.connected()) await this.#parts.unsubscribe(entry.id);
  }
}
