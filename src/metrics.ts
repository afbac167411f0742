/** What the hub counts and measures of itself, in the form that Prometheus reads. All of it is named here, with labels of few values. */
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import { type Code, codes } from './errors.ts';
import { catalog } from './events/catalog.ts';
import type { AppendObserver } from './events/group-commit.ts';
import type { AttemptEnd } from './events/task.ts';
import type { Cancel, Kernel } from './kernel.ts';
import { type Answered, AskedAtDoors, type Requested } from './metrics/doors.ts';
import { Histogram } from './metrics/histogram.ts';
import { count, countLate } from './metrics/late-counter.ts';
import { factCounters, type GaugeLabels, type GaugeName, gauges } from './metrics/names.ts';
import { openMetrics } from './metrics/open-metrics.ts';
import type { ServiceName } from './tiers.ts';
import type { SpanCount, SpanOutcome } from './tracing.ts';

/** Where something was asked. */
export type Door = 'http' | 'socket';

/** What a scrape may ask for: Prometheus' own text, or OpenMetrics 1.0. */
export type Exposition = 'text' | 'openmetrics';

/** Reads what is only known when it is asked for, into gauges. One that fails or is late leaves its gauges out. */
export interface Reading {
  /** Names it when it fails. */
  readonly name: string;
  readonly gauges: readonly GaugeName[];
  read(): void | Promise<void>;
}

/** A scrape waits this long for a reading. */
const readMs = 1_500;

const instant = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 1, 5,
];
const brief = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5];
const long = [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1_800, 7_200];

/** First word of each type. */
const categoryOf = new Map(Object.keys(catalog).map((type) => [type, type.slice(0, type.indexOf('.'))]));

/** The instruments of one replica. Nothing of what they are given is text from outside. */
export class Metrics {
  /** To be given to the log. */
  readonly appends: AppendObserver;
  /** Appends that wait or are being written. */
  appendsWaiting: () => number = () => 0;
  readonly #registry = new Registry();
  readonly #kernel: Kernel;
  readonly #histograms: Histogram[] = [];
  readonly #readings = new Set<Reading>();
  readonly #gauges: Readonly<Record<GaugeName, Gauge>>;
  /** Events that this replica appended, by type. Made into counters when they are asked for, to cost an append next to nothing. */
  readonly #facts = new Map<string, number>();
  readonly #errors: Counter;
  readonly #refusals: Counter;
  readonly #doors: AskedAtDoors;
  readonly #attemptsFailed: Counter;
  readonly #taskWait: Histogram;
  readonly #taskRun: Histogram;
  readonly #webhooks: Counter;
  readonly #webhookSeconds: Histogram;
  readonly #heals: Counter;
  readonly #shed: Counter;
  /** Spans of traces, by what became of them: to be given to the tracer. */
  readonly spans: SpanCount;
  readonly #scrapeFailures: Counter;
  /** Of the appends since they were asked for last. */
  #appended = 0;
  #appendedMs = 0;
  #scrape: Promise<string> | undefined;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    const registers = [this.#registry];
    const counter = (name: string, help: string, labelNames: string[] = []) =>
      new Counter({ name, help, labelNames, registers });
    const histogram = (name: string, help: string, buckets: number[], labels: string[] = []) => {
      const made = new Histogram({ name, help, buckets, labels }, () => kernel.now());
      this.#histograms.push(made);
      return made;
    };

