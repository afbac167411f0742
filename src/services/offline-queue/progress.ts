/** How far the log was followed here, and who waits until it was followed further. */
import type { Cancel, Kernel } from '../../kernel.ts';

const longestMs = 2_000;

interface Waiter {
  readonly position: number;
  readonly reached: () => void;
}

export class Progress {
  readonly #kernel: Pick<Kernel, 'after'>;
  readonly #waiting = new Set<Waiter>();
  #position: number;

  constructor(kernel: Pick<Kernel, 'after'>, position: number) {
    this.#kernel = kernel;
    this.#position = position;
  }

  /** All of the log up to here was taken. */
  get position(): number {
    return this.#position;
  }

  /** Nothing up to here is missing any more. */
  reached(position: number): void {
    this.#position = Math.max(this.#position, position);
    for (const waiter of this.#waiting) {
      if (waiter.position > this.#position) continue;
      this.#waiting.delete(waiter);
      waiter.reached();
    }
  }

  /** Calls back at a position; at once when it was reached. There are as many as messages on their way through the log. */
  at(position: number, reached: () => void): Cancel {
    if (position <= this.#position) {
      reached();
      return () => {};
    }
    const waiter = { position, reached };
    this.#waiting.add(waiter);
    return () => void this.#waiting.delete(waiter);
  }

  /** Whether a position is reached, at the latest after two seconds. */
  waitFor(position: number): Promise<boolean> {
    if (position <= this.#position) return Promise.resolve(true);
    return new Promise((resolve) => {
      const late = this.#kernel.after(longestMs, () => {
        cancel();
        resolve(false);
      });
      const cancel = this.at(position, () => {
        late();
        resolve(true);
      });
    });
  }
}
