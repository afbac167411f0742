/** OpenMetrics, for scrapers that ask for it. */

/**
 * OpenMetrics 1.0 of what prom-client wrote as Prometheus text: a family of counters is named without `_total`, bounds of buckets
 * are written as floats; the end is for the caller to mark. prom-client's own way renames the counters for good.
 */
export function openMetrics(text: string): string {
  const lines = text.split('\n').filter((line) => line !== '');
  const counters = new Set(lines.flatMap((line) => /^# TYPE (\w+)_total counter$/.exec(line)?.[1] ?? []));
  const told = lines.map((line) => {
    const family = /^# (?:HELP|TYPE) (\w+)_total /.exec(line)?.[1];
    if (family !== undefined && counters.has(family)) return line.replace('_total ', ' ');
    return line.replace(/le="(\d+)"/, 'le="$1.0"');
  });
  return `${told.join('\n')}\n`;
}
