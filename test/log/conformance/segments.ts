/** Readings lie in segments by range of position, which are dropped whole. */
import { afterEach, expect, it } from 'vitest';
import type { EventLog } from '../../../src/events/log.ts';
import type { Open, Opened } from '../conformance.ts';
import { fact, facts, ids, kernel, readOn, stream, written } from './facts.ts';

export function segments(open: Open): void {
  let opened: Opened;
  afterEach(() => opened?.close());

  /** A new log with segments of ten positions. */
  async function fresh(): Promise<EventLog> {
    opened = await open({ segmentSize: 10 });
    return opened.log;
  }

  it('has no segments before the first reading', async () => {
    const log = await fresh();
    await written(log.append(stream(), 'any', facts(25)));
    expect(log.segmentSize).toBe(10);
    expect(await log.segments()).toEqual([]);
    expect(await log.head()).toBe(25);
  });

  it('lists the segments that hold readings, oldest first, closed once the head is beyond', async () => {
    const log = await fresh();
    await written(log.append(stream('health'), 'any', facts(12)));
    await written(log.append(stream(), 'any', facts(20)));
    await written(log.append(stream('heartbeat'), 'any', [fact()]));
    expect(await log.segments()).toEqual([
      { from: 1, to: 10, closed: true },
      { from: 11, to: 20, closed: true },
      { from: 31, to: 40, closed: false },
    ]);
  });

  it('closes a segment when kept events carry the head beyond it', async () => {
    const log = await fresh();
    await written(log.append(stream('health'), 'any', facts(3)));
    expect(await log.segments()).toEqual([{ from: 1, to: 10, closed: false }]);
    await written(log.append(stream(), 'any', facts(8)));
    expect(await log.segments()).toEqual([{ from: 1, to: 10, closed: true }]);
  });

  it('reads the readings of one segment alone, page by page', async () => {
    const log = await fresh();
    const name = stream('heartbeat');
    await written(log.append(name, 'any', facts(4)));
    await written(log.append(stream(), 'any', facts(3)));
    await written(log.append(name, 'any', facts(8)));
    const readings = (await readOn(log, 0)).events.filter((event) => event.stream === name);
    expect(await log.readSegment(1, 0, 100)).toEqual(readings.slice(0, 7));
    expect(await log.readSegment(1, 2, 3)).toEqual(readings.slice(2, 5));
    expect(await log.readSegment(11, 0, 100)).toEqual(readings.slice(7));
    expect(await log.readSegment(21, 0, 100)).toEqual([]);
  });

  it('spreads one append over the segments its positions fall in', async () => {
    const log = await fresh();
    const name = stream('health');
    const events = facts(35);
    await written(log.append(name, 'any', events));
    expect(ids(await log.readStream(name, 0, 100))).toEqual(ids(events));
    expect((await log.segments()).map((segment) => segment.from)).toEqual([1, 11, 21, 31]);
    expect(ids(await log.readSegment(21, 0, 100))).toEqual(ids(events.slice(20, 30)));
  });

  it('drops the readings of a segment and leaves the kept events', async () => {
    const log = await fresh();
    const kept = stream();
    const readings = stream('heartbeat');
    for (let i = 0; i < 15; i++) {
      await written(log.append(kept, 'any', [fact()]));
      await written(log.append(readings, 'any', [fact()]));
    }
    await written(log.append(kept, 'any', [fact()]));
    const all = (await readOn(log, 0)).events;
    await log.dropSegment(11);
    const left = all.filter((event) => event.stream === kept || event.position < 11 || event.position > 20);
    expect(await log.readStream(kept, 0, 100)).toEqual(all.filter((event) => event.stream === kept));
    expect(await log.readStream(readings, 0, 100)).toEqual(left.filter((event) => event.stream === readings));
    for (const limit of [1, 4, 100]) expect((await readOn(log, 0, limit)).events).toEqual(left);
    expect(await log.readSegment(11, 0, 100)).toEqual([]);
    expect((await log.segments()).map((segment) => segment.from)).toEqual([1, 21]);
  });

  it('drops a segment twice, or one that never held anything, without harm', async () => {
    const log = await fresh();
    await written(log.append(stream('health'), 'any', facts(5)));
    await written(log.append(stream(), 'any', facts(20)));
    await log.dropSegment(1);
    await log.dropSegment(1);
    await log.dropSegment(11);
    expect(await log.segments()).toEqual([]);
    expect((await readOn(log, 0)).events).toHaveLength(20);
  });

  it('refuses to drop the segment that is being written, or one to come', async () => {
    const log = await fresh();
    await written(log.append(stream('health'), 'any', facts(15)));
    await expect(log.dropSegment(11)).rejects.toThrow('open');
    await expect(log.dropSegment(21)).rejects.toThrow('open');
    expect(await log.readSegment(11, 0, 100)).toHaveLength(5);
  });

  it('goes on at its position when everything before it was dropped', async () => {
    const log = await fresh();
    const name = stream('heartbeat');
    await written(log.append(name, 'any', facts(41)));
    for (const { from, closed } of await log.segments()) if (closed) await log.dropSegment(from);
    const again = await opened.reopen();
    expect(await again.head()).toBe(41);
    expect(await written(again.append(name, 'any', [fact()]))).toEqual({
      status: 'written',
      position: 42,
      revision: 42,
    });
    expect((await readOn(again, 0)).events.map((event) => event.position)).toEqual([41, 42]);
  });

  it('carries a follower over what was dropped', async () => {
    const log = await fresh();
    await written(log.append(stream('heartbeat'), 'any', facts(55)));
    for (const from of [1, 11, 31]) await log.dropSegment(from);
    const seen: number[] = [];
    const subscription = log.subscribe(0, (page) => void seen.push(...page.events.map((event) => event.position)), {
      batch: 3,
    });
    while (subscription.position < 55) await kernel.sleep(2);
    await subscription.close();
    expect(seen).toEqual([...range(21, 30), ...range(41, 55)]);
  });
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);
