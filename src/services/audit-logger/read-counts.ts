/** Ordinary reads, counted by who read and by the minute. */
import { isoTime, type Kernel } from '../../kernel.ts';
import { minuteOf } from './minute.ts';
import type { Fact } from './writer.ts';

/** Actors of one minute that are counted each by itself; the others are counted as one. */
export const actorsLimit = 10_000;

export class ReadCounts {
  readonly #kernel: Kernel;
  readonly #counts = new Map<string, number>();
  #minute: number;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.#minute = minuteOf(kernel.now());
  }

  add(actor: string): void {
    const counted = this.#counts.has(actor) || this.#counts.size < actorsLimit ? actor : 'various';
    this.#counts.set(counted, (this.#counts.get(counted) ?? 0) + 1);
  }

  /** The counts of a minute that is over. */
  due(): Fact[] {
    return minuteOf(this.#kernel.now()) === this.#minute ? [] : this.all();
  }

  /** Everything that was counted and not given out yet. */
  all(): Fact[] {
    const minute = isoTime(this.#minute * 60_000);
    const facts = Array.from(
      this.#counts,
      ([actor, reads]): Fact => ({
        type: 'audit.reads-counted',
        data: { actor, minute, reads },
      }),
    );
    this.#counts.clear();
    this.#minute = minuteOf(this.#kernel.now());
    return facts;
  }
}
