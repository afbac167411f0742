/** The batcher against a log in memory: whatever is appended and whatever fails, nothing is lost, doubled or overtaken. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../src/errors.ts';
import {
  type AppendObserver,
  type Flush,
  GroupCommit,
  type GroupCommitOptions,
  Rejected,
} from '../../src/events/group-commit.ts';
import type { Append, Verdict } from '../../src/events/log.ts';
import { fact, facts, kernel, stream } from './conformance/facts.ts';

/** What happens to a flush: it is written; lost before or after writing, which the batcher cannot tell; or there is no room. */
type Fate = 'written' | 'lost before' | 'lost after' | 'full';

/** A log in memory that judges as the port says, and notes where the batcher breaks its promises of each flush. */
class ModelLog {
  readonly positions = new Map<string, number>();
  /** What a flush should never have held; noted, since what a flush throws is taken for a fault and tried again. */
  readonly broken: string[] = [];
  readonly #revisions = new Map<string, number>();
  readonly #commands = new Set<string>();
  readonly #fates: readonly Fate[];
  readonly #flushEvents: number;
  readonly #poison: ReadonlySet<string>;
  #head = 0;
  #running = false;
  flushes = 0;

  constructor({ fates = [], flushEvents = 1_000, poison = new Set<string>() }: ModelOptions = {}) {
    this.#fates = fates;
    this.#flushEvents = flushEvents;
    this.#poison = poison;
  }

