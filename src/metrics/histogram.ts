/**
 * A histogram that costs a tenth of prom-client's to be told something, and remembers for each bucket the last trace that fell into it.
 *
 * Values of labels come as one text, with a space between, so none may hold a space. What is told is a closed set, so there is no bound on series.
 */

/** The last of a bucket that was traced: an exemplar of OpenMetrics. */
interface Exemplar {
  readonly traceId: string;
  readonly value: number;
  /** Seconds since 1970. */
  readonly at: number;
}

interface Series {
  /** How many fell into each bucket, and into none. Not cumulative. */
  readonly counts: number[];
  readonly exemplars: (Exemplar | undefined)[];
  sum: number;
}

export interface HistogramAbout {
  readonly name: string;
  readonly help: string;
  /** Upper bounds, growing; what is beyond the last counts as infinite. */
  readonly buckets: readonly number[];
  readonly labels: readonly string[];
}

export class Histogram {
  readonly #about: HistogramAbout;
  readonly #now: () => number;
  readonly #series = new Map<string, Series>();

  /** @param now milliseconds since 1970. */
  constructor(about: HistogramAbout, now: () => number) {
    this.#about = about;
    this.#now = now;
    if (about.labels.length === 0) this.#of('');
  }

  /** `values` of the labels, in their order. `traceId`: of the trace that it belongs to, if one is recorded. */
  observe(values: string, seconds: number, traceId?: string): void {
    const series = this.#of(values);
    const bucket = this.#bucketOf(seconds);
    series.counts[bucket]!++; // one for each bucket and one more
    series.sum += seconds;
    if (traceId !== undefined) series.exemplars[bucket] = { traceId, value: seconds, at: this.#now() / 1000 };
  }

  /** Adds all of another histogram whose bounds hold all of these; `name` says as what, and undefined what is left out. */
  add(other: Histogram, name: (values: string) => string | undefined): void {
    const buckets = [...other.#about.buckets.map((bound) => this.#bucketOf(bound)), this.#about.buckets.length];
    for (const [values, { counts, exemplars, sum }] of other.#series) {
      const named = name(values);
      if (named === undefined) continue;
      const into = this.#of(named);
      into.sum += sum;
      for (const [at, bucket] of buckets.entries()) {
        into.counts[bucket]! += counts[at]!; // as many as it has buckets
        const exemplar = exemplars[at];
        if (exemplar && exemplar.at >= (into.exemplars[bucket]?.at ?? 0)) into.exemplars[bucket] = exemplar;
      }
    }
  }

  /** In the text format of Prometheus, or in OpenMetrics, which alone has exemplars. */
  text(format: 'text' | 'openmetrics'): string {
    const { name, help } = this.#about;
    const open = format === 'openmetrics';
    const lines = [`# HELP ${name} ${help}`, `# TYPE ${name} histogram`];
    for (const [values, { counts, exemplars, sum }] of this.#series) {
      const labels = this.#labels(values);
      let count = 0;
      for (const [at, more] of counts.entries()) {
        count += more;
        const exemplar = open ? shown(exemplars[at]) : '';
        lines.push(`${name}_bucket{${[`le="${this.#bound(at, open)}"`, ...labels].join(',')}} ${count}${exemplar}`);
      }
      const braced = labels.length === 0 ? '' : `{${labels.join(',')}}`;
      lines.push(`${name}_sum${braced} ${sum}`, `${name}_count${braced} ${count}`);
    }
    return `${lines.join('\n')}\n`;
  }

  #of(values: string): Series {
    let series = this.#series.get(values);
    if (!series) {
      const buckets = this.#about.buckets.length + 1;
      series = { counts: new Array<number>(buckets).fill(0), exemplars: new Array(buckets).fill(undefined), sum: 0 };
      this.#series.set(values, series);
    }
    return series;
  }

  #bucketOf(seconds: number): number {
    const { buckets } = this.#about;
    for (let at = 0; at < buckets.length; at++) if (seconds <= buckets[at]!) return at;
    return buckets.length;
  }

  /** OpenMetrics writes bounds as floats. */
  #bound(at: number, open: boolean): string {
    const bound = this.#about.buckets[at];
    if (bound === undefined) return '+Inf';
    return open && Number.isInteger(bound) ? `${bound}.0` : String(bound);
  }

  #labels(values: string): string[] {
    const each = values.split(' ');
    return this.#about.labels.map((label, at) => `${label}="${each[at]}"`);
  }
}

function shown(exemplar: Exemplar | undefined): string {
  return exemplar ? ` # {trace_id="${exemplar.traceId}"} ${exemplar.value} ${exemplar.at.toFixed(3)}` : '';
}
