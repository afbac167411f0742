/** Nodes that ask for mail over HTTP and wait until there is some. */
import type { Cancel, Kernel } from '../../kernel.ts';

/** Requests that wait at this replica, and those of one node. */
const mostWaiting = 1_000;
const mostOfOne = 8;

export class Callers {
  readonly #kernel: Pick<Kernel, 'after'>;
  readonly #waiting = new Map<string, Set<(arrived: boolean) => void>>();
  #count = 0;
  #closed = false;

  constructor(kernel: Pick<Kernel, 'after'>) {
    this.#kernel = kernel;
  }

  /** Resolves with true when a node has mail; with false after `ms`, when whoever asks is gone, and at once when too many wait already. */
  wait(nodeId: string, ms: number, signal: AbortSignal): Promise<boolean> {
    const own = this.#waiting.get(nodeId) ?? new Set();
    const full = this.#count >= mostWaiting || own.size >= mostOfOne;
    if (ms <= 0 || signal.aborted || this.#closed || full) return Promise.resolve(false);
    return new Promise((resolve) => {
      let late: Cancel = () => {};
      const gone = () => settle(false);
      const settle = (arrived: boolean) => {
        late();
        signal.removeEventListener('abort', gone);
        own.delete(settle);
        if (own.size === 0) this.#waiting.delete(nodeId);
        this.#count--;
        resolve(arrived);
      };
      late = this.#kernel.after(ms, gone);
      signal.addEventListener('abort', gone);
      this.#waiting.set(nodeId, own.add(settle));
      this.#count++;
    });
  }

  /** Mail came for a node. */
  arrived(nodeId: string): void {
    for (const settle of [...(this.#waiting.get(nodeId) ?? [])]) settle(true);
  }

  close(): void {
    this.#closed = true;
    for (const own of [...this.#waiting.values()]) for (const settle of [...own]) settle(false);
  }
}
