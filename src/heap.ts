/** A binary heap whose members know their place, so that any of them can be taken out in logarithmic time. */

export interface Placed {
  /** Lower comes first. */
  rank: number;
  /** Decides among equal ranks: lower comes first. No two are alike. */
  turn: number;
  /** Place in the heap; the heap's own. */
  place: number;
}

export class Heap<Member extends Placed> {
  readonly #members: Member[] = [];

  get size(): number {
    return this.#members.length;
  }

  /** The one that comes first, which stays. */
  first(): Member | undefined {
    return this.#members[0];
  }

  push(member: Member): void {
    this.#members.push(member);
    this.#rise(member, this.#members.length - 1);
  }

  /** Takes out one that is in. Its rank must still be the one it was pushed with. */
  remove(member: Member): void {
    const last = this.#members.pop()!; // `member` is in, so there is one
    if (last === member) return;
    const hole = member.place;
    this.#sink(last, hole);
    if (last.place === hole) this.#rise(last, hole);
  }

  #rise(member: Member, from: number): void {
    let place = from;
    while (place > 0) {
      const above = (place - 1) >> 1;
      const parent = this.#members[above]!;
      if (!isBefore(member, parent)) break;
      this.#put(parent, place);
      place = above;
    }
    this.#put(member, place);
  }

  #sink(member: Member, from: number): void {
    let place = from;
    for (;;) {
      let below = 2 * place + 1;
      const left = this.#members[below];
      if (!left) break;
      const right = this.#members[below + 1];
      const child = right && isBefore(right, left) ? right : left;
      if (child === right) below++;
      if (!isBefore(child, member)) break;
      this.#put(child, place);
      place = below;
    }
    this.#put(member, place);
  }

  #put(member: Member, place: number): void {
    this.#members[place] = member;
    member.place = place;
  }
}

export function isBefore(a: Placed, b: Placed): boolean {
  return a.rank === b.rank ? a.turn < b.turn : a.rank < b.rank;
}
