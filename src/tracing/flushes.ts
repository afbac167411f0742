/** A span for each write of the log that holds something of a trace, with links to the commands that it wrote. */
import type { Append } from '../events/log.ts';
import type { Kernel } from '../kernel.ts';
import type { Tracer } from '../tracing.ts';
import { tracedIn } from './traceparent.ts';

/** To be given to the log, where anything is traced at all. */
export function observeFlushes(tracing: Tracer, kernel: Kernel): (appends: readonly Append[], tookMs: number) => void {
  return (appends, tookMs) => {
    const traceparents = appends.flatMap(({ events }) => tracedIn(events[0]?.meta ?? '') ?? []);
    if (traceparents.length === 0) return;
    const events = appends.reduce((sum, append) => sum + append.events.length, 0);
    const attributes = { 'federation.appends': appends.length, 'federation.events': events };
    tracing.together('log.flush', { traceparents, beganMs: kernel.now() - tookMs, tookMs, attributes });
  };
}
