/** The subscription loop against hints that are late, lost, double or beyond a gap. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { follow, type Offered } from '../../src/events/follow.ts';
import type { Page, Recorded } from '../../src/events/log.ts';
import { createKernel } from '../../src/kernel.ts';
import { fact } from './conformance/facts.ts';

/** Timers pass at once, so that what waits for a poll does not wait long. */
const kernel = createKernel(
  { logLevel: 'silent' },
  {
    after: (_ms, fn) => {
      const immediate = setImmediate(fn);
      return () => clearImmediate(immediate);
    },
  },
);

/** A log in memory, written in flushes; each is offered, or only told of, or neither. */
class Source {
  readonly events: Recorded[] = [];
  reads = 0;
  failures = 0;

  write(types: readonly string[]): Offered {
    const after = this.events.length;
    for (const type of types) {
      const position = this.events.length + 1;
      this.events.push({ ...fact({ type }), position, stream: 'node-a', revision: position - 1 });
    }
    return { after, events: this.events.slice(after), through: this.events.length };
  }

  async readAll(after: number, limit: number, types?: readonly string[]): Promise<Page> {
    this.reads++;
    if (this.failures-- > 0) throw new Error('cannot be read now');
    const looked = this.events.slice(after, after + limit);
    return {
      events: looked.filter((event) => !types || types.includes(event.type)),
      through: Math.max(after, Math.min(after + limit, this.events.length)),
    };
  }
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
const type = fc.constantFrom('a', 'b', 'c');
const step = fc.record({
  types: fc.array(type, { minLength: 1, maxLength: 6 }),
  hint: fc.constantFrom('offer', 'offer', 'offer twice', 'offer late', 'wake', 'none'),
  readFails: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
  batchFails: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
  turns: fc.integer({ min: 0, max: 3 }),
});

describe('the subscription loop', () => {
  it('hands over each event once and in order, whatever happens to the hints', async () => {
    const steps = fc.array(step, { maxLength: 30, size: 'max' });
    const options = fc.record({
      after: fc.integer({ min: 0, max: 8 }),
      batch: fc.integer({ min: 1, max: 12 }),
      types: fc.option(fc.subarray(['a', 'b', 'c']), { nil: undefined }),
    });
    await fc.assert(
      fc.asyncProperty(steps, options, async (plan, { after, batch, types }) => {
        const source = new Source();
        const given: Recorded[] = [];
        let through = after;
        let failing = 0;
        const onBatch = async (page: Page) => {
          if (failing-- > 0) throw new Error('not now');
          await turn();
          expect(page.through).toBeGreaterThan(through);
          expect(page.events.length).toBeLessThanOrEqual(batch);
          through = page.through;
          given.push(...page.events);
        };
        const follower = follow(source, kernel, after, onBatch, { batch, ...(types && { types }) });
        const late: Offered[] = [];
        for (const { types: written, hint, readFails, batchFails, turns } of plan) {
          source.failures = readFails ? 1 : 0;
          failing = batchFails ? 1 : 0;
          const page = source.write(written);
          for (const held of late.splice(0)) follower.offer(held);
          if (hint === 'offer late') late.push(page);
          if (hint.startsWith('offer') && hint !== 'offer late') follower.offer(page);
          if (hint === 'offer twice') follower.offer(page);
          if (hint === 'wake') follower.wake();
          for (let i = 0; i < turns; i++) await turn();
        }
        while (follower.position < source.events.length) await turn();
        await follower.close();
        const wanted = source.events.filter(
          (event) => event.position > after && (!types || types.includes(event.type)),
        );
        expect(given.map((event) => event.position)).toEqual(wanted.map((event) => event.position));
      }),
      { numRuns: 200 },
    );
  });

  it('pauses after each failure, longer each time, up to five seconds', async () => {
    const paused: number[] = [];
    const recording = createKernel(
      { logLevel: 'silent' },
      {
        after: (ms, fn) => {
          paused.push(ms);
          return kernel.after(ms, fn);
        },
      },
    );
    const source = new Source();
    source.write(['a']);
    source.failures = 2;
    let failing = 8;
    const follower = follow(source, recording, 0, () => {
      if (failing-- > 0) throw new Error('not now');
    });
    while (follower.position < 1) await turn();
    await follower.close();
    expect(paused.slice(0, 10)).toEqual([100, 200, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
  });

  it('reads nothing while what is offered joins what was handed over', async () => {
    const source = new Source();
    const never = createKernel({ logLevel: 'silent' }, { after: () => () => {} });
    let given = 0;
    const follower = follow(source, never, 0, (page) => {
      given += page.events.length;
    });
    await turn();
    const { reads } = source;
    for (let i = 0; i < 50; i++) {
      follower.offer(source.write(['a', 'b']));
      await turn();
    }
    await follower.close();
    expect(given).toBe(100);
    expect(source.reads).toBe(reads);
  });

  it('holds no more than its bound for a follower that sleeps, and reads the rest', async () => {
    const source = new Source();
    const never = createKernel({ logLevel: 'silent' }, { after: () => () => {} });
    const given: number[] = [];
    let wakeUp = (): void => {};
    const asleep = new Promise<void>((resolve) => {
      wakeUp = resolve;
    });
    const follower = follow(source, never, 0, async (page) => {
      await asleep;
      given.push(...page.events.map((event) => event.position));
    });
    follower.offer(source.write(['a']));
    await turn();
    const { reads } = source;
    for (let i = 0; i < 25; i++) follower.offer(source.write(Array.from({ length: 500 }, () => 'a')));
    wakeUp();
    while (follower.position < 12_501) await turn();
    await follower.close();
    expect(given).toEqual(Array.from({ length: 12_501 }, (_, i) => i + 1));
    expect(source.reads).toBeGreaterThan(reads + 9); // ten pages of a thousand were let go, and read
  });
});
