/** Work that keeps its order by key: at once when nothing of its key waits, else after what came before, whatever became of that. */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>();

  take<T>(key: string, work: () => T | Promise<T>): T | Promise<T> {
    const before = this.#last.get(key);
    const turn = before ? before.then(work) : work();
    if (!(turn instanceof Promise)) return turn;
    const settled = turn
      .catch(() => {})
      .finally(() => {
        if (this.#last.get(key) === settled) this.#last.delete(key);
      });
    this.#last.set(key, settled);
    return turn;
  }
}
