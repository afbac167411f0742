/**
 * Locks on uploads and blobs, over all replicas: in this process by turns, between replicas by lease, which a dead one loses after three
 * seconds. Whoever holds one looks at `held` before each thing that it does under it.
 */
import type { Cancel, Kernel } from '../../kernel.ts';
import type { Lease, Leases } from '../../lease.ts';

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
  readonly released: Promise<void>;
}

/** How long a lock is waited for: longer than a dead replica's lease. */
const patienceMs = 6_000;

export class Locks {
  readonly #leases: Leases;
  readonly #kernel: Pick<Kernel, 'monotonicMs' | 'after'>;
  /** At most as many as requests under way. */
  readonly #holders = new Map<string, Holder>();

  constructor(leases: Leases, kernel: Pick<Kernel, 'monotonicMs' | 'after'>) {
    this.#leases = leases;
    this.#kernel = kernel;
  }

  /** Undefined when it was not to be had within six seconds. `wanted` is called when another wants it here. */
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
    this.#holders.set(name, { wanted, released });
    const lease = this.#leases.acquire(name);
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
    let stop: Cancel = () => {};
    const held = new Promise<void>((resolve) => {
      stop = lease.onChange((now) => now && resolve());
    });
    await this.#within(held, until - this.#kernel.monotonicMs());
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
