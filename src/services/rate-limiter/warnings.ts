/** The warning at four fifths of an allowance: an event, once a minute an identity and limit, and a packet to the node it is about. */
import { decode } from '../../events/catalog.ts';
import type { Hub } from '../../hub.ts';
import type { WebsocketPool } from '../websocket-pool.ts';
import type { Count } from './accounts.ts';
import { add, type Bucket, leak, parts, waitFor, windowMs } from './bucket.ts';
import { unitsOf } from './limiter.ts';

const warningStream = 'limit-warnings';

/** Events a minute of this replica, and events under way at once; the rest is dropped: a flood of warnings warns of nothing. */
const mostWarnings = 100;

/** `isFirst`: whether no other replica said so within so many milliseconds. */
export function warner(
  { executor, kernel }: Pick<Hub, 'executor' | 'kernel'>,
  isFirst: (name: string, ms: number) => Promise<boolean>,
): (count: Count) => void {
  const written: Bucket = { level: 0, atMs: 0 };
  let underWay = 0;
  const write = async ({ who, kind, allowed }: Count, level: number) => {
    if (!(await isFirst(`${kind}:${who}`, windowMs))) return;
    const unit = unitsOf[kind];
    const data = { who, limit: kind, used: level / parts / unit, allowed: allowed / unit };
    await executor.note(warningStream, [{ type: 'limits.warned', data }], { actor: 'hub' });
  };
  return (count) => {
    if (count.who.startsWith('address:')) return; // strangers would fill the log
    const level = leak(written, mostWarnings, Math.floor(kernel.monotonicMs()));
    if (underWay >= mostWarnings || waitFor(level, 1, mostWarnings) > 0) return;
    add(written, 1, mostWarnings);
    underWay++;
    write(count, count.level)
      .catch((error: unknown) =>
        kernel.log.warn({ err: error, who: count.who }, 'a warning of a limit was not written'),
      )
      .finally(() => underWay--);
  };
}

/** Tells each node that is connected here when it is warned, at whichever replica that was found. What is returned stops it. */
export async function tellWarned({ log }: Hub, sockets: WebsocketPool): Promise<() => Promise<void>> {
  const subscription = log.subscribe(
    await log.head(),
    ({ events }) => {
      for (const recorded of events) {
        const event = decode(recorded);
        if (event.type !== 'limits.warned' || !event.data.who.startsWith('node:')) continue;
        const { who, ...warning } = event.data;
        const packet = { ...warning, window_seconds: windowMs / 1000 };
        sockets.tell(who.slice('node:'.length), 'federation:limit-warning', packet);
      }
    },
    { types: ['limits.warned'] },
  );
  return () => subscription.close();
}
