/**
 * One follower of the log a replica, which hands each event to all here who asked for its type; and the way in for those who come
 * from an earlier position, without gap or double.
 */
import type { EventType } from '../../events/catalog.ts';
import type { Page, Subscription } from '../../events/log.ts';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { Facts } from './facts.ts';
import type { Shown } from './shown.ts';

/** Someone who hears events as they happen. */
export interface Target {
  readonly types: ReadonlySet<EventType>;
  /** Called in the order of the log. */
  take(shown: Shown): void;
}

/** Someone who is told what happened before. */
export interface Late {
  readonly types: ReadonlySet<EventType>;
  take(shown: Shown): void;
  /** Resolves when what was taken is on its way; false ends it. */
  ready(): Promise<boolean>;
  /** Called in the very turn in which nothing is missed any more. */
  met(): void;
}

/** Events handed over in one turn; then the sockets get theirs to send. */
const batchEvents = 256;
/** Events read at a time for one who comes late. */
const pageEvents = 200;
/** How long the maps that rights are judged by may be behind. */
const mapsLateMs = 5_000;
const pauseMs = { first: 200, most: 5_000 };

export class Fanout {
  readonly #hub: Pick<Hub, 'log' | 'kernel' | 'live'>;
  readonly #facts: Facts;
  readonly #targets = new Map<EventType, Set<Target>>();
  readonly #subscription: Subscription;
  readonly #waiting = new Set<{ readonly position: number; readonly done: () => void }>();
  #position: number;
  #kinds = 0;
  #closed = false;

  constructor(hub: Pick<Hub, 'log' | 'kernel' | 'live'>, facts: Facts, head: number) {
    this.#hub = hub;
    this.#facts = facts;
    this.#position = head;
    this.#subscription = hub.log.subscribe(head, (page) => this.#take(page), { batch: batchEvents });
  }

  /** Everything up to here was handed over. */
  get position(): number {
    return this.#position;
  }

  /** Hands events over from the next one on. */
  add(target: Target): Cancel {
    for (const type of target.types) {
      const known = this.#targets.get(type);
      if (known) known.add(target);
      else {
        this.#targets.set(type, new Set([target]));
        this.#kinds++;
      }
    }
    return () => {
      for (const type of target.types) {
        const known = this.#targets.get(type);
        known?.delete(target);
        if (known?.size === 0) this.#targets.delete(type);
      }
    };
  }

  /** Tells of all that happened after a position, as fast as it is read and taken. A log that is away is waited for. */
  async catchUp(after: number, late: Late): Promise<void> {
    let position = after;
    await this.#reached(after); // another replica may be further than this one
    for (let failures = 0; position < this.#position; ) {
      let shown: Shown[];
      let through: number;
      try {
        const page = await this.#hub.log.readAll(position, pageEvents, [...late.types]);
        shown = await this.#facts.show(page.events);
        through = Math.min(page.through, this.#position); // what lies beyond is handed over by the follower
        failures = 0;
      } catch (error) {
        if (this.#closed || !(await late.ready())) return;
        this.#hub.kernel.log.warn({ err: error, position }, 'earlier events could not be read; trying again');
        await this.#hub.kernel.sleep(Math.min(pauseMs.most, pauseMs.first * 2 ** failures++));
        continue;
      }
      for (const one of shown) {
        if (one.position > through) break;
        late.take(one);
        if (!(await late.ready())) return;
      }
      if (this.#closed || !(await late.ready())) return;
      position = through;
    }
    if (!this.#closed) late.met();
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const { done } of this.#waiting) done();
    this.#waiting.clear();
    await this.#subscription.close();
  }

  async #take({ events, through }: Page): Promise<void> {
    if (this.#targets.size > 0) {
      await this.#hub.live.sessions.waitFor(through, mapsLateMs); // the maps go on together; what follows a ban finds it there
      for (const one of await this.#shown(events)) {
        for (const target of this.#targets.get(one.type) ?? []) this.#hand(target, one);
        this.#position = one.position;
      }
    }
    this.#position = Math.max(through, this.#position);
    for (const waiter of this.#waiting) {
      if (waiter.position > this.#position) continue;
      this.#waiting.delete(waiter);
      waiter.done();
    }
    if (events.length === batchEvents) await this.#hub.kernel.sleep(0);
  }

  /** Those that someone wants; again, when meanwhile someone came who wants others. A batch that is given again is not handed over again. */
  async #shown(events: Page['events']): Promise<Shown[]> {
    for (;;) {
      const kinds = this.#kinds;
      const wanted = events.filter(
        ({ type, position }) => position > this.#position && this.#targets.has(type as EventType),
      );
      const shown = await this.#facts.show(wanted);
      if (kinds === this.#kinds) return shown;
    }
  }

  #hand(target: Target, shown: Shown): void {
    try {
      target.take(shown);
    } catch (error) {
      this.#hub.kernel.log.error({ err: error, position: shown.position }, 'someone who hears events failed at one');
    }
  }

  #reached(position: number): Promise<void> {
    if (position <= this.#position || this.#closed) return Promise.resolve();
    return new Promise((done) => void this.#waiting.add({ position, done }));
  }
}
