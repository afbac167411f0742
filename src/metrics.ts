/** What the hub counts and measures of itself, in the form that Prometheus reads. All of it is named here, with labels of few values. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { type Code, codes } from './errors.ts';
import { catalog } from './events/catalog.ts';
import type { AppendObserver } from './events/group-commit.ts';
import type { AttemptEnd } from './events/task.ts';
import type { Cancel, Kernel } from './kernel.ts';
import { factCounters, type GaugeLabels, type GaugeName, gauges } from './metrics/names.ts';
import { openMetrics } from './metrics/open-metrics.ts';
import type { ClientPacketName } from './protocol.ts';

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

const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

/** First word of each type. */
const categoryOf = new Map(Object.keys(catalog).map((type) => [type, type.slice(0, type.indexOf('.'))]));

/** The instruments of one replica. Nothing of what they are given is text from outside. */
export class Metrics {
  /** To be given to the log. */
  readonly appends: AppendObserver;
  readonly #registry = new Registry();
  readonly #kernel: Kernel;
  readonly #readings = new Set<Reading>();
  readonly #gauges: Readonly<Record<GaugeName, Gauge>>;
  /** Events that this replica appended, by type. Made into counters when they are asked for, to cost an append next to nothing. */
  readonly #facts = new Map<string, number>();
  readonly #errors: Counter;
  readonly #refusals: Counter;
  /** Like the facts; the values of the labels, with a space between. */
  readonly #requests = new Map<string, number>();
  readonly #requestSeconds: Histogram;
  readonly #packets = new Map<string, number>();
  readonly #packetSeconds: Histogram;
  readonly #attemptsFailed: Counter;
  readonly #taskWait: Histogram;
  readonly #taskRun: Histogram;
  readonly #webhooks: Counter;
  readonly #webhookSeconds: Histogram;
  readonly #heals: Counter;
  readonly #scrapeFailures: Counter;
  #scrape: Promise<string> | undefined;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    const registers = [this.#registry];
    const counter = (name: string, help: string, labelNames: string[] = []) =>
      new Counter({ name, help, labelNames, registers });
    const histogram = (name: string, help: string, buckets: number[], labelNames: string[] = []) =>
      new Histogram({ name, help, buckets, labelNames, registers });

    this.#errors = counter(
      'federation_errors_total',
      'Answers that say the hub could not: faults and defects, and what it had no room or target for',
      ['door', 'code'],
    );
    this.#refusals = counter('federation_refusals_total', 'Answers that say whoever asked may not', ['door', 'code']);
    this.#countLate('federation_http_requests_total', 'HTTP requests that were answered', this.#requests, [
      'method',
      'route',
      'status',
    ]);
    this.#requestSeconds = histogram(
      'federation_http_request_duration_seconds',
      'From the head of a request to the end of its answer; of streams, as long as they last',
      brief,
      ['method', 'route'],
    );
    this.#countLate('federation_packets_total', 'Packets that nodes sent', this.#packets, ['packet', 'outcome']);
    this.#packetSeconds = histogram(
      'federation_packet_duration_seconds',
      'From a packet to its acknowledgement',
      brief,
      ['packet'],
    );
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

  /** `route` is the template; undefined for a path that is not there. */
  requested(method: string, route: string | undefined, status: number, tookMs: number): void {
    const labels = { method: methods.has(method) ? method : 'other', route: route ?? '(none)' };
    count(this.#requests, `${labels.method} ${labels.route} ${Math.floor(status / 100)}xx`);
    this.#requestSeconds.observe(labels, tookMs / 1000);
  }

  /** `packet` is undefined for a name that is none. */
  packet(packet: ClientPacketName | undefined, outcome: 'ok' | 'refused' | 'failed', tookMs: number): void {
    const labels = { packet: packet ?? '(none)' };
    count(this.#packets, `${labels.packet} ${outcome}`);
    this.#packetSeconds.observe(labels, tookMs / 1000);
  }

  /** One call of a webhook: of the callback of a task, or of a subscription. */
  webhook(kind: 'callback' | 'subscription', outcome: 'delivered' | 'failed', tookMs: number): void {
    this.#webhooks.inc({ kind, outcome });
    this.#webhookSeconds.observe({ kind }, tookMs / 1000);
  }

  /** A task was given to a node. Say it at the replica that wrote so. */
  taskAssigned(waitedMs: number): void {
    this.#taskWait.observe(Math.max(0, waitedMs) / 1000);
  }

  /** An attempt at a task ended. Say it at the replica that wrote so. `ranMs` is undefined when nobody had it. */
  taskAttemptEnded(outcome: 'completed' | 'failed' | 'cancelled', ranMs: number | undefined): void {
    if (ranMs !== undefined) this.#taskRun.observe({ outcome }, Math.max(0, ranMs) / 1000);
  }

  taskAttemptFailed(cause: AttemptEnd): void {
    this.#attemptsFailed.inc({ cause });
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
    return format === 'openmetrics'
      ? { contentType: Registry.OPENMETRICS_CONTENT_TYPE, body: openMetrics(text) }
      : { contentType: Registry.PROMETHEUS_CONTENT_TYPE, body: text };
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
        this.onScrape({ name: 'log queue', gauges: ['logQueue'], read: () => this.set('logQueue', {}, depth()) });
      },
      appended: ({ events }, tookMs) => {
        appendSeconds.observe(tookMs / 1000);
        for (const { type } of events) count(this.#facts, type);
      },
      flushed: (_appends, events, tookMs) => {
        flushSeconds.observe(tookMs / 1000);
        flushEvents.observe(events);
      },
    };
  }

  /** A counter of what is counted by the values of its labels, with a space between. */
  #countLate(name: string, help: string, counts: ReadonlyMap<string, number>, labelNames: string[]): void {
    new Counter({
      name,
      help,
      labelNames,
      registers: [this.#registry],
      collect() {
        this.reset();
        for (const [key, value] of counts) {
          const values = key.split(' ');
          this.inc(Object.fromEntries(labelNames.map((label, at) => [label, values[at]!])), value);
        }
      },
    });
  }

  #countFacts(): void {
    const registers = [this.#registry];
    const facts = this.#facts;
    new Counter({
      name: 'federation_events_appended_total',
      help: 'Events that this replica wrote, by the first word of their type',
      labelNames: ['category'],
      registers,
      collect() {
        this.reset();
        for (const [type, category] of categoryOf) this.inc({ category }, facts.get(type) ?? 0);
      },
    });
    for (const [type, { name, help }] of Object.entries(factCounters)) {
      new Counter({
        name,
        help,
        registers,
        collect() {
          this.reset();
          this.inc(facts.get(type) ?? 0);
        },
      });
    }
  }
}

/** Costs a tenth of what a counter of prom-client costs. */
function count(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
