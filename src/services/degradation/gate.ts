/**
 * How much a replica has under way at once: what comes beyond that waits at the door for a moment, then is turned away.
 *
 * Work that lasts longer than a second (streams, waiting for a task, transfers) is no burden on the event loop, and does not count. The
 * bound follows the delay of the loop: down while it is late, up slowly while all places are taken and it is not. P2 has half of
 * the places. What is begun in one turn of the loop is bounded too: heartbeats, which come in between, are not to wait for all that was
 * asked at once. The queue is judged as CoDel does: while it is empty from time to time, whoever waits may wait a second, so that a
 * burst is served; one that stands, or turned somebody away a moment ago, gives a quarter of that: what waits there only grows old.
 */
import type { Cancel, Kernel } from '../../kernel.ts';

/** `may`: may be turned away, in this order: `p2` first. `must`: never is, but counts. */
export type Rank = 'p2' | 'other' | 'must';

export interface GateOptions {
  readonly places: { readonly first: number; readonly least: number; readonly most: number };
  /** Waiting at most; beyond that whoever comes is turned away at once. */
  readonly queue: number;
}

const defaults: GateOptions = { places: { first: 64, least: 32, most: 1_024 }, queue: 512 };

/** Milliseconds. */
const patience = { burst: 1_000, standing: 250 };
const youngMs = 1_000;
const slices = 10;
const sliceMs = youngMs / slices;
const lookEveryMs = 25;
/** The bound is judged each so many looks: it falls by their delay on average, and rises when none was late. */
const looks = 4;
const lateMs = 25;
const timelyMs = 10;
/** What is begun in one turn of the loop may take so long. */
const turnMs = 8;
/** Of those that wait, so many are let in at once. */
const begunAtOnce = 8;
const shareOfP2 = 0.5;
/** So many times the places are there for who cannot wait: a node of the SDK has 128 packets under way. */
const further = 4;

interface Waiting {
  readonly since: number;
  readonly settle: (place: number | undefined) => void;
}

export interface GateCounts {
  /** That may be turned away and were let in. */
  readonly entered: number;
  readonly refused: number;
}

export class Gate {
  readonly #kernel: Pick<Kernel, 'monotonicMs' | 'every' | 'after'>;
  readonly #options: GateOptions;
  /** Of those under way, how many came in each tenth of the last second. */
  readonly #came = new Uint32Array(slices);
  #slice = 0;
  #young = 0;
  #limit: number;
  #peak = 0;
  readonly #queues: Record<'p2' | 'other', Waiting[]> = { p2: [], other: [] };
  /** When nobody waited last. */
  #emptyAt: number;
  /** When somebody was turned away last. */
  #refusedAt = -Infinity;
  #entered = 0;
  #refused = 0;
  #lookedAt: number;
  /** The delays of the looks since the bound was judged. */
  readonly #delays: number[] = [];
  /** When the first began that was begun in this turn of the loop. */
  #turnBegan: number | undefined;
  readonly #stop: Cancel;

  constructor(kernel: Pick<Kernel, 'monotonicMs' | 'every' | 'after'>, options: GateOptions = defaults) {
    this.#kernel = kernel;
    this.#options = options;
    this.#limit = options.places.first;
    this.#emptyAt = this.#lookedAt = kernel.monotonicMs();
    this.#stop = kernel.every(lookEveryMs, () => this.#look());
  }

  /** Under way, and not older than a second. */
  get young(): number {
    return this.#young;
  }

  get limit(): number {
    return this.#limit;
  }

  get waiting(): number {
    return this.#queues.p2.length + this.#queues.other.length;
  }

