/** Who offers what, and how each can be reached: the directory that calls are routed by. */
import { LRUCache } from 'lru-cache';
import { Type } from 'typebox';
import type { ServiceClaim } from '../../events/node.ts';
import { NodeId } from '../../events/node.ts';
import type { Hub } from '../../hub.ts';
import type { NodeRow } from '../../projections/nodes.ts';
import type { HealthAggregator } from '../health-aggregator.ts';
import type { CircuitState } from './circuits.ts';

/** One node and one of its services. */
export interface Target {
  readonly nodeId: string;
  /** '' for the node itself, of a call by capability. */
  readonly service: string;
  /** The URL under which it is dialled, without a slash at its end; undefined when it cannot be. */
  readonly base: string | undefined;
  /** It has a socket, at some replica. */
  readonly socket: boolean;
}

/** A service of a node, as the discovery tells of it. */
export const Offer = Type.Object({
  node_id: NodeId,
  display_name: Type.Union([Type.String(), Type.Null()]),
  node_status: Type.Union([Type.Literal('online'), Type.Literal('suspect'), Type.Literal('offline')]),
  status: Type.Union([Type.Literal('running'), Type.Literal('degraded'), Type.Literal('stopped')], {
    description: 'What the node says of the service; running when it says nothing',
  }),
  version: Type.Union([Type.String(), Type.Null()]),
  capabilities: Type.Array(Type.String()),
  url: Type.Union([Type.String(), Type.Null()], { description: 'Where the hub dials it; null when it cannot' }),
  reachability: Type.Union([Type.Literal('direct'), Type.Literal('socket'), Type.Null()], {
    description: 'How a routed call would go: dialled, through the socket of the node, or not at all',
  }),
  circuit: Type.Union([Type.Literal('closed'), Type.Literal('open'), Type.Literal('half_open')], {
    description: 'Whether this replica calls it: not while open',
  }),
});
export type Offer = Type.Static<typeof Offer>;

const knownBases = 10_000;
const rank = { online: 0, suspect: 1, offline: 2 } as const;

export class Targets {
  readonly #hub: Hub;
  readonly #health: HealthAggregator;
  /** What was made of a node's URL and a port: the same each time. */
  readonly #bases = new LRUCache<string, { base: string | undefined }>({ max: knownBases });

  constructor(hub: Hub, health: HealthAggregator) {
    this.#hub = hub;
    this.#health = health;
  }

  /** All that say they offer a service; those that live first, then by id. */
  offers(service: string, circuitOf: (target: Target) => CircuitState): Offer[] {
    const offers: Offer[] = [];
    for (const node of this.#hub.live.nodes.values()) {
      const claim = this.#claim(node, service);
      if (!claim || !this.#mayBeCalled(node)) continue;
      const target = this.#target(node, service, claim);
      offers.push({
        node_id: node.node_id,
        display_name: node.display_name,
        node_status: node.status,
        status: claim.status ?? 'running',
        version: claim.version ?? null,
        capabilities: node.capabilities,
        url: target.base ?? null,
        reachability: target.base ? 'direct' : target.socket ? 'socket' : null,
        circuit: circuitOf(target),
      });
    }
    return offers.sort((a, b) => rank[a.node_status] - rank[b.node_status] || (a.node_id < b.node_id ? -1 : 1));
  }

  mayBeCalled(nodeId: string): boolean {
    const node = this.#hub.live.nodes.get(nodeId);
    return node !== undefined && this.#mayBeCalled(node);
  }

  /** A service of a node, when it may be called now. */
  named(nodeId: string, service: string): Target | undefined {
    const node = this.#hub.live.nodes.get(nodeId);
    return node && this.#callable(node, service);
  }

  /** All that offer a service and may be called now. */
  offering(service: string): Target[] {
    const all = [...this.#hub.live.nodes.values()].map((node) => this.#callable(node, service));
    return all.filter((target) => target !== undefined);
  }

  /**
   * All that have a capability and may be called now: by the service that is named, else by their service of the capability's
   * name, else the node itself.
   */
  capable(capability: string, service: string | undefined): Target[] {
    const all = [...this.#hub.live.nodes.values()].map((node) => {
      if (!node.capabilities.includes(capability)) return undefined;
      if (service !== undefined) return this.#callable(node, service);
      return this.#callable(node, this.#claim(node, capability) ? capability : '');
    });
    return all.filter((target) => target !== undefined);
  }

  #callable(node: NodeRow, service: string): Target | undefined {
    const claim = service === '' ? {} : this.#claim(node, service);
    if (!claim || claim.status === 'stopped' || node.status === 'offline' || !this.#mayBeCalled(node)) return undefined;
    const target = this.#target(node, service, claim);
    return target.base || target.socket ? target : undefined;
  }

  #mayBeCalled({ node_id: nodeId, role }: NodeRow): boolean {
    return this.#hub.doors.judge({ kind: 'node', nodeId, sessionId: '', role }) === undefined;
  }

  /** What the node says of a service: the newest heartbeat over the profile. */
  #claim({ node_id, profile }: NodeRow, service: string): ServiceClaim | undefined {
    const said = [profile.services, this.#health.reading(node_id)?.services];
    const claims = said.flatMap((services) => (services && Object.hasOwn(services, service) ? services[service]! : []));
    return claims.length < 2 ? claims[0] : Object.assign({}, ...claims);
  }

  #target({ node_id: nodeId, profile }: NodeRow, service: string, { port }: ServiceClaim): Target {
    const socket = this.#hub.live.sessions.get(`${nodeId}/socket`)?.status === 'open';
    return { nodeId, service, base: this.#base(profile.network?.public_url, port), socket };
  }

  /** Origin and path of the node's URL, with the port of the service; undefined for one that the hub may not dial. */
  #base(publicUrl: string | undefined, port: number | undefined): string | undefined {
    if (publicUrl === undefined) return undefined;
    const key = `${port ?? ''} ${publicUrl}`;
    const known = this.#bases.get(key);
    if (known) return known.base;
    let base: string | undefined;
    if (!this.#hub.egress.check(publicUrl)) {
      const url = new URL(publicUrl);
      if (port !== undefined) url.port = String(port);
      base = `${url.origin}${url.pathname.replace(/\/+$/, '')}`;
    }
    this.#bases.set(key, { base });
    return base;
  }
}
