/** A collector of traces of the tests' own: takes what OpenTelemetry sends over HTTP as JSON, and shows the spans. */
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface TakenSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** '' for the first of a trace. */
  readonly parentSpanId: string;
  readonly name: string;
  /** As OTLP numbers them: 1 internal, 2 server, 3 client, 4 producer. */
  readonly kind: number;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
  /** Of the replica: `service.name` and the like. */
  readonly resource: Readonly<Record<string, unknown>>;
  readonly status: number;
  readonly beganMs: number;
  readonly endedMs: number;
}

export interface Collector {
  /** To be given as `OTEL_EXPORTER_OTLP_ENDPOINT`. */
  readonly url: string;
  readonly spans: TakenSpan[];
  /** Headers of each batch that came. */
  readonly headers: IncomingHttpHeaders[];
  /** All that came, as it came. */
  text(): string;
  /** What it answers; it answers nothing while this is 0. */
  status: number;
  close(): Promise<void>;
}

interface Attribute {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}

/** What of OTLP's own JSON is looked at. */
interface Sent {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly Attribute[] };
    readonly scopeSpans: readonly {
      readonly spans: readonly {
        readonly traceId: string;
        readonly spanId: string;
        readonly parentSpanId?: string;
        readonly name: string;
        readonly kind: number;
        readonly attributes: readonly Attribute[];
        readonly links?: readonly { readonly traceId: string; readonly spanId: string }[];
        readonly status?: { readonly code?: number };
        readonly startTimeUnixNano: string;
        readonly endTimeUnixNano: string;
      }[];
    }[];
  }[];
}

export async function startCollector(): Promise<Collector> {
  const texts: string[] = [];
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const text = Buffer.concat(parts).toString();
    if (collector.status === 0) return;
    texts.push(text);
    collector.headers.push(request.headers);
    if (request.url === '/v1/traces' && collector.status === 200)
      collector.spans.push(...spansOf(JSON.parse(text) as Sent));
    response.writeHead(collector.status, { 'content-type': 'application/json' }).end('{}');
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const collector: Collector = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans: [],
    headers: [],
    text: () => texts.join('\n'),
    status: 200,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
  return collector;
}

function spansOf({ resourceSpans }: Sent): TakenSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans
      .flatMap(({ spans }) => spans)
      .map(({ parentSpanId = '', links = [], attributes, status, startTimeUnixNano, endTimeUnixNano, ...span }) => ({
        ...span,
        parentSpanId,
        links,
        attributes: record(attributes),
        resource: record(resource.attributes),
        status: status?.code ?? 0,
        beganMs: Number(BigInt(startTimeUnixNano) / 1_000n) / 1_000,
        endedMs: Number(BigInt(endTimeUnixNano) / 1_000n) / 1_000,
      })),
  );
}

function record(attributes: readonly Attribute[]): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
}
