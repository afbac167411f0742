/** How much of its work a replica puts aside while it has more to do than it can: by what it measures, or as administrators order. */
import { degradationOrder, giveOrder, liftOrder, type Order, orderStream } from '../commands/degradation.ts';
import type { About, Executed } from '../commands/execute.ts';
import { isRefusal, type Refusal } from '../errors.ts';
import { type ChangeCause, type Level, levels } from '../events/degradation.ts';
import type { Hub } from '../hub.ts';
import type { HubPacket } from '../protocol.ts';
import { shedServices } from '../shedding.ts';
import { LoadDoor } from './degradation/door.ts';
import { LoadWatch } from './degradation/load-watch.ts';
import { Meter } from './degradation/meter.ts';
import { rateLimiter } from './rate-limiter.ts';
import { service } from './service.ts';
import { websocketPool } from './websocket-pool.ts';

export { thresholds } from './degradation/thresholds.ts';

export interface Degradation extends Pick<LoadWatch, 'standing' | 'measured' | 'order'> {
  /** What may be under way at the doors at once (null: anything), what is, and what waits. */
  readonly door: { readonly places: number | null; readonly under_way: number; readonly waiting: number };
  /** All replicas are at this level until then; this one when it is answered. Refuses `invalid_input`. */
  give(order: Order, about: About): Promise<Executed<Order> | Refusal>;
  /** Each replica is at the level that it measures. */
  lift(about: About): Promise<Executed<{ lifted: boolean }> | Refusal>;
}

export const degradation = service({
  name: 'degradation',
  purpose: 'Puts work aside by tier while there is too much of it, to keep the core alive',
  needs: { sockets: websocketPool },
  wants: { limiter: rateLimiter },
  async start(hub, { sockets, limiter }) {
    const { live, executor, doors } = hub;
    const door = new LoadDoor(hub);
    const before = doors.load.find(); // this one takes over from it, with its level
    const meter = new Meter({ hub, shared: () => limiter?.shared() ?? true });
    const watch = new LoadWatch({
      hub,
      door,
      before: before?.level,
      measure: () => meter.take(),
      tell: (level, cause) => sockets.announce('federation:degraded', notice(level, cause)),
    });
    const obeyed = async <T>(done: Executed<T> | Refusal): Promise<Executed<T> | Refusal> => {
      if (!isRefusal(done)) await live.degradation.waitFor(done.position).catch(() => {}); // late, then
      return done;
    };
    const stops = [
      doors.load.fill(door),
      sockets.onOpen((nodeId) => {
        const { level, cause } = watch.standing;
        if (level !== 'normal') sockets.tell(nodeId, 'federation:degraded', notice(level, cause));
      }),
      measured(hub, door),
    ];
    const api: Degradation = {
      get standing() {
        return watch.standing;
      },
      get measured() {
        return watch.measured;
      },
      get order() {
        return watch.order;
      },
      get door() {
        const { limit } = door.gate;
        return {
          places: Number.isFinite(limit) ? limit : null,
          under_way: door.gate.young,
          waiting: door.gate.waiting,
        };
      },
      give: async (order, about) =>
        obeyed(await executor.execute(orderStream, degradationOrder, giveOrder, order, about)),
      lift: async (about) => obeyed(await executor.execute(orderStream, degradationOrder, liftOrder, {}, about)),
    };
    return {
      api,
      async stop() {
        for (const stop of stops) stop();
        door.gate.close();
        meter.close();
        await watch.close(doors.load.find() !== undefined);
      },
    };
  },
});

function notice(level: Level, cause: ChangeCause): HubPacket<'federation:degraded'> {
  return { reason: level === 'normal' ? 'restored' : cause, level, sheds: shedServices(level) };
}

function measured({ metrics }: Hub, door: LoadDoor): () => void {
  return metrics.onScrape({
    name: 'degradation',
    gauges: ['degradation', 'places'],
    read() {
      metrics.set('degradation', {}, levels.indexOf(door.level));
      metrics.set('places', { kind: 'all' }, door.gate.limit);
      metrics.set('places', { kind: 'taken' }, door.gate.young);
      metrics.set('places', { kind: 'waiting' }, door.gate.waiting);
    },
  });
}
