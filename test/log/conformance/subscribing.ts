/** Following the log: everything once and in order, whatever the follower or the writers do. */
import { expect, it } from 'vitest';
import type { EventLog, Page, SubscribeOptions, Subscription } from '../../../src/events/log.ts';
import { fact, facts, ids, kernel, readOn, stream, type TheLog, written } from './facts.ts';

/** A follower that remembers what it was given. */
class Follower {
  readonly pages: Page[] = [];
  readonly subscription: Subscription;

  constructor(log: EventLog, after: number, options?: SubscribeOptions, hold: () => Promise<void> | void = () => {}) {
    this.subscription = log.subscribe(
      after,
      async (page) => {
        await hold();
        this.pages.push(page);
      },
      options,
    );
  }

  get events() {
    return this.pages.flatMap((page) => page.events);
  }

  /** Until everything up to a position was handed over. */
  async reached(position: number): Promise<void> {
    await until(() => this.subscription.position >= position);
  }
}

async function until(fulfilled: () => boolean): Promise<void> {
  for (const end = kernel.monotonicMs() + 20_000; !fulfilled(); await kernel.sleep(2)) {
    if (kernel.monotonicMs() > end) throw new Error('waited in vain');
  }
}

/** Appends so many events, one by one, to kept and transient streams in turn; gives their ids and the last position. */
async function write(log: EventLog, count: number): Promise<{ sent: string[]; last: number }> {
  const events = facts(count);
  const verdicts = await Promise.all(
    events.map((event, i) => written(log.append(i % 3 ? stream() : stream('heartbeat'), 'any', [event]))),
  );
  return { sent: ids(events), last: Math.max(...verdicts.map((verdict) => verdict.position)) };
}

