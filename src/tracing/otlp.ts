/**
 * The tracer that sends: OpenTelemetry's own spans, samplers and batches, to a collector over OTLP/HTTP.
 *
 * It may cost next to nothing, whatever is asked of the hub: beyond a number of traces a second, those that begin are left out
 * whole, and beyond a number of spans held for a collector that does not take them, spans are dropped. Both are counted.
 */
import {
  type Context,
  createContextKey,
  SpanKind as Kinds,
  type Span as OtelSpan,
  type Tracer as OtelTracer,
  ROOT_CONTEXT,
  type SpanContext,
  SpanStatusCode,
  TraceFlags,
  trace,
} from '@opentelemetry/api';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  ParentBasedSampler,
  RandomIdGenerator,
  type Sampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import { type Code, codes } from '../errors.ts';
import type { Kernel } from '../kernel.ts';
import type { Entry, Span, SpanAttribute, SpanCount, SpanKind, Together, Tracer } from '../tracing.ts';
import { Allowance } from './allowance.ts';
import { Outbox } from './outbox.ts';
import type { SamplerName, TracingSettings } from './settings.ts';
import { readTraceparent, type TraceParent, writeTraceparent } from './traceparent.ts';

/** Traces that begin here, and spans that are recorded here, a second; as many may come at once. */
const mostTraces = 100;
const mostSpans = 2_000;
/** Traces that one span done for many is linked to. */
const mostLinks = 32;
const stopMs = 1_000;

const kinds: Readonly<Record<SpanKind, Kinds>> = {
  server: Kinds.SERVER,
  client: Kinds.CLIENT,
  producer: Kinds.PRODUCER,
  internal: Kinds.INTERNAL,
};

export class OtlpTracer implements Tracer {
  readonly on = true;
  readonly #kernel: Kernel;
  readonly #provider: TracerProvider;
  readonly #tracer: OtelTracer;
  readonly #ids = new RandomIdGenerator();
  readonly #traces: Allowance;
  readonly #spans: Allowance;
  readonly #count: SpanCount;