  /** A place, to be given back with `leave`; undefined: there is none. With `wait`, it may take a moment to know. */
  enter(rank: Rank, wait: boolean): number | undefined | Promise<number | undefined> {
    const now = this.#turn();
    if (rank === 'must') return this.#take();
    if (this.#limit === Infinity) return this.#let();
    // Who cannot wait may go further: what comes over a socket keeps its order.
    const room = wait
      ? this.#room(rank) && this.#queues[rank].length === 0
      : this.#young < further * this.#placesOf(rank);
    if (room && (!wait || this.#mayBegin(now))) return this.#let();
    if (!wait || this.waiting >= this.#options.queue) {
      this.#refuse(now);
      return undefined;
    }
    if (this.waiting === 0) this.#emptyAt = now;
    return new Promise((settle) => this.#queues[rank].push({ since: now, settle }));
  }

  leave(place: number): void {
    this.#turn();
    if (place > this.#slice - slices) {
      this.#came[place % slices]!--;
      this.#young--;
    }
    if (this.waiting > 0) this.#admit(1);
  }

  /** What came since this was called last. */
  take(): GateCounts {
    const counts = { entered: this.#entered, refused: this.#refused };
    this.#entered = this.#refused = 0;
    return counts;
  }

  /** Lets everyone in that waits, and bounds nothing more. */
  close(): void {
    this.#stop();
    this.#limit = Infinity;
    for (const { settle } of [...this.#queues.other.splice(0), ...this.#queues.p2.splice(0)]) settle(this.#let());
  }

  #placesOf(rank: 'p2' | 'other'): number {
    return rank === 'p2' ? this.#limit * shareOfP2 : this.#limit;
  }

  #room(rank: 'p2' | 'other'): boolean {
    return this.#young < this.#placesOf(rank);
  }

  /** Whether more may be begun in this turn of the loop; what may not waits for the next. */
  #mayBegin(now: number): boolean {
    if (this.#turnBegan === undefined) {
      this.#turnBegan = now;
      this.#kernel.after(0, () => {
        this.#turnBegan = undefined;
        if (this.waiting > 0) this.#admit();
      });
    }
    return now - this.#turnBegan < turnMs;
  }

  #refuse(now: number): void {
    this.#refused++;
    this.#refusedAt = now;
  }

  #let(): number {
    this.#entered++;
    return this.#take();
  }

  #take(): number {
    this.#came[this.#slice % slices]!++;
    this.#young++;
    if (this.#young > this.#peak) this.#peak = this.#young;
    return this.#slice;
  }

  /** Forgets what came more than a second ago. */
  #turn(): number {
    const now = this.#kernel.monotonicMs();
    const at = Math.floor(now / sliceMs);
    for (let left = Math.min(slices, at - this.#slice); left > 0; left--) {
      const oldest = (at - left + 1) % slices;
      this.#young -= this.#came[oldest]!;
      this.#came[oldest] = 0;
    }
    if (at > this.#slice) this.#slice = at;
    return now;
  }

  #look(): void {
    const now = this.#turn();
    this.#delays.push(now - this.#lookedAt - lookEveryMs);
    this.#lookedAt = now;
    if (this.#delays.length === looks) this.#judge(this.#delays.splice(0));
    if (this.waiting > 0) this.#admit();
  }

  #judge(delays: readonly number[]): void {
    const { least, most } = this.#options.places;
    const average = delays.reduce((sum, each) => sum + each, 0) / delays.length;
    if (average > lateMs) this.#limit = Math.max(least, Math.floor(this.#limit * 0.8));
    else if (Math.max(...delays) < timelyMs && this.#peak >= this.#limit * 0.8) {
      this.#limit = Math.min(most, this.#limit + Math.ceil(this.#limit / 16));
    }
    this.#peak = this.#young;
  }

  /** Lets in whom there is room for, those above P2 first, and sends away who waited too long. */
  #admit(count = begunAtOnce): void {
    const now = this.#kernel.monotonicMs();
    let left = count;
    const stands = now - this.#emptyAt > patience.burst || now - this.#refusedAt < patience.burst;
    const most = stands ? patience.standing : patience.burst;
    for (const rank of ['other', 'p2'] as const) {
      const queue = this.#queues[rank];
      let gone = 0;
      for (const { since, settle } of queue) {
        if (now - since > most) {
          this.#refuse(now);
          settle(undefined);
        } else if (left > 0 && this.#room(rank) && this.#mayBegin(now)) {
          left--;
          settle(this.#let());
        } else break;
        gone++;
      }
      if (gone > 0) queue.splice(0, gone);
    }
    if (this.waiting === 0) this.#emptyAt = now;
  }
}
