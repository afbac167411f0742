/** What a traceparent is, what of OpenTelemetry's environment is read, and how little many traces may cost. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ConfigError, describeConfig, readConfig } from '../../src/config.ts';
import { createKernel } from '../../src/kernel.ts';
import { Histogram } from '../../src/metrics/histogram.ts';
import { Allowance } from '../../src/tracing/allowance.ts';
import { readTraceparent, tracedIn, writeTraceparent } from '../../src/tracing/traceparent.ts';
import { openTracing, untraced } from '../../src/tracing.ts';
import { startCollector } from '../setup/collector.ts';

const trace = '0af7651916cd43dd8448eb211c80319c';
const span = 'b7ad6b7169203331';

describe('a traceparent', () => {
  it('is read as W3C Trace Context says, of later versions too', () => {
    const read = { traceId: trace, spanId: span };
    expect(readTraceparent(`00-${trace}-${span}-01`)).toEqual({ ...read, sampled: true });
    expect(readTraceparent(`00-${trace}-${span}-00`)).toEqual({ ...read, sampled: false });
    expect(readTraceparent(`00-${trace}-${span}-ff`)).toEqual({ ...read, sampled: true });
    expect(readTraceparent(`01-${trace}-${span}-01-more`)).toEqual({ ...read, sampled: true });
  });

  it.each([
    `00-${trace}-${span}-01-more`,
    `ff-${trace}-${span}-01`,
    `00-${'0'.repeat(32)}-${span}-01`,
    `00-${trace}-${'0'.repeat(16)}-01`,
    `00-${trace.toUpperCase()}-${span}-01`,
    `00-${trace}-${span}`,
    `01-${trace}-${span}-01-${'x'.repeat(300)}`,
    '',
    7,
    null,
    ['00'],
  ])('is not %j', (value) => {
    expect(readTraceparent(value)).toBe(undefined);
    expect(untraced.enter('', value)).toEqual({ span: undefined, traceparent: undefined, traceId: undefined });
  });

  it('of a later version is handed on without what this one does not know, which becomes a header', () => {
    for (const more of ['-\u{2603}', '-\u0000', '-more', ''])
      expect(untraced.enter('', `01-${trace}-${span}-01${more}`)).toEqual({
        span: undefined,
        traceparent: `00-${trace}-${span}-01`,
        traceId: trace,
      });
  });

  it('is found in the meta of an event when somebody records the trace, whatever else stands there', () => {
    fc.assert(
      fc.property(fc.string(), fc.boolean(), (actor, sampled) => {
        const traceparent = writeTraceparent({ traceId: trace, spanId: span, sampled });
        expect(tracedIn(JSON.stringify({ actor, traceparent }))).toBe(sampled ? traceparent : undefined);
        expect(tracedIn(JSON.stringify({ actor }))).toBe(undefined);
      }),
    );
  });
});

describe('the environment', () => {
  const read = (env: Record<string, string>) => readConfig(env).tracing;
  const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318/' };

  it('names a collector, or nothing is traced', () => {
    expect(read({})).toBe(undefined);
    expect(read({ OTEL_EXPORTER_OTLP_ENDPOINT: '' })).toBe(undefined);
    expect(read(endpoint)).toMatchObject({ url: 'http://collector:4318/v1/traces', sampler: 'parentbased_always_on' });
    expect(read({ ...endpoint, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://t/x' })?.url).toBe('https://t/x');
    expect(read({ ...endpoint, OTEL_SDK_DISABLED: 'TRUE' })).toBe(undefined);
    expect(read({ ...endpoint, OTEL_TRACES_EXPORTER: 'none' })).toBe(undefined);
  });

  it('says who the hub is, and what goes with what is sent', () => {
    const given = read({
      ...endpoint,
      OTEL_RESOURCE_ATTRIBUTES: 'service.name=other,team=a%2Cb',
      OTEL_EXPORTER_OTLP_HEADERS: 'x=1, authorization=Bearer%20s',
      OTEL_EXPORTER_OTLP_TRACES_HEADERS: 'x=2',
    });
    expect(given).toMatchObject({ serviceName: 'other', resource: { team: 'a,b' } });
    expect(given?.headers).toEqual({ x: '2', authorization: 'Bearer s' });
    expect(
      read({ ...endpoint, OTEL_SERVICE_NAME: 'mine', OTEL_RESOURCE_ATTRIBUTES: 'service.name=other' })?.serviceName,
    ).toBe('mine');
  });

  it.each([
    { OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4318' },
    { OTEL_TRACES_SAMPLER: 'sometimes' },
    { OTEL_TRACES_SAMPLER_ARG: '2' },
    { OTEL_EXPORTER_OTLP_HEADERS: 'secret' },
    { OTEL_BSP_MAX_QUEUE_SIZE: '10', OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '20' },
  ])('is refused with its name: %j', (env: Record<string, string>) => {
    expect(() => readConfig(env)).toThrow(ConfigError);
    expect(() => readConfig(env)).toThrow(Object.keys(env)[0]);
  });

  it('is shown without what may be a credential', () => {
    const env = {
      OTEL_EXPORTER_OTLP_HEADERS: 'authorization=s3cret',
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://user:s3cret@collector',
    };
    const shown = JSON.stringify(describeConfig(env));
    expect(shown).not.toContain('s3cret');
    expect(shown).toContain('collector');
  });
});

it('records so many traces a second and leaves the others out whole, counted', async () => {
  let now = 0;
  const collector = await startCollector();
  const counts: Record<string, number> = {};
  const kernel = createKernel({ logLevel: 'silent' }, { monotonicMs: () => now });
  const { tracing: settings } = readConfig({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url });
  const tracing = await openTracing(settings, kernel, '1', (outcome, spans) => {
    counts[outcome] = (counts[outcome] ?? 0) + spans;
  });
  try {
    const enter = (times: number) => {
      let recorded = 0;
      for (let at = 0; at < times; at++) {
        const entry = tracing.enter('x', `00-${trace}-${span}-01`);
        if (entry.span) recorded++;
        else expect(entry.traceparent).toMatch(new RegExp(`^00-${trace}-[0-9a-f]{16}-00$`));
        const part = tracing.within('part', 'internal', entry.traceparent);
        expect(part === undefined).toBe(entry.span === undefined);
        part?.end();
        entry.span?.end();
      }
      return recorded;
    };
    expect(enter(250)).toBe(100);
    expect(counts['left-out']).toBe(150);
    now += 500;
    expect(enter(250)).toBe(50);
    now += 3_600_000;
    expect(enter(250)).toBe(100);
  } finally {
    await tracing.stop();
    await collector.close();
  }
  expect(collector.spans.length).toBe(500);
  expect(counts.sent).toBe(500);
});

it('has room for a trace that is recorded, however many are not', async () => {
  const counts: Record<string, number> = {};
  const kernel = createKernel({ logLevel: 'silent' }, { monotonicMs: () => 0 });
  const { tracing: settings } = readConfig({
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9',
    OTEL_EXPORTER_OTLP_TIMEOUT: '1',
  });
  const tracing = await openTracing(settings, kernel, '1', (outcome, spans) => {
    counts[outcome] = (counts[outcome] ?? 0) + spans;
  });
  try {
    for (let at = 0; at < 5_000; at++) expect(tracing.enter('x', `00-${trace}-${span}-00`).span).toBe(undefined);
    const entry = tracing.enter('x', `00-${trace}-${span}-01`);
    expect(entry.span).toBeDefined();
    expect(tracing.within('part', 'internal', entry.traceparent)).toBeDefined();
    expect(counts).toEqual({});
  } finally {
    await tracing.stop();
  }
});

it.each([
  ['always_off', '1', 0],
  ['traceidratio', '0', 0],
  ['parentbased_traceidratio', '1', 1],
  ['always_on', '1', 1],
] as const)('samples as %s with %s says', async (sampler, ratio, recorded) => {
  const { tracing: settings } = readConfig({
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9',
    OTEL_EXPORTER_OTLP_TIMEOUT: '1',
    OTEL_TRACES_SAMPLER: sampler,
    OTEL_TRACES_SAMPLER_ARG: ratio,
  });
  const tracing = await openTracing(settings, createKernel({ logLevel: 'silent' }), '1', () => {});
  const entry = tracing.enter('x', undefined);
  expect(entry.span ? 1 : 0).toBe(recorded);
  await tracing.stop();
});

it('an allowance gives so many at once, and fills evenly', () => {
  let now = 0;
  const allowance = new Allowance(10, () => now);
  const take = () => Array.from({ length: 20 }, () => allowance.take()).filter(Boolean).length;
  expect([take(), take()]).toEqual([10, 0]);
  now = 250;
  expect(take()).toBe(2);
  now = 10_000;
  expect(take()).toBe(10);
});

describe('a histogram', () => {
  const about = { name: 'took_seconds', help: 'How long', labels: ['door', 'what'] };
  const at = 1_700_000_000_000;

  it('is told with its exemplars in OpenMetrics, and without them in the text of Prometheus', () => {
    const told = new Histogram({ ...about, buckets: [0.1, 1] }, () => at);
    told.observe('http a', 0.05);
    told.observe('http a', 1, trace);
    told.observe('http a', 7, span);
    expect(told.text('text').split('\n')).toEqual([
      '# HELP took_seconds How long',
      '# TYPE took_seconds histogram',
      'took_seconds_bucket{le="0.1",door="http",what="a"} 1',
      'took_seconds_bucket{le="1",door="http",what="a"} 2',
      'took_seconds_bucket{le="+Inf",door="http",what="a"} 3',
      'took_seconds_sum{door="http",what="a"} 8.05',
      'took_seconds_count{door="http",what="a"} 3',
      '',
    ]);
    const open = told.text('openmetrics');
    expect(open).toContain(`{le="1.0",door="http",what="a"} 2 # {trace_id="${trace}"} 1 1700000000.000\n`);
    expect(open).toContain('{le="0.1",door="http",what="a"} 1\n');
  });

  it('adds up others with finer bounds, and loses nothing', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 10, noNaN: true })), (values) => {
        const fine = new Histogram({ ...about, buckets: [0.1, 0.5, 1, 5] }, () => at);
        const direct = new Histogram({ ...about, buckets: [0.5, 5] }, () => at);
        const added = new Histogram({ ...about, buckets: [0.5, 5] }, () => at);
        for (const value of values) {
          fine.observe('x y', value);
          direct.observe('a b', value);
        }
        added.add(fine, (name) => (name === 'x y' ? 'a b' : undefined));
        expect(added.text('text')).toBe(direct.text('text'));
      }),
    );
  });
});
