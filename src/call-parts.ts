/** Parts of a routed call on their way over sockets: bytes cut to what a packet takes, and packets put back in the order they were sent in. */

/** Bytes in one packet at most. */
export const partBytes = 64 * 1024;
/** Parts that are sent before the first of them is acknowledged. */
const partsAhead = 3;

/** Cuts a chunk into parts. */
export function* cut(chunk: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < chunk.length; at += partBytes) yield chunk.subarray(at, at + partBytes);
}

/** Sends at most `partsAhead` things at once, in order, as they are taken. */
export class Window {
  readonly #underWay = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;

  /** Resolves when there is room for the next. Throws what any sent before threw. */
  async send(sending: Promise<unknown>): Promise<void> {
    const sent: Promise<void> = sending.then(
      () => void this.#underWay.delete(sent),
      (error: unknown) => {
        this.#underWay.delete(sent);
        this.#failure ??= { error };
      },
    );
    this.#underWay.add(sent);
    while (this.#underWay.size >= partsAhead) await Promise.race(this.#underWay);
    this.#check();
  }

  /** Resolves when all were taken. */
  async drain(): Promise<void> {
    await Promise.all(this.#underWay);
    this.#check();
  }

  #check(): void {
    if (this.#failure) throw this.#failure.error;
  }
}

/**
 * Puts what comes by its number back in order. Whoever takes parts acknowledges one only when its turn came: else its sender
 * would run ahead of one that is late.
 */
export class InOrder<Part extends { readonly seq: number }> {
  readonly #early = new Map<number, Part>();
  #next = 0;

  /** Whether the turn of a part has not come yet. */
  isEarly({ seq }: Part): boolean {
    return seq >= this.#next;
  }

  /** The parts whose turn it is now; undefined for one that came before, or is further ahead than anyone may send. */
  take(part: Part): Part[] | undefined {
    if (part.seq < this.#next || part.seq > this.#next + 2 * partsAhead || this.#early.has(part.seq)) return undefined;
    this.#early.set(part.seq, part);
    const due: Part[] = [];
    for (let found = this.#early.get(this.#next); found; found = this.#early.get(this.#next)) {
      this.#early.delete(this.#next++);
      due.push(found);
    }
    return due;
  }
}
