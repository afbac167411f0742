/** Reading one stream, and the whole log page by page. */
import { beforeAll, expect, it } from 'vitest';
import type { Recorded } from '../../../src/events/log.ts';
import { smallSegment } from '../conformance.ts';
import { fact, facts, ids, kernel, readOn, stream, type TheLog, written } from './facts.ts';

export function reading(log: TheLog): void {
  const kept = stream();
  const heartbeats = stream('heartbeat');
  let before: number;
  let all: Recorded[];

  // 100 events over several segments: kept ones and readings, of four types.
  beforeAll(async () => {
    before = await log().head();
    for (let i = 0; i < 25; i++) {
      await written(log().append(kept, 'any', [fact(), fact({ type: 'node.profile-changed' })]));
      await written(log().append(heartbeats, 'any', [fact({ type: 'heartbeat.received' })]));
      await written(log().append(stream('health'), 'any', [fact({ type: 'health.sampled' })]));
    }
    all = [...(await readOn(log(), before)).events];
  });

  it('merges kept events and readings over segments in order of position', () => {
    expect(all).toHaveLength(100);
    expect(all.map((event) => event.type).slice(0, 4)).toEqual([
      'node.registered',
      'node.profile-changed',
      'heartbeat.received',
      'health.sampled',
    ]);
    const positions = all.map((event) => event.position);
    expect(positions).toEqual(positions.toSorted((a, b) => a - b));
    expect(positions.at(-1)! - positions[0]!).toBeGreaterThan(3 * smallSegment);
  });

  for (const limit of [1, 3, smallSegment, 99, 100, 101]) {
    it(`gives each event once in pages of ${limit}`, async () => {
      expect(ids((await readOn(log(), before, limit)).events)).toEqual(ids(all));
    });
  }

  it('gives the one event after a position for a limit of 1', async () => {
    const page = await log().readAll(all[41]!.position, 1);
    expect(page).toEqual({ events: [all[42]], through: all[42]!.position });
  });

  it('says how far it looked: through the last event of a full page, through the head at the end', async () => {
    expect((await log().readAll(before, 100)).through).toBe(all.at(-1)!.position);
    expect((await readOn(log(), before)).through).toBe(await log().head());
  });

  it('gives nothing after the head, and stays there', async () => {
    const head = await log().head();
    expect(await log().readAll(head, 10)).toEqual({ events: [], through: head });
    const beyond = await log().readAll(head + 1_000, 10);
    expect(beyond.events).toEqual([]);
    expect(beyond.through).toBeLessThanOrEqual(head + 1_000);
  });

  it('reads from the beginning after 0', async () => {
    const { events } = await readOn(log(), 0);
    expect(events.length).toBeGreaterThanOrEqual(100);
    expect(events[0]!.position).toBeGreaterThanOrEqual(1);
    expect(events.at(-1)!.position).toBe(await log().head());
  });

  it('gives only the types asked for, of kept events and readings alike', async () => {
    const types = ['node.profile-changed', 'heartbeat.received'];
    const { events, through } = await readOn(log(), before, 7, types);
    expect(ids(events)).toEqual(ids(all.filter((event) => types.includes(event.type))));
    expect(through).toBe(await log().head());
  });

  it('looks through to the head when the filter leaves nothing', async () => {
    expect(await readOn(log(), before, 10, ['no.such-type'])).toEqual({ events: [], through: await log().head() });
    expect(await readOn(log(), before, 10, [])).toEqual({ events: [], through: await log().head() });
  });

  it('never looks past an event that fits the filter', async () => {
    const page = await log().readAll(before, 2, ['health.sampled']);
    const [first, second] = all.filter((event) => event.type === 'health.sampled');
    expect(page).toEqual({ events: [first, second], through: second!.position });
  });

  it('reads a stream from a revision on, at most so many', async () => {
    const read = await log().readStream(kept, 10, 5);
    expect(read.map((event) => event.revision)).toEqual([10, 11, 12, 13, 14]);
    expect(await log().readStream(kept, 48, 100)).toHaveLength(2);
  });

  it('reads nothing of a stream past its end, or of one that is not there', async () => {
    expect(await log().readStream(kept, 50, 10)).toEqual([]);
    expect(await log().readStream(stream(), 0, 10)).toEqual([]);
    expect(await log().readStream(stream('heartbeat'), 0, 10)).toEqual([]);
  });

  it('reads a transient stream over its segments, from a position on', async () => {
    const own = all.filter((event) => event.stream === heartbeats);
    expect(await log().readStream(heartbeats, 0, 100)).toEqual(own);
    expect(await log().readStream(heartbeats, own[9]!.position, 6)).toEqual(own.slice(9, 15));
    expect(await log().readStream(heartbeats, own[9]!.position + 1, 1)).toEqual([own[10]]);
  });

  it('reads what it has just been told was written', async () => {
    for (let i = 0; i < 20; i++) {
      const event = fact();
      const { position } = await written(log().append(stream(i % 2 ? 'node' : 'health'), 'any', [event]));
      expect(ids((await log().readAll(position - 1, 1)).events)).toEqual([event.id]);
      expect(await log().head()).toBe(position);
    }
  });

  it('misses nothing for a reader by position while many write', async () => {
    const start = await log().head();
    const seen: string[] = [];
    let writing = true;
    const reader = (async () => {
      for (let through = start; ; ) {
        const last = !writing;
        const page = await log().readAll(through, 50);
        seen.push(...ids(page.events));
        if (last && page.through === through) return;
        through = page.through;
        if (page.events.length === 0) await kernel.sleep(1);
      }
    })();
    const sent: string[] = [];
    await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        for (let n = 0; n < 25; n++) {
          const events = facts(1 + (n % 3));
          sent.push(...ids(events));
          await written(log().append(stream(i % 2 ? 'node' : 'heartbeat'), 'any', events));
        }
      }),
    );
    writing = false;
    await reader;
    expect(seen.toSorted()).toEqual(sent.toSorted());
  });
}
