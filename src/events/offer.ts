/** A flush just committed, as the followers in the same process are offered it, so that nobody reads it back. */
import type { Offered } from './follow.ts';
import type { Append, Recorded, Verdict } from './log.ts';

/**
 * What a flush wrote, as a reader would find it. The positions of a flush are dense, and in the order of its appends.
 * Nothing when nothing was written.
 */
export function offerOf(appends: readonly Append[], verdicts: readonly Verdict[]): Offered | undefined {
  const events: Recorded[] = [];
  for (let at = 0; at < appends.length; at++) {
    const verdict = verdicts[at]!;
    if (verdict.status !== 'written') continue;
    const append = appends[at]!;
    for (let i = 0; i < append.events.length; i++) {
      const { id, type, version, time, data, meta } = append.events[i]!;
      const back = append.events.length - 1 - i;
      const [position, revision] = [verdict.position - back, verdict.revision - back];
      events.push({ position, stream: append.stream, revision, id, type, version, time, data, meta });
    }
  }
  const last = events.at(-1);
  return last && { events, through: last.position, after: last.position - events.length };
}
