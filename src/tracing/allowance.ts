/** So many a second, and as many at once: a bucket that fills evenly. */
export class Allowance {
  readonly #perSecond: number;
  readonly #nowMs: () => number;
  #left: number;
  #filledMs: number;

  /** @param nowMs of a clock that never goes back. */
  constructor(perSecond: number, nowMs: () => number) {
    this.#perSecond = perSecond;
    this.#nowMs = nowMs;
    this.#left = perSecond;
    this.#filledMs = nowMs();
  }

  /** Whether one could be taken now. */
  has(): boolean {
    if (this.#left >= 1) return true;
    const now = this.#nowMs();
    this.#left = Math.min(this.#perSecond, this.#left + ((now - this.#filledMs) * this.#perSecond) / 1000);
    this.#filledMs = now;
    return this.#left >= 1;
  }

  /** Takes one, if there is one. */
  take(): boolean {
    if (!this.has()) return false;
    this.#left--;
    return true;
  }
}
