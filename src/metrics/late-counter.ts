/** Counts that are made into counters when they are asked for: what is told costs a tenth of what it costs with prom-client's own. */
import { Counter, type Registry } from 'prom-client';

export interface LateCounter {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  /** Read at each scrape. */
  readonly counts: () => Iterable<readonly [values: string, count: number]>;
}

export function countLate(registry: Registry, { name, help, labels, counts }: LateCounter): void {
  new Counter({
    name,
    help,
    labelNames: [...labels],
    registers: [registry],
    collect() {
      this.reset();
      for (const [key, value] of counts()) {
        const values = key.split(' ');
        this.inc(Object.fromEntries(labels.map((label, at) => [label, values[at]!])), value);
      }
    },
  });
}

export function count(counts: Map<string, number>, values: string, more = 1): void {
  counts.set(values, (counts.get(values) ?? 0) + more);
}
