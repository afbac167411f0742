/** Events as `text/event-stream`: what was missed first, then what happens, for as long as the reader may hear it and keeps up. */
import { Readable } from 'node:stream';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { EventType } from '../../events/catalog.ts';
import type { EventFilter } from '../../events/subscription.ts';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { Fanout } from './fanout.ts';
import { fits } from './patterns.ts';
import type { Shown } from './shown.ts';
import type { Standing } from './standing.ts';
import { viewFor } from './visible.ts';

/** Streams of one replica, and of one identity. */
const mostStreams = 500;
const mostOfIdentity = 16;
/** Bytes that wait for a reader of what happens now; a slower one is cut, and comes back with `Last-Event-ID`. */
const mostUnsent = 1024 * 1024;
/** Bytes that wait for a reader of what was missed, before more is read from the log. */
const enoughUnsent = 64 * 1024;
const heartbeatMs = 15_000;
/** How often it is asked whether an idle reader may still hear. */
const lookEveryMs = 500;

export interface StreamWish {
  /** As `meta.actor` names who listens. */
  readonly actor: string;
  readonly standing: Standing;
  readonly types: ReadonlySet<EventType>;
  readonly filter: EventFilter | undefined;
  /** Undefined: what happens from now on. */
  readonly after: number | undefined;
  /** Told of the bytes that were handed over. */
  readonly spend: (bytes: number) => void;
}

export class Streams {
  readonly #kernel: Hub['kernel'];
  readonly #fanout: Fanout;
  readonly #open = new Set<EventStream>();
  readonly #byActor = new Map<string, number>();
  readonly #stops: Cancel[];
  #closed = false;

  constructor({ kernel, readiness }: Pick<Hub, 'kernel' | 'readiness'>, fanout: Fanout) {
    this.#kernel = kernel;
    this.#fanout = fanout;
    this.#stops = [
      kernel.every(lookEveryMs, () => this.#each((stream) => stream.look())),
      kernel.every(heartbeatMs, () => this.#each((stream) => stream.beat())),
      readiness.onCutOff(() => this.#each((stream) => stream.end())),
    ];
  }

  /** How many there are. */
  get size(): number {
    return this.#open.size;
  }

  /** Its first bytes are there at once. Refuses `overloaded`, `limit_reached`, `not_ready`. */
  open(wish: StreamWish): EventStream | Refusal {
    if (this.#closed) return refuse('not_ready', 'this replica is draining');
    if (this.#open.size >= mostStreams) return refuse('overloaded', `${mostStreams} streams are open at this replica`);
    const own = this.#byActor.get(wish.actor) ?? 0;
    if (own >= mostOfIdentity) return refuse('limit_reached', `${mostOfIdentity} streams of one identity at most`);
    const stream = new EventStream(wish, this.#fanout, this.#kernel.random());
    this.#open.add(stream);
    this.#byActor.set(wish.actor, own + 1);
    stream.once('close', () => {
      this.#open.delete(stream);
      const left = this.#byActor.get(wish.actor)! - 1; // this one was counted
      if (left > 0) this.#byActor.set(wish.actor, left);
      else this.#byActor.delete(wish.actor);
    });
    return stream;
  }

  /** Ends all; none is opened any more. */
  close(): void {
    this.#closed = true;
    for (const stop of this.#stops) stop();
    this.#each((stream) => stream.end());
  }

  #each(what: (stream: EventStream) => void): void {
    for (const stream of [...this.#open]) what(stream);
  }
}

export class EventStream extends Readable {
  /** Events after this position are told. */
  readonly from: number;
  readonly #wish: StreamWish;
  readonly #fanout: Fanout;
  #stop: Cancel = () => {};
  #wanted: (() => void) | undefined;
  #ended = false;
  #spent = 0;
  /** Bytes were pushed since the last beat. */
  #busy = false;

  constructor(wish: StreamWish, fanout: Fanout, random: number) {
    super({ highWaterMark: enoughUnsent });
    this.#wish = wish;
    this.#fanout = fanout;
    this.from = wish.after ?? fanout.position;
    // All streams of a replica that goes end at once; their readers come back over two seconds.
    this.#put(Buffer.from(`retry: ${Math.round(500 + 2_000 * random)}\n\n`));
    if (wish.after === undefined) this.#goLive();
    else void this.#catchUp(wish.after).catch((error: Error) => this.destroy(error));
  }

  override _read(): void {
    this.#wanted?.();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#stop();
    this.#ended = true;
    this.#wanted?.();
    done(error);
  }

  /** Ends it when its reader may hear no more, and reports what it cost. */
  look(): void {
    if (this.#spent > 0) this.#wish.spend(this.#spent);
    this.#spent = 0;
    if (isRefusal(this.#wish.standing())) this.end();
  }

  /** Shows that it lives, to whoever is in between. */
  beat(): void {
    if (!this.#busy && this.readableLength < mostUnsent) this.#put(Buffer.from(':\n\n'));
    this.#busy = false;
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#stop();
    this.#wanted?.();
    this.push(null);
  }

  async #catchUp(after: number): Promise<void> {
    await this.#fanout.catchUp(after, {
      types: this.#wish.types,
      take: (shown) => this.#take(shown),
      ready: () => this.#roomForMore(),
      met: () => this.#goLive(),
    });
  }

  #goLive(): void {
    if (this.#ended) return;
    const take = (shown: Shown) => {
      this.#take(shown);
      if (this.readableLength > mostUnsent) this.destroy();
    };
    this.#stop = this.#fanout.add({ types: this.#wish.types, take });
  }

  #take(shown: Shown): void {
    if (this.#ended) return;
    const { standing, filter, actor } = this.#wish;
    const identity = standing();
    if (isRefusal(identity)) {
      this.end();
      return;
    }
    const name = viewFor(shown.type, identity, shown.isOf(actor));
    const view = name && shown.view(name);
    if (view && fits(filter, view.event.data as object)) this.#put(view.frame); // data of events are objects
  }

  /** Resolves when the reader took most of it; false when there is none any more. */
  async #roomForMore(): Promise<boolean> {
    while (!this.#ended && this.readableLength > enoughUnsent) {
      await new Promise<void>((wanted) => {
        this.#wanted = wanted;
      });
      this.#wanted = undefined;
    }
    return !this.#ended;
  }

  #put(bytes: Buffer): void {
    if (this.#ended) return;
    this.push(bytes);
    this.#spent += bytes.byteLength;
    this.#busy = true;
  }
}
