/** Whether many are turned away because of the level: by what was put aside and served in the last seconds. */

/** Windows of half a second that are looked back at. */
const lookBack = 4;
/** Put aside in a window: below this it is nobody's load. */
const few = 3;
const share = 0.2;

export class Demand {
  readonly #shed: number[] = [];
  /** What was asked for in the busiest window since the level rose. */
  #busiest = 0;

  /** Counts a window. Answers whether many are turned away now. */
  note(window: { readonly shed: number; readonly served: number }, normal: boolean): boolean {
    this.#shed.push(window.shed);
    if (this.#shed.length > lookBack) this.#shed.shift();
    this.#busiest = normal ? 0 : Math.max(this.#busiest, window.shed + window.served);
    const average = this.#shed.reduce((sum, each) => sum + each, 0) / this.#shed.length;
    return average >= Math.max(few, share * this.#busiest);
  }
}
