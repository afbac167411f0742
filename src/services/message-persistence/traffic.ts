/** Counts messages that are not kept, by minute and pair, and writes down the minutes that are over. */
import type { Hub } from '../../hub.ts';
import { type Cancel, isoTime } from '../../kernel.ts';

const minuteMs = 60_000;
/** Pairs of one minute that are counted each by itself; the others are counted as one. */
const mostPairs = 10_000;
/** Facts of one append. */
const together = 500;

interface Count {
  readonly from: string;
  readonly to: string;
  messages: number;
  bytes: number;
}

export class Traffic {
  readonly #hub: Pick<Hub, 'executor' | 'kernel'>;
  readonly #stop: Cancel;
  #pairs = new Map<string, Count>();
  #minute: number;

  constructor(hub: Pick<Hub, 'executor' | 'kernel'>) {
    this.#hub = hub;
    this.#minute = Math.floor(hub.kernel.now() / minuteMs);
    this.#stop = hub.kernel.every(1_000, () => void this.#look());
  }

  add(from: string, to: string, bytes: number): void {
    const count = this.#counted(from, to);
    count.messages++;
    count.bytes += bytes;
  }

  /** Writes down what is counted. */
  async close(): Promise<void> {
    this.#stop();
    await this.#write();
  }

  #counted(from: string, to: string): Count {
    const pair = `${from} ${to}`;
    const known = this.#pairs.get(pair);
    if (known) return known;
    if (this.#pairs.size >= mostPairs && from !== 'various') return this.#counted('various', 'various');
    const count = { from, to, messages: 0, bytes: 0 };
    this.#pairs.set(pair, count);
    return count;
  }

  async #look(): Promise<void> {
    if (Math.floor(this.#hub.kernel.now() / minuteMs) !== this.#minute) await this.#write();
  }

  async #write(): Promise<void> {
    const { executor, kernel } = this.#hub;
    const minute = isoTime(this.#minute * minuteMs);
    const counts = [...this.#pairs.values()];
    this.#pairs = new Map();
    this.#minute = Math.floor(kernel.now() / minuteMs);
    for (let at = 0; at < counts.length; at += together) {
      const facts = counts
        .slice(at, at + together)
        .map((count) => ({ type: 'messages.counted' as const, data: { ...count, minute } }));
      try {
        await executor.note('traffic', facts, { actor: 'hub' });
      } catch (error) {
        kernel.log.warn({ err: error, pairs: facts.length }, 'messages of a minute were not counted');
      }
    }
  }
}