  readonly flush: Flush = async (appends) => {
    if (this.#running) this.broken.push('two flushes at a time');
    this.#running = true;
    try {
      this.#check(appends);
      const fate = this.#fates[this.flushes++] ?? 'written';
      for (let ticks = this.flushes % 4; ticks > 0; ticks--) await Promise.resolve();
      if (fate === 'full') throw new Fault('log_full', 'no room');
      if (fate === 'lost before') throw new Error('connection lost');
      if (appends.some((append) => this.#poison.has(append.events[0]!.id))) {
        throw new Rejected('cannot be written', { cause: new TypeError('poison') });
      }
      const verdicts = appends.map((append) => this.#judge(append));
      if (fate === 'lost after') throw new Error('connection lost');
      return verdicts;
    } finally {
      this.#running = false;
    }
  };

  #check(appends: readonly Append[]): void {
    const events = appends.reduce((sum, append) => sum + append.events.length, 0);
    if (appends.length > 1 && events > this.#flushEvents) this.broken.push(`${events} events in a flush`);
    if (appends.length === 0) this.broken.push('an empty flush');
    for (const name of new Set(appends.map((append) => append.stream))) {
      const together = appends.filter((append) => append.stream === name);
      const ride = together.every((append) => append.expected === 'any' && !append.command);
      if (together.length > 1 && !ride) this.broken.push(`${together.length} appends of ${name} in a flush`);
    }
  }

  #judge({ stream, expected, events, command }: Append): Verdict {
    const known = this.positions.get(events.at(-1)!.id);
    if (known !== undefined || (command && this.#commands.has(command.id))) {
      return { status: 'duplicate', position: known ?? 0, revision: 0 };
    }
    const revision = this.#revisions.get(stream) ?? -1;
    const meets =
      expected === 'any' ||
      (expected === 'noStream' ? revision < 0 : expected === 'exists' ? revision >= 0 : expected === revision);
    if (!meets) return { status: 'conflict', revision };
    for (const event of events) {
      if (this.positions.has(event.id)) this.broken.push(`${event.id} written twice`);
      this.positions.set(event.id, ++this.#head);
    }
    if (command) this.#commands.add(command.id);
    this.#revisions.set(stream, revision + events.length);
    return { status: 'written', position: this.#head, revision: revision + events.length };
  }
}

interface ModelOptions {
  readonly fates?: readonly Fate[];
  readonly flushEvents?: number;
  /** Ids of first events of what cannot be written. */
  readonly poison?: ReadonlySet<string>;
}

const planned = fc.record({
  stream: fc.integer({ min: 0, max: 3 }).map((n) => `node-${n}`),
  expected: fc.oneof(
    { weight: 4, arbitrary: fc.constant('any' as const) },
    fc.constantFrom('noStream' as const, 'exists' as const),
    fc.integer({ min: 0, max: 9 }),
  ),
  count: fc.integer({ min: 1, max: 9 }),
  command: fc.boolean(),
  poison: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
  /** Sends the events of an earlier append once more. */
  again: fc.option(fc.nat(20), { freq: 6 }),
  /** Turns of the event loop before the next append. */
  rest: fc.constantFrom(0, 0, 0, 0, 1, 3),
});
const fate = fc.oneof(
  { weight: 2, arbitrary: fc.constant<Fate>('written') },
  fc.constantFrom<Fate>('lost before', 'lost after', 'full'),
);
const plans = fc.array(planned, { maxLength: 60, size: 'max' });
const fates = fc.array(fate, { maxLength: 30, size: 'max' });
type Plan = typeof planned extends fc.Arbitrary<infer T> ? T : never;

interface Outcome {
  readonly append: Append;
  readonly poison: boolean;
  readonly verdict?: Verdict;
  readonly error?: unknown;
}

const limits = { queueLimit: 10, flushEvents: 16, retries: 2 };

/** Appends as planned, closes, and gives the outcomes in the order of asking. */
async function play(plans: readonly Plan[], fates: readonly Fate[]): Promise<{ log: ModelLog; outcomes: Outcome[] }> {
  const poison = new Set<string>();
  const log = new ModelLog({ fates, flushEvents: limits.flushEvents, poison });
  const batcher = new GroupCommit(log.flush, limits);
  const sent: Append[] = [];
  const outcomes: Promise<Outcome>[] = [];
  for (const plan of plans) {
    const earlier = plan.again === null ? undefined : sent[plan.again];
    const events = earlier?.events ?? facts(plan.count);
    const id = kernel.uuid();
    const command = plan.command ? { id, bodyHash: '', reply: null, time: '' } : undefined;
    const append: Append = {
      stream: earlier?.stream ?? plan.stream,
      expected: plan.expected,
      events,
      ...(command && { command }),
    };
    if (plan.poison && !earlier) poison.add(events[0]!.id);
    sent.push(append);
    const about = { append, poison: poison.has(events[0]!.id) };
    outcomes.push(
      batcher.append(append).then(
        (verdict) => ({ ...about, verdict }),
        (error: unknown) => ({ ...about, error }),
      ),
    );
    expect(batcher.depth).toBeLessThanOrEqual(limits.queueLimit);
    for (let rest = plan.rest; rest > 0; rest--) await new Promise(setImmediate);
  }
  await batcher.close();
  expect(batcher.depth).toBe(0);
  await expect(batcher.append(sent[0]!)).rejects.toMatchObject({ code: 'log_unavailable' });
  return { log, outcomes: await Promise.all(outcomes) };
}

const codeOf = (error: unknown): string =>
  error instanceof Fault ? error.code : error instanceof Error ? error.name : '';

/** Errors that say that nothing was written; after `log_full` that is so, too, but for what an earlier try had written. */
const untried = new Set(['overloaded', 'TypeError']);

describe('the batcher', () => {
  it('loses, doubles and reorders nothing, whatever is appended and whatever fails', async () => {
    const met = new Set<string>(); // each way an append can end was met, or the property says little
    await fc.assert(
      fc.asyncProperty(plans, fates, async (planned, fated) => {
        const { log, outcomes } = await play(planned, fated);
        expect(log.broken).toEqual([]);
        const last = new Map<string, number>();
        for (const { append, verdict, error, poison } of outcomes) {
          const once = outcomes.filter((other) => other.append.events === append.events).length === 1;
          const first = log.positions.get(append.events[0]!.id);
          const end = log.positions.get(append.events.at(-1)!.id);
          met.add(verdict?.status ?? codeOf(error));
          if (poison) expect(error, 'what cannot be written is an error').toBeDefined();
          if (verdict?.status === 'written') {
            expect(end).toBe(verdict.position);
            expect(end! - first!, 'all of it, together').toBe(append.events.length - 1);
            if (!once) continue;
            expect(verdict.position, 'the order of its stream').toBeGreaterThan(last.get(append.stream) ?? 0);
            last.set(append.stream, verdict.position);
          } else if (once && (verdict?.status === 'conflict' || untried.has(codeOf(error)))) {
            expect(first, 'refused, and written all the same').toBeUndefined();
          }
        }
      }),
      { numRuns: 300 },
    );
    expect([...met].sort()).toEqual(
      ['TypeError', 'conflict', 'duplicate', 'log_full', 'log_unavailable', 'overloaded', 'written'].sort(),
    );
  });

  it('writes everything when nothing fails and nothing is refused', async () => {
    const plain = fc.record({
      stream: fc.integer({ min: 0, max: 3 }).map((n) => `node-${n}`),
      count: fc.integer({ min: 1, max: 20 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(plain, { maxLength: 100 }), async (plans) => {
        const log = new ModelLog({ flushEvents: 16 });
        const batcher = new GroupCommit(log.flush, { flushEvents: 16 });
        const verdicts = await Promise.all(
          plans.map(({ stream, count }) => batcher.append({ stream, expected: 'any', events: facts(count) })),
        );
        expect(log.broken).toEqual([]);
        expect(verdicts.every((verdict) => verdict.status === 'written')).toBe(true);
        expect(log.positions.size).toBe(plans.reduce((sum, { count }) => sum + count, 0));
      }),
      { numRuns: 100 },
    );
  });

  it('starts the next flush when the last returned, with all that came meanwhile', async () => {
    const { batcher, sizes, release } = held();
    const appends = [append()];
    const answers = appends.map((one) => batcher.append(one));
    await new Promise(setImmediate);
    for (let i = 0; i < 30; i++) answers.push(batcher.append(append()));
    expect(sizes).toEqual([1]);
    expect(batcher.depth).toBe(31);
    release();
    await Promise.all(answers);
    expect(sizes).toEqual([1, 30]);
  });

  it("lets 'any' appends of one stream ride together, and nothing overtake", async () => {
    const { batcher, flushes, release } = held();
    const name = stream();
    const first = batcher.append(append()); // held, so that the others gather
    await new Promise(setImmediate);
    const rest = (['any', 'any', 0, 'any', 'any'] as const).map((expected) =>
      batcher.append({ ...append(name), expected }),
    );
    release();
    await Promise.all([first, ...rest]);
    const ofStream = flushes.map((flush) => flush.filter((one) => one.stream === name).map((one) => one.expected));
    expect(ofStream).toEqual([[], ['any', 'any'], [0], ['any', 'any']]);
  });

  it('keeps to the bytes of a flush, and writes what exceeds them alone', async () => {
    const { batcher, sizes, release } = held({ flushBytes: 5_000 });
    const first = batcher.append(append());
    await new Promise(setImmediate);
    const lengths = [1_000, 1_000, 1_000, 1_000, 20_000, 1_000];
    const rest = lengths.map((length) => batcher.append(append(stream(), '"x"'.padEnd(length))));
    release();
    await Promise.all([first, ...rest]);
    expect(sizes).toEqual([1, 4, 1, 1]);
  });

  it('tries a flush of unknown outcome again, so often and no more, with pauses between', async () => {
    const pauses: number[] = [];
    let calls = 0;
    const batcher = new GroupCommit(
      async () => {
        calls++;
        throw new Error('connection lost');
      },
      { retries: 3, pause: async (attempt) => void pauses.push(attempt) },
    );
    const answer = batcher.append(append());
    await expect(answer).rejects.toMatchObject({ code: 'log_unavailable', cause: { message: 'connection lost' } });
    expect(calls).toBe(4);
    expect(pauses).toEqual([0, 1, 2]);
  });

  it('answers written when the lost try had written after all', async () => {
    const log = new ModelLog({ fates: ['lost after'] });
    const batcher = new GroupCommit(log.flush);
    const answer = await batcher.append({ stream: stream(), expected: 'noStream', events: [fact()] });
    expect(answer).toMatchObject({ status: 'written', position: 1 });
    expect(log.flushes).toBe(2);
  });

  it('finds the one append at fault among many in few flushes', async () => {
    const bad = append();
    const log = new ModelLog({ poison: new Set([bad.events[0]!.id]) });
    const batcher = new GroupCommit(log.flush);
    const settled = await Promise.allSettled(
      Array.from({ length: 64 }, (_, i) => batcher.append(i === 37 ? bad : append())),
    );
    expect(settled.map(({ status }) => status).filter((status) => status === 'rejected')).toHaveLength(1);
    expect(settled[37]).toMatchObject({ status: 'rejected', reason: { message: 'poison' } });
    expect(log.positions.size).toBe(63);
    expect(log.flushes).toBeLessThanOrEqual(13);
  });

  it('tells of each flush what it wrote', async () => {
    const { observer, told } = listening();
    const log = new ModelLog();
    const batcher = new GroupCommit(log.flush, { observer });
    await Promise.all([
      batcher.append({ stream: stream(), expected: 'any', events: facts(3) }),
      batcher.append({ stream: stream(), expected: 'exists', events: facts(2) }),
    ]);
    expect(told).toEqual(['3 events appended after 3 ms', 'flush of 1 appends, 3 events took 1 ms']);
  });

  it('tells how many appends wait', async () => {
    const { observer, depth } = listening();
    const { batcher, release } = held({ observer });
    const done = [batcher.append(append()), batcher.append(append())];
    expect(depth()).toBe(2);
    release();
    await Promise.all(done);
    await batcher.close();
    expect(depth()).toBe(0);
  });
});

function append(name = stream(), data = '{}'): Append {
  return { stream: name, expected: 'any', events: [fact({ data, meta: '{}' })] };
}

/** Notes what it is told, by a clock that moves on at each look. */
function listening() {
  const told: string[] = [];
  let clock = 0;
  let depth = () => Number.NaN;
  const observer: AppendObserver = {
    now: () => clock++,
    queue: (asked) => {
      depth = asked;
    },
    appended: ({ events }, tookMs) => void told.push(`${events.length} events appended after ${tookMs} ms`),
    flushed: (appends, events, tookMs) =>
      void told.push(`flush of ${appends} appends, ${events} events took ${tookMs} ms`),
  };
  return { observer, told, depth: () => depth() };
}

/** A batcher whose flushes wait until released. */
function held(options: GroupCommitOptions = {}) {
  const flushes: (readonly Append[])[] = [];
  const sizes: number[] = [];
  let release = (): void => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const batcher = new GroupCommit(async (appends) => {
    flushes.push(appends);
    sizes.push(appends.length);
    await released;
    return appends.map((_, i) => ({ status: 'written', position: i + 1, revision: 0 }) as const);
  }, options);
  return { batcher, flushes, sizes, release };
}
