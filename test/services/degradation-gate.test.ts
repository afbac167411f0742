/** How much is under way at once: bursts wait and are served, what stands is turned away, P2 first. */
import { describe, expect, it } from 'vitest';
import { Gate, type Rank } from '../../src/services/degradation/gate.ts';

class Clock {
  #now = 1_000_000;
  readonly #ticks = new Set<{ ms: number; next: number; fn: () => void }>();
  monotonicMs = () => this.#now;
  every = (ms: number, fn: () => void) => {
    const tick = { ms, next: this.#now + ms, fn };
    this.#ticks.add(tick);
    return () => void this.#ticks.delete(tick);
  };
  after = (ms: number, fn: () => void) => {
    const stop = this.every(Math.max(1, ms), () => {
      stop();
      fn();
    });
    return stop;
  };
  /** The loop stands still for so long. */
  stall(ms: number): void {
    this.#now += ms;
  }
  async pass(ms: number): Promise<void> {
    for (const end = this.#now + ms; this.#now < end; ) {
      this.#now++;
      for (const tick of this.#ticks) {
        if (this.#now < tick.next) continue;
        tick.next += tick.ms;
        tick.fn();
      }
    }
    await new Promise(setImmediate);
  }
}

const places = { first: 10, least: 4, most: 40 };
const open = (queue = 20) => {
  const clock = new Clock();
  return { clock, gate: new Gate(clock, { places, queue }) };
};
/** Who was let in at once, in order. */
const come = (gate: Gate, count: number, rank: Rank = 'other') =>
  Array.from({ length: count }, () => gate.enter(rank, true));
const isIn = (place: unknown): place is number => typeof place === 'number';

describe('the door', () => {
  it('has ten places, five of them for P2, and counts what must be served without ever holding it up', () => {
    const { gate } = open();
    expect(come(gate, 7, 'p2').filter(isIn)).toHaveLength(5);
    expect(come(gate, 9).filter(isIn)).toHaveLength(5);
    expect(come(gate, 30, 'must').filter(isIn)).toHaveLength(30);
    expect(gate.young).toBe(40);
  });

  it('gives the place of who leaves to who waits longest, before P2', async () => {
    const { clock, gate } = open();
    const here = come(gate, 10) as number[];
    const told: string[] = [];
    for (const [name, rank] of [
      ['p2', 'p2'],
      ['first', 'other'],
      ['second', 'other'],
    ] as const)
      void (gate.enter(rank, true) as Promise<unknown>).then(() => told.push(name));
    gate.leave(here[0]!);
    gate.leave(here[1]!);
    await clock.pass(1);
    expect(told).toEqual(['first', 'second']);
    for (const place of here.slice(2)) gate.leave(place);
    await clock.pass(1);
    expect(told).toEqual(['first', 'second', 'p2']);
  });

  it('does not count what lasts longer than a second', async () => {
    const { clock, gate } = open();
    const long = come(gate, 10) as number[];
    const waiting = gate.enter('other', true);
    expect(waiting).toBeInstanceOf(Promise);
    await clock.pass(80); // no longer: the places would become more
    expect(gate.young).toBe(10);
    await clock.pass(920);
    expect(isIn(await waiting)).toBe(true);
    void gate.enter('must', true); // looks what is young now
    expect(gate.young).toBeLessThanOrEqual(2);
    const { young } = gate;
    for (const place of long) gate.leave(place);
    expect(gate.young).toBe(young);
  });

  it('lets a burst wait and serves it', async () => {
    const { clock, gate } = open();
    const outcomes: (number | undefined)[] = [];
    for (const place of come(gate, 30)) {
      if (isIn(place)) outcomes.push(place);
      else void (place as Promise<number | undefined>).then((later) => outcomes.push(later));
    }
    for (let served = 0; served < 30; served++) {
      await clock.pass(20); // one answer each 20 ms
      const next = outcomes[served];
      if (next !== undefined) gate.leave(next);
    }
    expect(outcomes).toHaveLength(30);
    expect(outcomes.every(isIn)).toBe(true);
  });

  it('turns away after a quarter of a second who comes to a queue that stands', async () => {
    const { clock, gate } = open(1_000);
    const came = clock.monotonicMs();
    const waited: number[] = [];
    const under: number[] = [];
    for (let n = 0; n < 3_000; n++) {
      const place = gate.enter('other', true); // one comes each millisecond
      const at = clock.monotonicMs();
      if (isIn(place)) under.push(place);
      else
        void (place as Promise<number | undefined>).then((later) => {
          if (later === undefined && at - came > 1_500) waited.push(clock.monotonicMs() - at);
          else if (later !== undefined) under.push(later);
        });
      if (n % 5 === 0 && under.length > 0) gate.leave(under.shift()!); // and one is answered each five
      await clock.pass(1);
    }
    const { entered, refused } = gate.take();
    expect(refused).toBeGreaterThan(1_000);
    expect(entered).toBeGreaterThan(500);
    expect(waited.length).toBeGreaterThan(500);
    expect(Math.max(...waited)).toBeLessThanOrEqual(300);
  }, 20_000);

  it('turns away at once who finds the queue full, and who cannot wait when four times as much is under way', () => {
    const { gate } = open(20);
    come(gate, 10);
    expect(come(gate, 20).every((place) => place instanceof Promise)).toBe(true);
    expect(gate.enter('other', true)).toBeUndefined();
    for (let n = 0; n < 30; n++) expect(isIn(gate.enter('other', false))).toBe(true);
    expect(gate.enter('other', false)).toBeUndefined();
    expect(gate.enter('p2', false)).toBeUndefined();
    expect(isIn(gate.enter('must', false))).toBe(true);
    expect(gate.take().refused).toBe(3);
  });

  it('has fewer places while the loop is late, more when all are taken and it is not, and never beyond its bounds', async () => {
    const { clock, gate } = open();
    const late = async (looks: number) => {
      for (let n = 0; n < looks; n++) {
        clock.stall(60);
        await clock.pass(1);
      }
    };
    await late(3);
    await clock.pass(25);
    expect(gate.limit).toBe(places.first); // not all of the time
    await late(100);
    expect(gate.limit).toBe(places.least);
    await clock.pass(1_000);
    expect(gate.limit).toBe(places.least); // nobody came
    for (let n = 0; n < 100; n++) {
      come(gate, 60);
      await clock.pass(100);
    }
    expect(gate.limit).toBe(places.most);
  });

  it('begins in one turn of the loop what takes some milliseconds, and the rest in the next', async () => {
    const { clock, gate } = open();
    let begun = 0;
    for (const place of Array.from({ length: 5 }, () => {
      clock.stall(3); // so long takes the beginning of each
      return gate.enter('other', true);
    })) {
      if (isIn(place)) begun++;
      else void (place as Promise<unknown>).then(() => begun++);
    }
    expect(begun).toBe(3);
    await clock.pass(2);
    expect(begun).toBe(5);
  });

  it('lets everyone in that waits when it is closed', async () => {
    const { clock, gate } = open();
    const waiting = come(gate, 15).slice(10) as Promise<number | undefined>[];
    gate.close();
    await clock.pass(1);
    expect((await Promise.all(waiting)).every(isIn)).toBe(true);
  });
});
