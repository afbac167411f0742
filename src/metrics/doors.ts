/** What the doors were asked, by route and packet; and of that, how much each service was asked, how that ended and how long it took. */
import type { Registry } from 'prom-client';
import { type ClientPacketName, clientPackets } from '../protocol.ts';
import type { ServiceName } from '../tiers.ts';
import { Histogram } from './histogram.ts';
import { count, countLate } from './late-counter.ts';

/** A request that was answered, as its door tells of it. */
export interface Requested {
  readonly method: string;
  /** The template; undefined for a path that is not there. */
  readonly route: string | undefined;
  /** Answers for the route. */
  readonly service: ServiceName | undefined;
  readonly status: number;
  readonly tookMs: number;
  /** The answer lasts as long as whoever asked wants. */
  readonly streams: boolean;
  /** Of the trace that it belongs to, if one is recorded. */
  readonly traceId: string | undefined;
}

export interface Answered {
  /** Undefined for a name that is none. */
  readonly packet: ClientPacketName | undefined;
  readonly outcome: 'ok' | 'refused' | 'failed';
  readonly tookMs: number;
  readonly traceId: string | undefined;
}

const brief = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5];
/** Of these, for what is told by service. */
const few = [0.005, 0.025, 0.1, 0.25, 1, 5];

const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

/** Nothing of what it is given is text from outside. */
export class AskedAtDoors {
  readonly requestSeconds: Histogram;
  readonly packetSeconds: Histogram;
  readonly #now: () => number;
  /** By method, route and class of status. */
  readonly #requests = new Map<string, number>();
  /** By name and outcome. */
  readonly #packets = new Map<string, number>();
  /** By method and route. */
  readonly #serviceOf = new Map<string, string>();
  /** Routes, likewise, whose answers last. */
  readonly #lasting = new Set<string>();

  /** @param now milliseconds since 1970. */
  constructor(registry: Registry, now: () => number) {
    this.#now = now;
    countLate(registry, {
      name: 'federation_http_requests_total',
      help: 'HTTP requests that were answered',
      labels: ['method', 'route', 'status'],
      counts: () => this.#requests,
    });
    countLate(registry, {
      name: 'federation_packets_total',
      help: 'Packets that nodes sent',
      labels: ['packet', 'outcome'],
      counts: () => this.#packets,
    });
    countLate(registry, {
      name: 'federation_door_requests_total',
      help: 'Requests and packets that were answered, by the service that answers for them',
      labels: ['door', 'service', 'outcome'],
      counts: () => this.#byService(),
    });
    const request = {
      name: 'federation_http_request_duration_seconds',
      help: 'From the head of a request to the end of its answer; of streams, as long as they last',
      labels: ['method', 'route'],
    };
    const packet = {
      name: 'federation_packet_duration_seconds',
      help: 'From a packet to its acknowledgement',
      labels: ['packet'],
    };
    this.requestSeconds = new Histogram({ ...request, buckets: brief }, now);
    this.packetSeconds = new Histogram({ ...packet, buckets: brief }, now);
  }

  requested({ method, route, service, status, tookMs, streams, traceId }: Requested): void {
    const key = `${methods.has(method) ? method : 'other'} ${route ?? '(none)'}`;
    count(this.#requests, `${key} ${Math.floor(status / 100)}xx`);
    this.#serviceOf.set(key, service ?? '(none)');
    if (streams) this.#lasting.add(key);
    this.requestSeconds.observe(key, tookMs / 1000, traceId);
  }

  answered({ packet, outcome, tookMs, traceId }: Answered): void {
    const key = packet ?? '(none)';
    count(this.#packets, `${key} ${outcome}`);
    this.packetSeconds.observe(key, tookMs / 1000, traceId);
  }

  /** By door and service. Made of what is told by route and packet, so that it costs nothing but a scrape. Answers that last are left out. */
  seconds(): Histogram {
    const help =
      'From a request or packet to the end of its answer, by the service that answers for it; without streams';
    const about = { name: 'federation_door_duration_seconds', help, buckets: few, labels: ['door', 'service'] };
    const doors = new Histogram(about, this.#now);
    doors.add(this.requestSeconds, (key) => (this.#lasting.has(key) ? undefined : `http ${this.#serviceOf.get(key)}`));
    doors.add(this.packetSeconds, (packet) => `socket ${takerOf(packet)}`);
    return doors;
  }

  #byService(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const [key, times] of this.#requests) {
      const [method, route, status] = key.split(' ') as [string, string, string]; // as `requested` wrote it
      const outcome = status === '5xx' ? 'failed' : status === '4xx' ? 'refused' : 'ok';
      count(counts, `http ${this.#serviceOf.get(`${method} ${route}`)} ${outcome}`, times);
    }
    for (const [key, times] of this.#packets) {
      const [packet, outcome] = key.split(' ') as [string, string]; // as `answered` wrote it
      count(counts, `socket ${takerOf(packet)} ${outcome}`, times);
    }
    return counts;
  }
}

/** Which service takes a packet. */
function takerOf(packet: string): string {
  return packet in clientPackets ? clientPackets[packet as ClientPacketName].service : '(none)'; // it is one of its keys
}