export function subscribing(log: TheLog): void {
  it('hands over the past from 0, then what comes, each event once and in order', async () => {
    const follower = new Follower(log(), 0, { batch: 50 });
    const { last } = await write(log(), 200);
    await follower.reached(last);
    await follower.subscription.close();
    expect(ids(follower.events)).toEqual(ids((await readOn(log(), 0)).events));
  });

  it('hands over what comes after a position in the middle', async () => {
    const start = await log().head();
    await write(log(), 30);
    const middle = (await log().readAll(start, 10)).through;
    const follower = new Follower(log(), middle);
    const { last } = await write(log(), 30);
    await follower.reached(last);
    await follower.subscription.close();
    expect(ids(follower.events)).toEqual(ids((await readOn(log(), middle)).events));
    expect(follower.events).toHaveLength(50);
  });

  it('hands over only what comes, from the head', async () => {
    const follower = new Follower(log(), await log().head());
    const { sent, last } = await write(log(), 40);
    await follower.reached(last);
    await follower.subscription.close();
    expect(ids(follower.events).toSorted()).toEqual(sent.toSorted());
  });

  it('hands over an event exactly as a reader finds it', async () => {
    const head = await log().head();
    const follower = new Follower(log(), head);
    await kernel.sleep(20);
    await written(log().append(stream(), 'noStream', facts(3)));
    const { position } = await written(log().append(stream('health'), 'any', facts(2)));
    await follower.reached(position);
    await follower.subscription.close();
    expect(follower.events).toEqual((await log().readAll(head, 10)).events);
  });

  it('hands over a fresh event within a second', async () => {
    const follower = new Follower(log(), await log().head());
    await kernel.sleep(50);
    const started = kernel.monotonicMs();
    const { position } = await written(log().append(stream(), 'any', [fact()]));
    await follower.reached(position);
    expect(kernel.monotonicMs() - started).toBeLessThan(900);
    await follower.subscription.close();
  });

  it('waits without a word from a position beyond the head', async () => {
    const beyond = (await log().head()) + 5;
    const follower = new Follower(log(), beyond);
    const { last } = await write(log(), 12);
    await follower.reached(last);
    await follower.subscription.close();
    expect(follower.events.every((event) => event.position > beyond)).toBe(true);
    expect(ids(follower.events)).toEqual(ids((await readOn(log(), beyond)).events));
  });

  it('goes on where it was closed, without gap or double', async () => {
    const head = await log().head();
    const first = new Follower(log(), head, { batch: 7 });
    const writing = write(log(), 150);
    await until(() => first.events.length > 20);
    await first.subscription.close();
    const second = new Follower(log(), first.subscription.position, { batch: 7 });
    const { last } = await writing;
    await second.reached(last);
    await second.subscription.close();
    expect(ids([...first.events, ...second.events])).toEqual(ids((await readOn(log(), head)).events));
  });

  it('keeps to the batch size, and to the order of through', async () => {
    const follower = new Follower(log(), await log().head(), { batch: 4 });
    const { last } = await write(log(), 60);
    await written(log().append(stream(), 'any', facts(10)));
    await follower.reached(last + 10);
    await follower.subscription.close();
    expect(follower.pages.every((page) => page.events.length <= 4)).toBe(true);
    expect(follower.events).toHaveLength(70);
    const throughs = follower.pages.map((page) => page.through);
    expect(throughs).toEqual(throughs.toSorted((a, b) => a - b));
    for (const { events, through } of follower.pages) {
      expect(events.at(-1)?.position ?? 0).toBeLessThanOrEqual(through);
    }
  });

  it('hands over only the types asked for, and moves on over the others', async () => {
    const follower = new Follower(log(), await log().head(), { types: ['node.banned'] });
    await write(log(), 20);
    const wanted = fact({ type: 'node.banned' });
    await written(log().append(stream(), 'any', [fact(), wanted, fact()]));
    const { last } = await write(log(), 20);
    await follower.reached(last);
    expect(ids(follower.events)).toEqual([wanted.id]);
    expect(follower.pages.at(-1)!.through).toBe(last);
    await follower.subscription.close();
  });

  it('serves many followers, each at its own pace', async () => {
    const head = await log().head();
    const followers = [0, 0, 1, 5].map((ms) => new Follower(log(), head, { batch: 20 }, () => kernel.sleep(ms)));
    const { last } = await write(log(), 200);
    const expected = ids((await readOn(log(), head)).events);
    for (const follower of followers) {
      await follower.reached(last);
      await follower.subscription.close();
      expect(ids(follower.events)).toEqual(expected);
    }
  });

  it('gives one batch at a time', async () => {
    let running = 0;
    let most = 0;
    const follower = new Follower(log(), await log().head(), { batch: 5 }, async () => {
      most = Math.max(most, ++running);
      await kernel.sleep(1);
      running--;
    });
    const { last } = await write(log(), 60);
    await follower.reached(last);
    await follower.subscription.close();
    expect(most).toBe(1);
  });

  it('loses nothing for a follower that sleeps through more than is held for it', async () => {
    const head = await log().head();
    let letGo = (): void => {};
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const follower = new Follower(log(), head, {}, () => held);
    const name = stream();
    const { position: first } = await written(log().append(name, 'noStream', [fact()]));
    for (let i = 0; i < 24; i++) await written(log().append(name, 'any', facts(500)));
    expect(follower.subscription.position).toBeLessThan(first);
    letGo();
    await follower.reached(await log().head());
    await follower.subscription.close();
    expect(follower.events.map((event) => event.revision)).toEqual(Array.from({ length: 12_001 }, (_, i) => i));
  });

  it('gives a batch again to a follower that failed, and nothing before it', async () => {
    const failures = new Set([1, 2, 4]);
    let calls = 0;
    const attempts: string[][] = [];
    const taken: string[] = [];
    const head = await log().head();
    const { sent, last } = await write(log(), 30);
    const subscription = log().subscribe(
      head,
      ({ events }) => {
        attempts.push(ids(events));
        if (failures.has(++calls)) throw new Error('not now');
        taken.push(...ids(events));
      },
      { batch: 10 },
    );
    await until(() => subscription.position >= last);
    await subscription.close();
    expect(taken.toSorted()).toEqual(sent.toSorted());
    expect(attempts[1]).toEqual(attempts[0]);
    expect(attempts[2]).toEqual(attempts[0]);
    expect(attempts[4]).toEqual(attempts[3]);
  });

  it('can be closed while it waits to try a failed batch again', async () => {
    const head = await log().head();
    await write(log(), 3);
    let calls = 0;
    const subscription = log().subscribe(head, async () => {
      calls++;
      throw new Error('never');
    });
    await until(() => calls === 2);
    await subscription.close();
    expect(subscription.position).toBe(head);
    await kernel.sleep(450); // the third try would come after 200 ms
    expect(calls).toBe(2);
  });

  it('ends the running batch on close, and hands over nothing afterwards', async () => {
    const head = await log().head();
    await write(log(), 30);
    const started: number[] = [];
    let ended = 0;
    const subscription = log().subscribe(
      head,
      async (page) => {
        started.push(page.through);
        await kernel.sleep(30);
        ended++;
      },
      { batch: 10 },
    );
    await until(() => started.length === 1);
    await subscription.close();
    expect(ended).toBe(1);
    expect(subscription.position).toBe(started[0]);
    await write(log(), 5);
    await kernel.sleep(50);
    expect(started).toHaveLength(1);
    await subscription.close();
  });

  it('lets a follower append while it follows', async () => {
    const answers = stream();
    const question = stream();
    const subscription = log().subscribe(await log().head(), async ({ events }) => {
      for (const event of events) {
        if (event.stream === question) await log().append(answers, 'any', [fact({ data: `"${event.id}"` })]);
      }
    });
    const asked = facts(5);
    for (const event of asked) await written(log().append(question, 'any', [event]));
    for (let read = 0; read < 5; read = (await log().readStream(answers, 0, 10)).length) await kernel.sleep(5);
    await subscription.close();
    const data = (await log().readStream(answers, 0, 10)).map((event) => event.data);
    expect(data).toEqual(asked.map((event) => `"${event.id}"`));
  });
}
