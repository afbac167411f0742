/**
 * Whether this replica may act: it must confirm the log's head again and again.
 *
 * Cut off from the log for 2 s it refuses writes; after 10 s it lets its sessions go, so that nodes go elsewhere.
 */
import { type Refusal, refuse } from './errors.ts';
import type { EventLog } from './events/log.ts';
import type { Cancel, Kernel } from './kernel.ts';

const checkEveryMs = 500;
const refuseWritesAfterMs = 2_000;
const dropSessionsAfterMs = 10_000;

export class Readiness {
  readonly #kernel: Kernel;
  readonly #log: EventLog;
  readonly #cancel: Cancel;
  readonly #onCutOff = new Set<() => void>();
  #confirmed: number;
  #checking = false;
  #dropped = false;
  #phase: 'starting' | 'ready' | 'draining' = 'starting';

  constructor(kernel: Kernel, log: EventLog) {
    this.#kernel = kernel;
    this.#log = log;
    this.#confirmed = kernel.monotonicMs();
    this.#cancel = kernel.every(checkEveryMs, () => void this.#check());
  }

  /** Milliseconds since the log's head was last confirmed. */
  get cutOffMs(): number {
    return this.#kernel.monotonicMs() - this.#confirmed;
  }

  get phase(): 'starting' | 'ready' | 'draining' | 'cut_off' {
    return this.#phase === 'ready' && this.cutOffMs > refuseWritesAfterMs ? 'cut_off' : this.#phase;
  }

  /** Why a write is refused now; undefined when it is not. */
  refusal(): Refusal | undefined {
    const phase = this.phase;
    return phase === 'ready' ? undefined : refuse('not_ready', `this replica is ${phase.replace('_', ' ')}`, { phase });
  }

  ready(): void {
    this.#phase = 'ready';
  }

  drain(): void {
    this.#phase = 'draining';
  }

  /** Called once each time the replica was cut off for so long that its sessions must go. */
  onCutOff(listener: () => void): () => void {
    this.#onCutOff.add(listener);
    return () => this.#onCutOff.delete(listener);
  }

  close(): void {
    this.#cancel();
  }

  async #check(): Promise<void> {
    if (this.cutOffMs > dropSessionsAfterMs && !this.#dropped) {
      this.#dropped = true;
      for (const listener of this.#onCutOff) listener();
    }
    if (this.#checking) return;
    this.#checking = true;
    try {
      await this.#log.head();
      this.#confirmed = this.#kernel.monotonicMs();
      this.#dropped = false;
    } catch (error) {
      this.#kernel.log.warn({ err: error, cutOffMs: Math.round(this.cutOffMs) }, 'the log does not answer');
    } finally {
      this.#checking = false;
    }
  }
}
