/** Spans on their way to the collector: held up to a bound, sent in batches, and counted whatever becomes of them. */
import type { Context } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { BatchSpanProcessor, type ReadableSpan, type SpanExporter, type SpanProcessor } from '@opentelemetry/sdk-trace';
import type { Kernel } from '../kernel.ts';
import type { SpanCount } from '../tracing.ts';
import type { TracingSettings } from './settings.ts';

/** That the collector takes nothing is told once in this time. */
const tellMs = 60_000;

type Result = Parameters<Parameters<SpanExporter['export']>[1]>[0];

export class Outbox implements SpanProcessor {
  readonly #most: number;
  readonly #count: SpanCount;
  readonly #kernel: Kernel;
  readonly #exporter: SpanExporter;
  readonly #batches: BatchSpanProcessor;
  /** Spans that wait to be sent. */
  #held = 0;
  #lost = 0;
  #toldMs = Number.NEGATIVE_INFINITY;

  constructor({ url, headers, timeoutMs, batch }: TracingSettings, kernel: Kernel, count: SpanCount) {
    this.#most = batch.queue;
    this.#count = count;
    this.#kernel = kernel;
    this.#exporter = new OTLPTraceExporter({ url, headers: { ...headers }, timeoutMillis: timeoutMs });
    this.#batches = new BatchSpanProcessor({
      exporter: {
        export: (spans, told) => this.#send(spans, told),
        forceFlush: async () => this.#exporter.forceFlush?.(),
        shutdown: () => this.#exporter.shutdown(),
      },
      maxQueueSize: batch.queue,
      maxExportBatchSize: batch.size,
      scheduledDelayMillis: batch.delayMs,
      exportTimeoutMillis: batch.exportMs,
    });
  }

  onStart(_span: unknown, _context: Context): void {}

  onEnd(span: ReadableSpan): void {
    if (this.#held >= this.#most) {
      this.#count('dropped', 1);
      return;
    }
    this.#held++;
    this.#batches.onEnd(span);
  }

  forceFlush(): Promise<void> {
    return this.#batches.forceFlush();
  }

  shutdown(): Promise<void> {
    return this.#batches.shutdown();
  }

  /** A failure is no error of the hub, which goes on as if nothing were traced. */
  #send(spans: ReadableSpan[], told: (result: Result) => void): void {
    this.#held -= spans.length;
    this.#exporter.export(spans, (result) => {
      if (result.error === undefined && result.code === 0) this.#count('sent', spans.length);
      else this.#failed(spans.length, result.error);
      told(result);
    });
  }

  #failed(spans: number, error: Error | undefined): void {
    this.#count('failed', spans);
    this.#lost += spans;
    const now = this.#kernel.monotonicMs();
    if (now - this.#toldMs < tellMs) return;
    this.#toldMs = now;
    const why = error?.message.slice(0, 200); // of the library; not what the collector said
    this.#kernel.log.warn({ spans: this.#lost, why }, 'the collector of traces took nothing');
    this.#lost = 0;
  }
}
