/** Order and measure for what takes time: one after another in a lane, and only so many at once over all lanes. */

export class Lanes {
  readonly #tails = new Map<string, Promise<void>>();

  /** Runs a job when those before it in its lane are over, whatever became of them. */
  run<T>(lane: string, job: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(lane);
    const done = before ? before.then(job) : job();
    const tail = done.then(nothing, nothing);
    this.#tails.set(lane, tail);
    void tail.then(() => {
      if (this.#tails.get(lane) === tail) this.#tails.delete(lane);
    });
    return done;
  }
}

/** Places for what may be under way at once; they are given out in the order in which they were asked for. */
export class Slots {
  #most: number;
  #taken = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(most: number) {
    this.#most = most;
  }

  get taken(): number {
    return this.#taken;
  }

  /** From now on there are so many places; with 0, nothing begins. */
  resize(most: number): void {
    this.#most = most;
    this.#admit();
  }

  /** Resolves when there is a place; whoever took it must `leave`. */
  async take(): Promise<void> {
    if (this.#taken < this.#most) this.#taken++;
    else await new Promise<void>((go) => this.#waiting.push(go));
  }

  leave(): void {
    this.#taken--;
    this.#admit();
  }

  #admit(): void {
    while (this.#taken < this.#most && this.#waiting.length > 0) {
      this.#taken++;
      this.#waiting.shift()!(); // there is one
    }
  }
}

function nothing(): void {}
