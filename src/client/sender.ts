/** Sends what must arrive: again over reconnects and while the hub has too much to do, until it is answered or refused. */
import type { Ack, ClientPacket, ClientPacketName } from '../protocol.ts';
import type { NodeClock } from './clock.ts';
import { HubRefusal, HubUnreachable } from './connection.ts';
import { isPassing } from './retry.ts';

/** What the parts of a node that do and hand in work need of it. */
export interface Line {
  readonly nodeId: string;
  /** Where the hub is. */
  readonly url: string;
  readonly clock: NodeClock;
  /** Of the open session; undefined while there is none. */
  token(): string | undefined;
  /** Asks in the open session. Throws `HubRefusal`, and `HubUnreachable`, also when there is no session. */
  ask<N extends ClientPacketName>(name: N, packet: ClientPacket<N>, timeoutMs?: number): Promise<Ack<N>>;
  /** Something went wrong and cannot be told to anyone who asked. */
  trouble(error: Error): void;
  /** Of what is sent just now. */
  readonly traceparent?: (() => string | undefined) | undefined;
}

/** Packets under way at once: well below what a hub takes of one connection, so that heartbeats find a place. */
const mostUnderWay = 128;
/** Packets that wait for a place. */
const mostWaiting = 10_000;
const backoffFirstMs = 100;
const backoffMaxMs = 5_000;

export class Sender {
  readonly #line: Line;
  #underWay = 0;
  readonly #queue: (() => void)[] = [];
  /** Of those that wait for a moment to pass, or for a session. */
  readonly #wakes = new Set<() => void>();
  /** The hub asked to wait until then, by the clock's monotonic milliseconds. */
  #pausedUntil = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(line: Line) {
    this.#line = line;
  }

  /**
   * Asks until the hub answers, at most for `patienceMs`. What is sent must be harmless to do twice. Throws `HubRefusal`, or
   * `HubUnreachable` when patience is at its end: whether it was done is not known then. `turned`: there is another way now, so that
   * what the hub did not answer is not tried again.
   */
  async send<N extends ClientPacketName>(
    name: N,
    packet: ClientPacket<N>,
    patienceMs: number,
    turned = () => false,
  ): Promise<Ack<N>> {
    const { clock } = this.#line;
    const until = clock.monotonicMs() + patienceMs;
    for (let tries = 0; ; tries++) {
      try {
        return await this.once(name, packet);
      } catch (error) {
        if (!this.#isTransient(error) || turned()) throw error;
        const backoffMs = Math.min(backoffMaxMs, backoffFirstMs * 2 ** Math.min(tries, 16));
        const asked = error instanceof HubRefusal ? (error.retryAfterMs ?? 0) : 0;
        const leftMs = until - clock.monotonicMs();
        if (leftMs <= asked) throw error;
        // The last try is when patience ends: a session that opens before then is not missed.
        await this.#wait(Math.min(asked + backoffMs * (0.5 + clock.random()), leftMs));
      }
    }
  }

  /** Asks once, when there is a place and the hub has not asked to wait. Throws as a connection does. */
  async once<N extends ClientPacketName>(name: N, packet: ClientPacket<N>): Promise<Ack<N>> {
    await this.#place();
    try {
      const { clock } = this.#line;
      for (let ms = this.#pauseMs(); ms > 0 && !this.#closed; ms = this.#pauseMs()) {
        await new Promise<void>((resolve) => void clock.after(ms, resolve));
      }
      if (this.#closed) throw new HubUnreachable('this node was closed');
      return await this.#line.ask(name, packet);
    } catch (error) {
      if (error instanceof HubRefusal && error.code === 'rate_limited')
        this.#pause(error.retryAfterMs ?? backoffFirstMs);
      throw error;
    } finally {
      this.#leave();
    }
  }

  /** There is a session, or another way: those that wait try again at once. */
  opened(): void {
    for (const wake of [...this.#wakes]) wake();
  }

  /** Gives up what is not answered. */
  close(): void {
    this.#closed = true;
    this.opened();
  }

  #isTransient(error: unknown): boolean {
    if (this.#closed) return false;
    return isPassing(error);
  }

  /** All wait, not only the one that was told: the allowance is the node's. */
  #pause(ms: number): void {
    this.#pausedUntil = Math.max(this.#pausedUntil, this.#line.clock.monotonicMs() + ms);
  }

  #pauseMs(): number {
    return this.#pausedUntil - this.#line.clock.monotonicMs();
  }

  async #place(): Promise<void> {
    if (this.#underWay < mostUnderWay) {
      this.#underWay++;
      return;
    }
    if (this.#queue.length >= mostWaiting)
      throw new HubRefusal('overloaded', `${mostWaiting} packets of this node wait to be sent`);
    await new Promise<void>((go) => this.#queue.push(go)); // whoever leaves hands its place on
  }

  #leave(): void {
    const next = this.#queue.shift();
    if (next) next();
    else this.#underWay--;
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        cancel();
        this.#wakes.delete(wake);
        resolve();
      };
      const cancel = this.#line.clock.after(ms, wake);
      this.#wakes.add(wake);
    });
  }
}
