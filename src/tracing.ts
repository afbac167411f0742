/**
 * Traces: which part of the hub did what for whom, and for how long, over all replicas. Nothing happens, and no library is
 * loaded, while no collector is named (`OTEL_EXPORTER_OTLP_ENDPOINT`); tracing/otlp.ts is what happens then.
 *
 * What is under way is handed on as text, a `traceparent`: in `About`, in the meta of events, in headers and packets. So nothing
 * has to be remembered about who runs, and what another replica or a thread does belongs to the same trace.
 */
import type { Code } from './errors.ts';
import type { Kernel } from './kernel.ts';
import type { TracingSettings } from './tracing/settings.ts';
import { readTraceparent, writeTraceparent } from './tracing/traceparent.ts';

/** What a span may tell besides its name: ids, names, codes and counts, never what anyone said. */
export type SpanAttribute =
  | 'http.request.method'
  | 'http.route'
  | 'http.response.status_code'
  | 'error.type'
  | 'federation.door'
  | 'federation.service'
  | 'federation.actor'
  | 'federation.packet'
  | 'federation.code'
  | 'federation.stream'
  | 'federation.node'
  | 'federation.event'
  | 'federation.position'
  | 'federation.subscription'
  | 'federation.events'
  | 'federation.appends'
  | 'federation.attempts';

/** As OpenTelemetry tells spans apart: what came in, what went out, what was handed over, and the rest. */
export type SpanKind = 'server' | 'client' | 'producer' | 'internal';

export interface Span {
  readonly traceId: string;
  /** Names it to whoever goes on from here. */
  readonly traceparent: string;
  set(attribute: SpanAttribute, value: string | number): void;
  /** Once. `failed`: the code it failed or was refused with. */
  end(failed?: Code): void;
}

/** What came in at a door, as the parts behind it are told of it. */
export interface Entry {
  /** Undefined when it is not recorded. */
  readonly span: Span | undefined;
  /** To be handed on; undefined when nobody named a trace and none is recorded. */
  readonly traceparent: string | undefined;
  /** Of the trace that it belongs to, recorded here or only by whoever asked. */
  readonly traceId: string | undefined;
}

/** Something that was done at once for many. */
export interface Together {
  /** Traces that it was done for; those beyond a bound are left out. */
  readonly traceparents: readonly string[];
  /** Milliseconds since 1970. */
  readonly beganMs: number;
  readonly tookMs: number;
  readonly attributes: Partial<Record<SpanAttribute, string | number>>;
}

export interface Tracer {
  /** False: nothing is ever recorded, and what it would take to tell need not be found out. */
  readonly on: boolean;
  /** Something came in at a door, with a `traceparent` or what claims to be one. */
  enter(name: string, traceparent: unknown): Entry;
  /** A part of what is under way; undefined when that is not recorded. */
  within(name: string, kind: SpanKind, traceparent: string | undefined): Span | undefined;
  /** A span of its own with links to those it was done for, when there are any. `each`: and one of that name within each of them. */
  together(name: string, done: Together, each?: string): void;
  /** Sends what it holds, for as long as the bound of a stop lets it. */
  stop(): Promise<void>;
}

/** How many spans went where: `sent`, `failed` (the collector did not take them), `dropped` (no room), `left-out` (too many traces at once). */
export type SpanOutcome = 'sent' | 'failed' | 'dropped' | 'left-out';

/** Hears what became of spans. */
export type SpanCount = (outcome: SpanOutcome, spans: number) => void;

const nothing: Entry = { span: undefined, traceparent: undefined, traceId: undefined };

/** Records nothing. A trace that somebody else records passes through. */
export const untraced: Tracer = {
  on: false,
  enter(_name, traceparent) {
    if (traceparent === undefined) return nothing;
    const parent = readTraceparent(traceparent);
    if (!parent) return nothing;
    // Not as it came: a later version may go on with anything, and what is handed on becomes a header.
    return { span: undefined, traceparent: writeTraceparent(parent), traceId: parent.traceId };
  },
  within: () => undefined,
  together() {},
  async stop() {},
};

/** The tracer of this replica. */
export async function openTracing(
  settings: TracingSettings | undefined,
  kernel: Kernel,
  version: string,
  count: SpanCount,
): Promise<Tracer> {
  if (!settings) return untraced;
  const { OtlpTracer } = await import('./tracing/otlp.ts');
  return new OtlpTracer(settings, kernel, version, count);
}
