/**
 * Locks on uploads and blobs, over all replicas: in this process by turns, between replicas by lease, which a dead one loses after three
 * seconds. Whoever waits for one asks its holder to let go, wherever it is. Whoever holds one looks at `held` before each thing that it
 * does under it.
 */
import type { Cancel, Kernel } from '../../kernel.ts';
import type { Lease, Leases } from '../../lease.ts';
import type { WebsocketPool } from '../websocket-pool.ts';

/** Whoever writes has not the lock any more: another may write there by now. */
export class LockLost extends Error {}

export interface Lock {
  /** False when the lease was lost: another replica may have it by now. */
  held(): boolean;
  release(): Promise<void>;
}

interface Holder {
  /** Asks the holder to let go of it. */
  readonly wanted: () => void;
  readonly lease: Lease;
  readonly released: Promise<void>;
}

type Cluster = WebsocketPool['cluster'];
type Clock = Pick<Kernel, 'monotonicMs' | 'after' | 'every'>;

interface Word {
  readonly name: string;
}

/** How long a lock is waited for: longer than a dead replica's lease. */
const patienceMs = 6_000;
/** How often the other replicas are asked meanwhile: a word may be lost, and the holder change. */
const askEveryMs = 500;
/** The answer is not waited for. */
const answerMs = 1_000;
const topic = 'file-lock';

export class Locks {
  readonly #leases: Leases;
  readonly #kernel: Clock;
  readonly #cluster: Cluster;
  readonly #stop: Cancel;
  /** At most as many as requests under way. */
  readonly #holders = new Map<string, Holder>();

  constructor(leases: Leases, kernel: Clock, cluster: Cluster) {
    this.#leases = leases;
    this.#kernel = kernel;
    this.#cluster = cluster;
    this.#stop = cluster.handle(topic, (word) => {
      const holder = this.#holders.get((word as Word).name); // as `#gets` says it
      if (!holder?.lease.held()) return undefined; // it waits as well
      holder.wanted();
      return Promise.resolve({});
    });
  }

  close(): void {
    this.#stop();
  }

  /** Undefined when it was not to be had within six seconds. `wanted` is called, maybe often, when another wants it. */
  async take(name: string, wanted: () => void = () => {}, patience = patienceMs): Promise<Lock | undefined> {
    const until = this.#kernel.monotonicMs() + patience;
    for (let holder = this.#holders.get(name); holder; holder = this.#holders.get(name)) {
      holder.wanted();
      const isFree = await this.#within(holder.released, until - this.#kernel.monotonicMs());
      if (!isFree) return undefined;
    }
    let done = () => {};
    const released = new Promise<void>((resolve) => {
      done = resolve;
    });
    const lease = this.#leases.acquire(name);
    this.#holders.set(name, { wanted, lease, released });
    const release = async () => {
      await lease.release('forget');
      this.#holders.delete(name);
      done();
    };
    if (await this.#gets(lease, until)) return { held: () => lease.held(), release };
    await release();
    return undefined;
  }

  /** Does something under a lock; undefined when it was not to be had. */
  async with<T>(name: string, work: (lock: Lock) => Promise<T>): Promise<{ readonly done: T } | undefined> {
    const lock = await this.take(name);
    if (!lock) return undefined;
    try {
      return { done: await work(lock) };
    } finally {
      await lock.release();
    }
  }

  async #gets(lease: Lease, until: number): Promise<boolean> {
    if (lease.held()) return true;
    const asking = this.#kernel.every(askEveryMs, () => {
      const word: Word = { name: lease.name };
      void this.#cluster.ask(undefined, topic, word, answerMs).catch(() => {}); // asked again soon
    });
    let stop: Cancel = () => {};
    const held = new Promise<void>((resolve) => {
      stop = lease.onChange((now) => now && resolve());
    });
    await this.#within(held, until - this.#kernel.monotonicMs());
    asking();
    stop();
    return lease.held();
  }

  async #within(event: Promise<void>, ms: number): Promise<boolean> {
    let cancel: Cancel = () => {};
    const late = new Promise<false>((resolve) => {
      cancel = this.#kernel.after(ms, () => resolve(false));
    });
    const came = await Promise.race([event.then(() => true), late]);
    cancel();
    return came;
  }
}
