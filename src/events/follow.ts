/**
 * The subscription loop that every backend uses: past pages first, then what is offered or woken for, without gap or double.
 *
 * A backend that knows what it just wrote offers it (`offer`), so that a subscriber at the head costs no reading. One that
 * only hears that something was written calls `wake`. Both are hints: the loop also looks once a second, so that a lost
 * hint delays and never loses.
 */
import type { Kernel } from '../kernel.ts';
import type { EventLog, OnBatch, Page, Recorded, SubscribeOptions, Subscription } from './log.ts';

/** A page just written: it holds every event after `after`, of all types. */
export interface Offered extends Page {
  readonly after: number;
}

export interface Follower extends Subscription {
  /** Something may have been written: look. */
  wake(): void;
  /** This was just written. Taken when it joins what was handed over; else the loop reads. */
  offer(page: Offered): void;
}

/** Events offered and not yet taken, at most; beyond it they are let go, and read from the log when their turn comes. */
const offeredLimit = 10_000;
const pollMs = 1_000;
const pauseMs = { first: 100, most: 5_000 };

/**
 * Follows `source` from after a position. A batch is also given when a filter left no events in it, so that whoever follows
 * knows how far the log was looked through. Do not await `close` inside `onBatch`: it waits for that very batch.
 */
export function follow(
  source: Pick<EventLog, 'readAll'>,
  kernel: Kernel,
  after: number,
  onBatch: OnBatch,
  options: SubscribeOptions = {},
): Follower {
  return new Loop(source, kernel, after, onBatch, options);
}

class Loop implements Follower {
  readonly #source: Pick<EventLog, 'readAll'>;
  readonly #kernel: Kernel;
  readonly #onBatch: OnBatch;
  readonly #types: readonly string[] | undefined;
  readonly #wanted: ReadonlySet<string> | undefined;
  readonly #batch: number;
  readonly #done: Promise<void>;
  #position: number;
  #offered: Offered[] = [];
  #offeredEvents = 0;
  /** The log may hold more than what was offered. */
  #look = true;
  #closed = false;
  #rouse: () => void = () => {};
  #stop: () => void = () => {};

  constructor(
    source: Pick<EventLog, 'readAll'>,
    kernel: Kernel,
    after: number,
    onBatch: OnBatch,
    options: SubscribeOptions,
  ) {
    this.#source = source;
    this.#kernel = kernel;
    this.#position = after;
    this.#onBatch = onBatch;
    this.#types = options.types;
    this.#wanted = options.types && new Set(options.types);
    this.#batch = Math.max(1, options.batch ?? 1_000);
    this.#done = this.#run();
  }

  get position(): number {
    return this.#position;
  }

  wake(): void {
    this.#look = true;
    this.#rouse();
  }

  offer(page: Offered): void {
    if (this.#closed || page.through <= this.#position) return;
    if (this.#offeredEvents + page.events.length > offeredLimit) {
      this.#letGo();
      this.#look = true;
    } else {
      this.#offered.push(page);
      this.#offeredEvents += page.events.length;
    }
    this.#rouse();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#letGo();
    this.#rouse();
    this.#stop();
    await this.#done;
  }

  async #run(): Promise<void> {
    await Promise.resolve(); // nothing is handed over before the subscriber holds its subscription
    while (!this.#closed) {
      const page = this.#takeOffered() ?? (await this.#readPage());
      if (this.#closed) return;
      if (page) await this.#handOver(page);
      else if (!this.#look && this.#offered.length === 0) await this.#idle();
    }
  }

  /** The offered pages that join the position, as one batch; nothing when they do not join. */
  #takeOffered(): Page | undefined {
    this.#forgetPassed();
    if (this.#offered.length === 0) return;
    if (this.#offered[0]!.after > this.#position) {
      this.#look = true; // a gap: what lies in it is read from the log
      return;
    }
    const events: Recorded[] = [];
    let through = this.#position;
    for (const page of this.#offered) {
      if (page.after > through) break;
      for (const event of page.events) {
        if (event.position <= through || (this.#wanted && !this.#wanted.has(event.type))) continue;
        if (events.length === this.#batch) return { events, through: events.at(-1)!.position };
        events.push(event);
      }
      through = Math.max(through, page.through);
    }
    return { events, through };
  }

  #forgetPassed(): void {
    let passed = 0;
    while (passed < this.#offered.length && this.#offered[passed]!.through <= this.#position) {
      this.#offeredEvents -= this.#offered[passed]!.events.length;
      passed++;
    }
    if (passed > 0) this.#offered.splice(0, passed);
  }

  #letGo(): void {
    this.#offered = [];
    this.#offeredEvents = 0;
  }

  /** What was offered beyond a gap that the log does not fill yet would spin the loop. */
  #letGoUnreachable(): undefined {
    if (this.#offered.length > 0 && this.#offered[0]!.after > this.#position) this.#letGo();
  }

  async #readPage(): Promise<Page | undefined> {
    if (!this.#look) return;
    this.#look = false;
    for (let attempt = 0; !this.#closed; attempt++) {
      try {
        const page = await this.#source.readAll(this.#position, this.#batch, this.#types);
        if (page.through <= this.#position) return this.#letGoUnreachable();
        this.#look = true; // more may lie behind this page
        return page;
      } catch (error) {
        if (this.#closed) return;
        this.#kernel.log.warn(
          { err: error, position: this.#position },
          'a subscriber could not read the log; trying again',
        );
        await this.#pause(attempt);
      }
    }
    return;
  }

  async #handOver(page: Page): Promise<void> {
    for (let attempt = 0; !this.#closed; attempt++) {
      try {
        await this.#onBatch(page);
        this.#position = page.through;
        return;
      } catch (error) {
        this.#kernel.log.error(
          { err: error, position: this.#position },
          'a subscriber failed; it gets the same batch again',
        );
        await this.#pause(attempt);
      }
    }
  }

  /** Until roused, or until it is time to look for what no hint told of. */
  async #idle(): Promise<void> {
    await new Promise<void>((resolve) => {
      const cancel = this.#kernel.after(pollMs, () => {
        this.#look = true;
        resolve();
      });
      this.#rouse = () => {
        cancel();
        resolve();
      };
    });
    this.#rouse = () => {};
  }

  /** Waits out a failure; only closing cuts it short. */
  async #pause(attempt: number): Promise<void> {
    const ms = Math.min(pauseMs.most, pauseMs.first * 2 ** Math.min(attempt, 10));
    await new Promise<void>((resolve) => {
      const cancel = this.#kernel.after(ms, resolve);
      this.#stop = () => {
        cancel();
        resolve();
      };
    });
    this.#stop = () => {};
  }
}
