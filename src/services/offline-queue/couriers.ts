/** The couriers of the nodes whose sockets are at this replica: one each, from when the socket is there until it is gone. */
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { WebsocketPool } from '../websocket-pool.ts';
import { Courier, type CourierParts } from './courier.ts';

export class Couriers {
  readonly #hub: Hub;
  readonly #sockets: WebsocketPool;
  readonly #parts: CourierParts;
  readonly #couriers = new Map<string, Courier>();
  readonly #stops: Cancel[];

  constructor(hub: Hub, sockets: WebsocketPool, parts: CourierParts) {
    this.#hub = hub;
    this.#sockets = sockets;
    this.#parts = parts;
    this.#stops = [
      sockets.onOpen((nodeId) => this.#begin(nodeId)),
      sockets.onGone((nodeId) => this.#end(nodeId)),
      // Who was blocked may hear again; it need not come back for that.
      hub.live.access.onChange(() => this.kickAll()),
    ];
  }

  /** There may be mail for anyone. */
  kickAll(): void {
    for (const courier of this.#couriers.values()) courier.kick();
  }

  /** Mail came for a node. */
  arrived(nodeId: string): void {
    this.#couriers.get(nodeId)?.kick();
  }

  /** Something left the mailbox of a node. */
  moved(nodeId: string): void {
    this.#couriers.get(nodeId)?.moved();
  }

  /** Hands over to a node whose socket is here; false when it is not. */
  kick(nodeId: string): boolean {
    if (!this.#sockets.has(nodeId)) return false;
    const courier = this.#couriers.get(nodeId);
    if (courier) courier.kick();
    else this.#begin(nodeId);
    return true;
  }

  /** The last position that was handed over to a node in its session here; 0 without one. */
  furthest(nodeId: string): number {
    return this.#couriers.get(nodeId)?.furthest ?? 0;
  }

  close(): void {
    for (const stop of this.#stops) stop();
    for (const nodeId of [...this.#couriers.keys()]) this.#end(nodeId);
  }

  #begin(nodeId: string): void {
    this.#end(nodeId);
    const courier = new Courier(this.#hub, this.#sockets, this.#parts, nodeId);
    this.#couriers.set(nodeId, courier);
    courier.kick();
  }

  #end(nodeId: string): void {
    this.#couriers.get(nodeId)?.close();
    this.#couriers.delete(nodeId);
  }
}
