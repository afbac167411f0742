/** Finds who offers a service, and brings calls to them: dialled where that can be, through the node's own socket where not. */
import type { Refusal } from '../errors.ts';
import { healthAggregator } from './health-aggregator.ts';
import { service } from './service.ts';
import type { Routed } from './service-router/call.ts';
import { type Asked, Router } from './service-router/router.ts';
import { SocketCalls } from './service-router/socket-calls.ts';
import { Offer, Targets } from './service-router/targets.ts';
import { websocketPool } from './websocket-pool.ts';

export { CallerGone, LentBody, Presence, usualMs } from './service-router/call.ts';
export { restOf } from './service-router/path.ts';
export { Offer };

export interface ServiceRouter {
  /** All nodes that say they offer a service; those that live first, then by id. */
  offers(service: string): Offer[];
  /** Whether a node may be called at all: it is a member, neither banned nor blocked. */
  mayBeCalled(nodeId: string): boolean;
  /**
   * Brings a call to its target. Refuses `invalid_input`, `loop_detected`, `no_target`, and with what was `tried` and the
   * `alternatives` `target_unreachable`, `target_timeout`, `circuit_open`, `egress_refused`, `overloaded`. Throws `CallerGone`.
   */
  route(asked: Asked): Promise<Routed | Refusal>;
}

export const serviceRouter = service({
  name: 'service-router',
  purpose: 'Discovery by service and capability, and routed calls with retries and circuit breakers',
  needs: { sockets: websocketPool, health: healthAggregator },
  async start(hub, { sockets, health }) {
    const calls = new SocketCalls(hub, sockets);
    const router = new Router(hub, new Targets(hub, health), calls);
    const unread = hub.metrics.onScrape({
      name: 'routing',
      gauges: ['routedCalls', 'openCircuits'],
      read() {
        const { calls: underWay, openCircuits } = router.counts();
        hub.metrics.set('routedCalls', {}, underWay);
        hub.metrics.set('openCircuits', {}, openCircuits);
      },
    });
    return {
      api: router as ServiceRouter,
      async stop() {
        unread();
        calls.close();
      },
    };
  },
});
