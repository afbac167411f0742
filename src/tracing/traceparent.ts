/** The name of a span as it travels: W3C Trace Context. */

/** What `traceparent` says. */
export interface TraceParent {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** 16 hexadecimal digits. */
  readonly spanId: string;
  /** Whoever sent it records the trace. */
  readonly sampled: boolean;
}

const shape = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const nought = /^0+$/;
/** Of a name of version 00; what is longer is not looked at. */
const mostLength = 256;

/** Reads a `traceparent`; undefined for what is none, which is as if it were not there. */
export function readTraceparent(value: unknown): TraceParent | undefined {
  if (typeof value !== 'string' || value.length > mostLength) return undefined;
  const [, version, traceId, spanId, flags, more] = shape.exec(value) ?? [];
  if (version === undefined || traceId === undefined || spanId === undefined || flags === undefined) return undefined;
  if (version === 'ff' || (version === '00' && more !== undefined)) return undefined;
  if (nought.test(traceId) || nought.test(spanId)) return undefined;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

export function writeTraceparent({ traceId, spanId, sampled }: TraceParent): string {
  return `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`;
}

const inMeta = /"traceparent":"(00-[0-9a-f]{32}-[0-9a-f]{16}-01)"/;

/** The trace that an event belongs to, out of the text of its meta; undefined when there is none or nobody records it. */
export function tracedIn(meta: string): string | undefined {
  return inMeta.exec(meta)?.[1];
}