  constructor(settings: TracingSettings, kernel: Kernel, version: string, count: SpanCount) {
    this.#kernel = kernel;
    this.#count = count;
    this.#traces = new Allowance(mostTraces, () => kernel.monotonicMs());
    this.#spans = new Allowance(mostSpans, () => kernel.monotonicMs());
    this.#provider = new TracerProvider({
      resource: resourceFromAttributes({
        'service.version': version,
        'service.instance.id': kernel.replica,
        ...settings.resource,
        'service.name': settings.serviceName,
      }),
      sampler: samplerOf(settings.sampler, settings.ratio),
      spanProcessors: [new Outbox(settings, kernel, count)],
    });
    this.#tracer = this.#provider.getTracer('federation-hub', version);
  }

  enter(name: string, traceparent: unknown): Entry {
    const parent = traceparent === undefined ? undefined : readTraceparent(traceparent);
    const span = this.#begin(name, parent);
    if (span) return { span, traceparent: span.traceparent, traceId: span.traceId };
    if (!parent) return { span: undefined, traceparent: undefined, traceId: undefined };
    const { traceId } = parent;
    const unrecorded = writeTraceparent({ traceId, spanId: this.#ids.generateSpanId(), sampled: false });
    return { span: undefined, traceparent: unrecorded, traceId };
  }

  within(name: string, kind: SpanKind, traceparent: string | undefined): Span | undefined {
    if (traceparent === undefined) return undefined;
    const parent = readTraceparent(traceparent);
    if (!parent?.sampled || !this.#mayRecord()) return undefined;
    return this.#start(name, kind, parent, false);
  }

  together(name: string, { traceparents, beganMs, tookMs, attributes }: Together, each?: string): void {
    const parents = [...new Set(traceparents)].slice(0, mostLinks).flatMap((text) => readTraceparent(text) ?? []);
    if (parents.length === 0 || !this.#mayRecord()) return;
    const links = parents.map((parent) => ({ context: contextOf(parent) }));
    const options = { kind: Kinds.INTERNAL, startTime: beganMs, attributes };
    const span = this.#tracer.startSpan(name, { ...options, links }, ROOT_CONTEXT.setValue(recorded, true));
    span.end(beganMs + tookMs);
    if (each === undefined) return;
    const link = { context: span.spanContext() };
    for (const parent of parents) {
      if (!this.#mayRecord()) return;
      const one = this.#tracer.startSpan(each, { ...options, links: [link] }, contextIn(parent, false));
      one.end(beganMs + tookMs);
    }
  }

  async stop(): Promise<void> {
    let cancel = () => {};
    const late = new Promise<void>((done) => {
      cancel = this.#kernel.after(stopMs, done);
    });
    await Promise.race([this.#provider.shutdown().catch(() => {}), late]); // that spans are lost was told by then
    cancel();
  }

  /** The first span of a trace here; undefined when it is not to be recorded. Of traces that nobody samples, none counts. */
  #begin(name: string, parent: TraceParent | undefined): Recorded | undefined {
    if (!this.#traces.has() || !this.#spans.has()) {
      this.#count('left-out', 1);
      return undefined;
    }
    const span = this.#start(name, 'server', parent, true);
    if (span) {
      this.#traces.take();
      this.#spans.take();
    }
    return span;
  }

  #mayRecord(): boolean {
    const may = this.#spans.take();
    if (!may) this.#count('left-out', 1);
    return may;
  }

  #start(name: string, kind: SpanKind, parent: TraceParent | undefined, remote: boolean): Recorded | undefined {
    const context = parent ? contextIn(parent, remote) : ROOT_CONTEXT;
    const span = this.#tracer.startSpan(name, { kind: kinds[kind] }, context);
    return span.isRecording() ? new Recorded(span) : undefined;
  }
}

class Recorded implements Span {
  readonly #span: OtelSpan;
  readonly traceId: string;
  readonly traceparent: string;

  constructor(span: OtelSpan) {
    const { traceId, spanId } = span.spanContext();
    this.#span = span;
    this.traceId = traceId;
    this.traceparent = writeTraceparent({ traceId, spanId, sampled: true });
  }

  set(attribute: SpanAttribute, value: string | number): void {
    this.#span.setAttribute(attribute, value);
  }

  /** What the hub refuses is no error of the hub: that stands in the code alone. */
  end(failed?: Code): void {
    if (failed !== undefined) {
      this.set('federation.code', failed);
      if (codes[failed].status >= 500) {
        this.set('error.type', failed);
        this.#span.setStatus({ code: SpanStatusCode.ERROR });
      }
    }
    this.#span.end();
  }
}

/** Set for what is done for traces that are recorded: then it is, too. */
const recorded = createContextKey('recorded');

function samplerOf(name: SamplerName, ratio: number): Sampler {
  const sampler = named(name, ratio);
  const always = new AlwaysOnSampler();
  return {
    shouldSample: (context, ...about) =>
      context.getValue(recorded) === true ? always.shouldSample() : sampler.shouldSample(context, ...about),
    toString: () => sampler.toString(),
  };
}

function named(name: SamplerName, ratio: number): Sampler {
  switch (name) {
    case 'always_on':
      return new AlwaysOnSampler();
    case 'always_off':
      return new AlwaysOffSampler();
    case 'traceidratio':
      return new TraceIdRatioBasedSampler(ratio);
    case 'parentbased_always_on':
      return new ParentBasedSampler({ root: new AlwaysOnSampler() });
    case 'parentbased_always_off':
      return new ParentBasedSampler({ root: new AlwaysOffSampler() });
    case 'parentbased_traceidratio':
      return new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(ratio) });
  }
}

function contextOf({ traceId, spanId, sampled }: TraceParent, isRemote = false): SpanContext {
  return { traceId, spanId, traceFlags: sampled ? TraceFlags.SAMPLED : TraceFlags.NONE, isRemote };
}

function contextIn(parent: TraceParent, remote: boolean): Context {
  return trace.setSpanContext(ROOT_CONTEXT, contextOf(parent, remote));
}
