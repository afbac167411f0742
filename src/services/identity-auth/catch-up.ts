/** Waiting until what this replica knows is as new as the log was a moment ago: what another replica did is known here then. */
import type { Hub } from '../../hub.ts';

const longestMs = 500;

/**
 * Gives a function that resolves when the maps of nodes, keys, sessions and tokens hold what the log held when it was called, or after
 * half a second. One wait is under way at a time, and those who call meanwhile share the next: strangers cannot make more of them.
 */
export function createCatchUp({ log, live }: Pick<Hub, 'log' | 'live'>): () => Promise<void> {
  let running: Promise<void> | undefined;
  let next: Promise<void> | undefined;

  const run = async (): Promise<void> => {
    const head = await log.head();
    const maps = [live.nodes, live.keys, live.sessions, live.operatorTokens];
    await Promise.all(maps.map((map) => map.waitFor(head, longestMs)));
  };
  const start = (): Promise<void> => {
    const started = run()
      .catch(() => {}) // too late, or no log: whoever waited goes by what is known
      .finally(() => {
        running = next;
        next = undefined;
      });
    return started;
  };
  return () => {
    if (!running) {
      running = start();
      return running;
    }
    next ??= running.then(start);
    return next;
  };
}
