/**
 * Puts what a hub pushes in order: each packet of the log once, by position, also over a reconnect, when what was missed comes
 * in between what is new.
 */
import type { AnyHubPacket } from './connection.ts';

/** How many new packets may wait while those that were missed come in. */
const heldMax = 1000;

export class Feed {
  readonly #deliver: (packet: AnyHubPacket) => void;
  /** Position of the newest packet that was handed on. */
  #seen: number | undefined;
  /** Where the session that is being resumed began; packets beyond wait for those before. */
  #start = 0;
  #held: { readonly position: number; readonly packet: AnyHubPacket }[] | undefined;

  /** @param seen where an earlier process of this node had come to. */
  constructor(deliver: (packet: AnyHubPacket) => void, seen?: number) {
    this.#deliver = deliver;
    this.#seen = seen;
  }

  /** Everything up to here was handed on; undefined before the first session. */
  get position(): number | undefined {
    return this.#seen;
  }

  /** A session began at `start`. Gives the position to resume from, or undefined when nothing was missed. */
  begin(start: number): number | undefined {
    this.#held = undefined;
    this.#seen ??= start;
    if (this.#seen >= start) return undefined; // a replica that lags behind the one before pushes again what was seen
    this.#start = start;
    this.#held = [];
    return this.#seen;
  }

  /** Takes a packet. False when too many wait: give the session up; what came in so far is not asked for again. */
  take(packet: AnyHubPacket): boolean {
    const position = 'position' in packet.packet ? packet.packet.position : undefined;
    if (position === undefined) this.#deliver(packet);
    else if (!this.#held || position <= this.#start) this.#pass(position, packet);
    else if (this.#held.push({ position, packet }) > heldMax) return false;
    return true;
  }

  /** The log ends at `position`, before what was seen: it was restored from a backup. Everything after counts as new. */
  rewind(position: number): void {
    this.#seen = position;
  }

  /** What was missed is in. */
  finish(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    this.#seen = Math.max(this.#seen ?? 0, this.#start);
    for (const { position, packet } of held.sort((a, b) => a.position - b.position)) this.#pass(position, packet);
  }

  #pass(position: number, packet: AnyHubPacket): void {
    if (this.#seen !== undefined && position <= this.#seen) return;
    this.#seen = position;
    this.#deliver(packet);
  }
}
