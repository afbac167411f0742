/** Everyone who cares hears of what happens: in the hub, on streams and sockets, at web addresses; by pattern, from any position on. */
import type { Identity } from '../doors.ts';
import type { Refusal } from '../errors.ts';
import type { EventType, LogEvent } from '../events/catalog.ts';
import type { Cancel } from '../kernel.ts';
import type { SubscriptionRow } from '../projections/subscriptions.ts';
import { Channels } from './event-bus/channels.ts';
import { type CursorAnswer, Cursors, type CursorWish } from './event-bus/cursors.ts';
import { Facts } from './event-bus/facts.ts';
import { Fanout } from './event-bus/fanout.ts';
import { Orphans } from './event-bus/orphans.ts';
import { typesOf } from './event-bus/patterns.ts';
import { type Standing, standingOf, type TokenProof } from './event-bus/standing.ts';
import { type EventStream, Streams, type StreamWish } from './event-bus/streams.ts';
import { createSubscriptions, type Subscriptions } from './event-bus/subscriptions.ts';
import { Webhooks } from './event-bus/webhooks.ts';
import { service } from './service.ts';
import { type WebsocketPool, websocketPool } from './websocket-pool.ts';

export type { CursorAnswer, CursorWish } from './event-bus/cursors.ts';
export type { StreamWish } from './event-bus/streams.ts';

export interface EventBus {
  /** Calls a listener inside the hub with each event of the patterns, in order, from now on. */
  on(patterns: readonly string[], listener: (event: LogEvent) => void): Cancel;
  /** A stream of events for one reader, as `text/event-stream`. Refuses `overloaded`, `limit_reached`, `not_ready`. */
  open(wish: StreamWish): EventStream | Refusal;
  /** What an identity that came through the door, with a session or without, is worth at any later moment. */
  standing(identity: Identity, session: TokenProof | undefined): Standing;
  readonly subscriptions: Subscriptions;
  /** What lies after the position of a subscription that is read. Refuses `conflict`, `limit_reached`, `overloaded`. */
  read(row: SubscriptionRow, wish: CursorWish): Promise<CursorAnswer | Refusal>;
  /** The types that patterns name and that are told to anyone. */
  typesOf(patterns: readonly string[]): ReadonlySet<EventType>;
  /** How many listen at this replica. */
  counts(): { readonly streams: number };
}

export const eventBus = service({
  name: 'event-bus',
  purpose: 'Events by pattern: streams, sockets, durable cursors and webhooks, with rights asked at each delivery',
  needs: { sockets: websocketPool },
  async start(hub, { sockets }) {
    const facts = new Facts(hub);
    const fanout = new Fanout(hub, facts, await hub.log.head());
    const streams = new Streams(hub, fanout);
    const channels = new Channels(hub, sockets, fanout);
    const cursors = new Cursors(hub, facts, fanout);
    const lease = hub.leases.acquire('event-bus');
    const orphans = new Orphans(hub, lease);
    const webhooks = new Webhooks(hub, fanout, facts, { lease, isOrphan: (id) => orphans.has(id) });
    const stops = [...handlePackets(sockets, channels), tellPaused(fanout, sockets)];
    const api: EventBus = {
      on: (patterns, listener) => fanout.add({ types: typesOf(patterns), take: ({ event }) => listener(event) }),
      open: (wish) => streams.open(wish),
      standing: (identity, session) => standingOf(hub, identity, session),
      subscriptions: createSubscriptions(hub),
      read: (row, wish) => cursors.read(row, wish),
      typesOf,
      counts: () => ({ streams: streams.size }),
    };
    return {
      api,
      async stop() {
        for (const stop of stops) stop();
        streams.close();
        cursors.close();
        channels.close();
        await webhooks.close();
        await orphans.close();
        await fanout.close();
        await lease.release();
      },
    };
  },
});

function handlePackets(sockets: WebsocketPool, channels: Channels): Cancel[] {
  return [
    sockets.handle('federation:subscribe', (client, wish) => channels.subscribe(sockets.channel(client), wish)),
    sockets.handle(
      'federation:unsubscribe',
      async (client, { subscription }) => channels.unsubscribe(sockets.channel(client), subscription) ?? {},
    ),
  ];
}

/** Tells the owner of a subscription that it was paused, wherever its socket is; not what it did itself. */
function tellPaused(fanout: Fanout, sockets: WebsocketPool): Cancel {
  return fanout.add({
    types: typesOf(['subscription.paused']),
    take(shown) {
      const [owner] = shown.parties;
      const { data, meta } = shown.event as LogEvent<'subscription.paused'>; // the one type asked for
      if (!owner?.actor.startsWith('node:') || meta.actor === owner.actor || !shown.isOf(owner.actor)) return;
      const packet = { subscription: data.subscription_id, event: shown.view('full').event };
      sockets.tell(owner.actor.slice('node:'.length), 'federation:event', packet);
    },
  });
}
