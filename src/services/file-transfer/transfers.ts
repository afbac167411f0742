/** How many transfers are under way at this replica: bounded for each actor, and for all. */
import { type Refusal, refuse } from '../../errors.ts';

const mostTransfers = 512;
const mostOfOne = 64;

export class Transfers {
  readonly #byActor = new Map<string, number>();
  #all = 0;

  /** A place; what is answered gives it back, once. Refuses `overloaded`. */
  take(actor: string): (() => void) | Refusal {
    const own = this.#byActor.get(actor) ?? 0;
    if (own >= mostOfOne) return refuse('overloaded', `${mostOfOne} transfers of this identity are under way here`);
    if (this.#all >= mostTransfers) return refuse('overloaded', `${mostTransfers} transfers are under way here`);
    this.#all++;
    this.#byActor.set(actor, own + 1);
    let given = false;
    return () => {
      if (given) return;
      given = true;
      this.#all--;
      const left = this.#byActor.get(actor)! - 1; // it was counted above
      if (left === 0) this.#byActor.delete(actor);
      else this.#byActor.set(actor, left);
    };
  }
}
