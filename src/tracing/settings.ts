/** What of OpenTelemetry's own environment variables the hub reads, under the names and with the meanings of the specification. */

export const samplers = [
  'always_on',
  'always_off',
  'traceidratio',
  'parentbased_always_on',
  'parentbased_always_off',
  'parentbased_traceidratio',
] as const;
export type SamplerName = (typeof samplers)[number];

export interface TracingSettings {
  /** Where spans are sent: OTLP over HTTP, as JSON. */
  readonly url: string;
  /** Sent with them; may hold a credential. */
  readonly headers: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly serviceName: string;
  readonly resource: Readonly<Record<string, string>>;
  readonly sampler: SamplerName;
  /** Of the samplers that take a ratio, 0 to 1. */
  readonly ratio: number;
  readonly batch: {
    readonly delayMs: number;
    readonly exportMs: number;
    /** Spans held at most. */
    readonly queue: number;
    /** Spans sent at once at most. */
    readonly size: number;
  };
}

/** How `config.ts` reads one variable; what is wrong is told there. */
interface Reading {
  read(name: string): string | undefined;
  number(name: string, fallback: number, min: number, max: number): number;
  oneOf<T extends string>(name: string, values: readonly T[], fallback: T): T;
  readonly wrong: string[];
}

/** The settings; undefined when nothing is to be traced. */
export function readTracing(reading: Reading): TracingSettings | undefined {
  const { read, number, oneOf, wrong } = reading;
  const url = endpointOf(reading);
  const headers = {
    ...pairs(reading, 'OTEL_EXPORTER_OTLP_HEADERS'),
    ...pairs(reading, 'OTEL_EXPORTER_OTLP_TRACES_HEADERS'),
  };
  const { 'service.name': named, ...resource } = pairs(reading, 'OTEL_RESOURCE_ATTRIBUTES');
  const queue = number('OTEL_BSP_MAX_QUEUE_SIZE', 2_048, 1, 65_536);
  const size = number('OTEL_BSP_MAX_EXPORT_BATCH_SIZE', Math.min(512, queue), 1, 65_536);
  if (size > queue) wrong.push('OTEL_BSP_MAX_EXPORT_BATCH_SIZE must not be greater than OTEL_BSP_MAX_QUEUE_SIZE');
  const settings = {
    headers,
    timeoutMs: number('OTEL_EXPORTER_OTLP_TIMEOUT', 10_000, 1, 600_000),
    serviceName: read('OTEL_SERVICE_NAME') ?? named ?? 'federation-hub',
    resource,
    sampler: oneOf('OTEL_TRACES_SAMPLER', samplers, 'parentbased_always_on'),
    ratio: number('OTEL_TRACES_SAMPLER_ARG', 1, 0, 1),
    batch: {
      delayMs: number('OTEL_BSP_SCHEDULE_DELAY', 5_000, 1, 600_000),
      exportMs: number('OTEL_BSP_EXPORT_TIMEOUT', 30_000, 1, 600_000),
      queue,
      size,
    },
  };
  const exporter = oneOf('OTEL_TRACES_EXPORTER', ['otlp', 'none'], 'otlp');
  const off = read('OTEL_SDK_DISABLED')?.toLowerCase() === 'true' || exporter === 'none';
  return url === undefined || off ? undefined : { url, ...settings };
}

/** The one for traces as it is; to the general one, the path of traces is added. */
function endpointOf({ read, wrong }: Reading): string | undefined {
  for (const name of ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', 'OTEL_EXPORTER_OTLP_ENDPOINT']) {
    const text = read(name);
    if (text === undefined) continue;
    if (!/^https?:\/\/[^\s]+$/.test(text) || !URL.canParse(text)) wrong.push(`${name} must be an http or https URL`);
    else return name.includes('TRACES') ? text : `${text.replace(/\/$/, '')}/v1/traces`;
  }
  return undefined;
}

/** `name=value` by commas, percent-encoded where need be. */
function pairs({ read, wrong }: Reading, name: string): Record<string, string> {
  const found: [string, string][] = [];
  for (const entry of (read(name) ?? '').split(',')) {
    if (entry.trim() === '') continue;
    const at = entry.indexOf('=');
    const key = entry.slice(0, at).trim();
    const value = decoded(entry.slice(at + 1).trim());
    if (at < 1 || key === '' || value === undefined) wrong.push(`${name} must be name=value, by commas`);
    else found.push([key, value]);
  }
  return Object.fromEntries(found);
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