    this.#errors = counter(
      'federation_errors_total',
      'Answers that say the hub could not: faults and defects, and what it had no room or target for',
      ['door', 'code'],
    );
    this.#refusals = counter('federation_refusals_total', 'Answers that say whoever asked may not', ['door', 'code']);
    this.#doors = new AskedAtDoors(this.#registry, () => kernel.now());
    this.#histograms.push(this.#doors.requestSeconds, this.#doors.packetSeconds);
    this.#attemptsFailed = counter(
      'federation_task_attempts_failed_total',
      'Attempts that came to nothing and are followed by another, as written by this replica; lapsed are those with a cause other than reported or declined',
      ['cause'],
    );
    this.#taskWait = histogram(
      'federation_task_wait_seconds',
      'From a task being ready to its being given to a node, as written by this replica',
      long,
    );
    this.#taskRun = histogram(
      'federation_task_run_seconds',
      'From a task being given to a node to the end of that attempt, as written by this replica',
      long,
      ['outcome'],
    );
    this.#webhooks = counter('federation_webhook_deliveries_total', 'Calls of webhooks', ['kind', 'outcome']);
    this.#webhookSeconds = histogram('federation_webhook_duration_seconds', 'Of one call of a webhook', brief, [
      'kind',
    ]);
    this.#heals = counter('federation_heal_requests_total', 'Starts of a service that had failed', ['service']);
    this.#shed = counter('federation_shed_total', 'Requests and packets that were put aside for want of room', [
      'door',
      'service',
    ]);
    const outcomes: SpanOutcome[] = ['sent', 'failed', 'dropped', 'left-out'];
    const spans = new Map<string, number>(outcomes.map((outcome) => [outcome, 0]));
    this.spans = (outcome, more) => count(spans, outcome, more);
    countLate(this.#registry, {
      name: 'federation_trace_spans_total',
      help: 'Spans of traces, by what became of them',
      labels: ['outcome'],
      counts: () => spans,
    });
    this.#scrapeFailures = counter('federation_scrape_failures_total', 'Readings that a scrape had to leave out', [
      'reading',
    ]);
    this.appends = this.#observeAppends(
      histogram('federation_log_append_duration_seconds', 'From an append coming in to its being on disk', instant),
      histogram('federation_log_flush_duration_seconds', 'Of one write of the log', instant),
      histogram(
        'federation_log_flush_events',
        'Events in one write of the log',
        [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000],
      ),
    );
    this.#countFacts();
    this.#gauges = Object.fromEntries(
      Object.entries(gauges).map(([key, { name, help, labels }]) => [
        key,
        new Gauge({ name, help, labelNames: [...labels], registers }),
      ]),
    ) as Record<GaugeName, Gauge>; // one for each name
    collectDefaultMetrics({ register: this.#registry });
  }

  /** An answer that was no success. */
  refused(door: Door, code: Code): void {
    (codes[code].status >= 500 ? this.#errors : this.#refusals).inc({ door, code });
  }

  /** A request that was answered; what is put aside is `shed`. */
  requested(requested: Requested): void {
    this.#doors.requested(requested);
  }

  /** A packet that was answered; what is put aside is `shed`. */
  packet(answered: Answered): void {
    this.#doors.answered(answered);
  }

  /** One call of a webhook: of the callback of a task, or of a subscription. */
  webhook(kind: 'callback' | 'subscription', outcome: 'delivered' | 'failed', tookMs: number): void {
    this.#webhooks.inc({ kind, outcome });
    this.#webhookSeconds.observe(kind, tookMs / 1000);
  }

  /** A task was given to a node. Say it at the replica that wrote so. */
  taskAssigned(waitedMs: number): void {
    this.#taskWait.observe('', Math.max(0, waitedMs) / 1000);
  }

  /** An attempt at a task ended. Say it at the replica that wrote so. `ranMs` is undefined when nobody had it. */
  taskAttemptEnded(outcome: 'completed' | 'failed' | 'cancelled', ranMs: number | undefined): void {
    if (ranMs !== undefined) this.#taskRun.observe(outcome, Math.max(0, ranMs) / 1000);
  }

  taskAttemptFailed(cause: AttemptEnd): void {
    this.#attemptsFailed.inc({ cause });
  }

  /** Something was put aside: by the level, or because there was no place for it. */
  shed(door: Door, service: ServiceName): void {
    this.#shed.inc({ door, service });
  }

  /** Appends that wait now, and how long those took on average that were written since this was asked last. */
  takeAppends(): { queued: number; written: number; meanMs: number } {
    const written = this.#appended;
    const meanMs = this.#appended === 0 ? 0 : this.#appendedMs / this.#appended;
    this.#appended = this.#appendedMs = 0;
    return { queued: this.appendsWaiting(), written, meanMs };
  }

  /** A service that had failed is started again. */
  healRequested(service: string): void {
    this.#heals.inc({ service });
  }

  /** To be called by readings. */
  set<Name extends GaugeName>(gauge: Name, labels: GaugeLabels<Name>, value: number): void {
    this.#gauges[gauge].set(labels, value);
  }

  /** Adds a reading to every scrape; what is returned takes it away, and its gauges with it. */
  onScrape(reading: Reading): Cancel {
    this.#readings.add(reading);
    this.#clear(reading);
    return () => {
      this.#readings.delete(reading);
      this.#clear(reading);
    };
  }

  /** All of it, as text. Whoever asks while a scrape is under way gets the same. */
  async expose(format: Exposition): Promise<{ readonly contentType: string; readonly body: string }> {
    this.#scrape ??= this.#read().finally(() => {
      this.#scrape = undefined;
    });
    const text = await this.#scrape;
    const histograms = [...this.#histograms, this.#doors.seconds()].map((each) => each.text(format)).join('');
    return format === 'openmetrics'
      ? { contentType: Registry.OPENMETRICS_CONTENT_TYPE, body: `${openMetrics(text)}${histograms}# EOF\n` }
      : { contentType: Registry.PROMETHEUS_CONTENT_TYPE, body: `${text}${histograms}` };
  }

  async #read(): Promise<string> {
    await Promise.all([...this.#readings].map((reading) => this.#take(reading)));
    const text = await this.#registry.metrics();
    return text.replaceAll(/ Nan$/gm, ' NaN'); // as the format has it
  }

  async #take(reading: Reading): Promise<void> {
    this.#clear(reading);
    let cancel = () => {};
    const late = new Promise<never>((_, reject) => {
      cancel = this.#kernel.after(readMs, () => reject(new Error(`no answer in ${readMs} ms`)));
    });
    try {
      await Promise.race([reading.read(), late]);
    } catch (error) {
      this.#clear(reading);
      this.#scrapeFailures.inc({ reading: reading.name });
      this.#kernel.log.debug({ err: error, reading: reading.name }, 'a scrape went without a reading');
    } finally {
      cancel();
    }
  }

  /** Nothing is said rather than what was true before. */
  #clear({ gauges: names }: Reading): void {
    for (const name of names) {
      this.#gauges[name].reset();
      if (gauges[name].labels.length === 0) this.#gauges[name].remove({});
    }
  }

  #observeAppends(appendSeconds: Histogram, flushSeconds: Histogram, flushEvents: Histogram): AppendObserver {
    return {
      now: () => this.#kernel.monotonicMs(),
      queue: (depth) => {
        this.appendsWaiting = depth;
        this.onScrape({ name: 'log queue', gauges: ['logQueue'], read: () => this.set('logQueue', {}, depth()) });
      },
      appended: ({ events }, tookMs) => {
        appendSeconds.observe('', tookMs / 1000);
        this.#appended++;
        this.#appendedMs += tookMs;
        for (const { type } of events) count(this.#facts, type);
      },
      flushed: (_appends, events, tookMs) => {
        flushSeconds.observe('', tookMs / 1000);
        flushEvents.observe('', events);
      },
    };
  }

  #countFacts(): void {
    const of = (type: string) => this.#facts.get(type) ?? 0;
    const late = (name: string, help: string, labels: string[], counts: () => Iterable<[string, number]>) =>
      countLate(this.#registry, { name, help, labels, counts });
    late(
      'federation_events_appended_total',
      'Events that this replica wrote, by the first word of their type',
      ['category'],
      () => {
        const counts = new Map<string, number>();
        for (const [type, category] of categoryOf) count(counts, category, of(type));
        return counts;
      },
    );
    late('federation_facts_total', 'Events that this replica wrote, by their type', ['type'], () =>
      [...categoryOf.keys()].map((type) => [type, of(type)]),
    );
    for (const [type, { name, help }] of Object.entries(factCounters)) late(name, help, [], () => [['', of(type)]]);
  }
}
