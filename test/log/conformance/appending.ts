/** What an append is judged by, and that it is all or nothing. */
import { expect, it } from 'vitest';
import type { Expected } from '../../../src/events/log.ts';
import type { Promises } from '../conformance.ts';
import { fact, facts, ids, readOn, stream, type TheLog, written } from './facts.ts';

/** Events in the stream before, what is expected of it, and the revision written or in conflict. */
const cases: [before: number, expected: Expected, outcome: 'written' | 'conflict', revision: number][] = [
  [0, 'any', 'written', 0],
  [3, 'any', 'written', 3],
  [0, 'noStream', 'written', 0],
  [1, 'noStream', 'conflict', 0],
  [3, 'noStream', 'conflict', 2],
  [0, 'exists', 'conflict', -1],
  [1, 'exists', 'written', 1],
  [0, 0, 'conflict', -1],
  [1, 0, 'written', 1],
  [3, 2, 'written', 3],
  [3, 1, 'conflict', 2],
  [3, 3, 'conflict', 2],
];

export function appending(log: TheLog, { densePositions }: Promises): void {
  for (const [before, expected, outcome, revision] of cases) {
    it(`answers ${outcome} at revision ${revision} for '${expected}' on a stream of ${before} events`, async () => {
      const name = stream();
      if (before > 0) await written(log().append(name, 'any', facts(before)));
      const head = await log().head();
      const verdict = await log().append(name, expected, [fact()]);
      expect(verdict).toMatchObject({ status: outcome, revision });
      expect((await log().readStream(name, 0, 10)).length).toBe(before + (outcome === 'written' ? 1 : 0));
      if (outcome === 'conflict') expect(await log().head()).toBe(head);
      else expect(verdict).toHaveProperty('position', await log().head());
    });
  }

  it('writes the events of one append together, in order, and answers for the last', async () => {
    const name = stream();
    const events = facts(5);
    const verdict = await written(log().append(name, 'noStream', events));
    const read = await log().readStream(name, 0, 10);
    expect(ids(read)).toEqual(ids(events));
    expect(read.map((event) => event.revision)).toEqual([0, 1, 2, 3, 4]);
    expect(verdict).toMatchObject({ position: read[4]!.position, revision: 4 });
  });

  it('answers duplicate when the first event is in the log, with where its append ended', async () => {
    const name = stream();
    const events = facts(3);
    const first = await written(log().append(name, 'any', events));
    const head = await log().head();
    const again = await log().append(name, 'any', events);
    expect(again).toEqual({ status: 'duplicate', position: first.position, revision: 2 });
    expect(await log().head()).toBe(head);
  });

  it('judges a duplicate before what is expected of the stream', async () => {
    const name = stream();
    const created = fact();
    const first = await written(log().append(name, 'noStream', [created]));
    await written(log().append(name, 0, facts(2)));
    const again = await log().append(name, 'noStream', [created]);
    expect(again).toEqual({ status: 'duplicate', position: first.position, revision: 0 });
  });

  it('knows an event id on whatever kept stream it lies', async () => {
    const event = fact();
    const first = await written(log().append(stream(), 'any', [event]));
    expect(await log().append(stream(), 'noStream', [event])).toMatchObject({
      status: 'duplicate',
      position: first.position,
    });
  });

  it('writes an event once when it is sent twice at once to one stream', async () => {
    const name = stream();
    const event = fact();
    const verdicts = await Promise.all([log().append(name, 'any', [event]), log().append(name, 'any', [event])]);
    expect(verdicts.map((verdict) => verdict.status)).toEqual(['written', 'duplicate']);
    expect(verdicts[1]).toMatchObject({ revision: 0 });
    expect(await log().readStream(name, 0, 10)).toHaveLength(1);
  });

  it('writes an event once when it is sent at once to two streams', async () => {
    const event = fact();
    const verdicts = await Promise.all([
      log().append(stream(), 'noStream', [event]),
      log().append(stream(), 'noStream', [event]),
    ]);
    expect(verdicts.map((verdict) => verdict.status).sort()).toEqual(['duplicate', 'written']);
  });

  it('goes on at the right revision after a duplicate', async () => {
    const name = stream();
    const event = fact();
    await written(log().append(name, 'any', [event]));
    await log().append(name, 'any', [event]);
    expect(await log().append(name, 0, [fact()])).toMatchObject({ status: 'written', revision: 1 });
  });

  it('refuses an append whose later event is in the log, whole, and writes its neighbours', async () => {
    const known = fact();
    await written(log().append(stream(), 'any', [known]));
    const name = stream();
    const neighbours = Array.from({ length: 6 }, () => stream());
    const head = await log().head();
    const settled = await Promise.allSettled([
      ...neighbours.slice(0, 3).map((neighbour) => log().append(neighbour, 'noStream', [fact()])),
      log().append(name, 'noStream', [fact(), known]),
      ...neighbours.slice(3).map((neighbour) => log().append(neighbour, 'noStream', [fact()])),
    ]);
    expect(settled.map(({ status }) => status)).toEqual([...okay(3), 'rejected', ...okay(3)]);
    expect(await log().readStream(name, 0, 10)).toEqual([]);
    for (const neighbour of neighbours) expect(await log().readStream(neighbour, 0, 10)).toHaveLength(1);
    if (densePositions) expect(await log().head()).toBe(head + 6);
  });

  it('judges one conflict among many appends by itself', async () => {
    const taken = stream();
    await written(log().append(taken, 'any', [fact()]));
    const verdicts = await Promise.all(
      Array.from({ length: 100 }, (_, i) => log().append(i === 40 ? taken : stream(), 'noStream', facts(2))),
    );
    expect(verdicts.filter((verdict) => verdict.status === 'written')).toHaveLength(99);
    expect(verdicts[40]).toEqual({ status: 'conflict', revision: 0 });
  });

  it('lets one of two creates of a stream at once win', async () => {
    const name = stream();
    const verdicts = await Promise.all([
      log().append(name, 'noStream', [fact()]),
      log().append(name, 'noStream', facts(2)),
    ]);
    expect(verdicts.map((verdict) => verdict.status).sort()).toEqual(['conflict', 'written']);
    const read = await log().readStream(name, 0, 10);
    expect(verdicts.find((verdict) => verdict.status === 'written')).toMatchObject({ revision: read.length - 1 });
  });

  it("keeps the order of many 'any' appends to one stream", async () => {
    const name = stream();
    const events = facts(200);
    const verdicts = await Promise.all(events.map((event) => written(log().append(name, 'any', [event]))));
    expect(verdicts.map((verdict) => verdict.revision)).toEqual(events.map((_, i) => i));
    expect(ids(await log().readStream(name, 0, 500))).toEqual(ids(events));
  });

  it('keeps the order of appends to one stream, whatever they expect', async () => {
    const name = stream();
    const verdicts = await Promise.all([
      log().append(name, 'noStream', [fact()]),
      log().append(name, 'any', facts(2)),
      log().append(name, 2, [fact()]),
      log().append(name, 2, [fact()]),
      log().append(name, 'any', [fact()]),
      log().append(name, 'exists', [fact()]),
    ]);
    expect(verdicts.map(({ status, revision }) => `${status} ${revision}`)).toEqual([
      'written 0',
      'written 2',
      'written 3',
      'conflict 3',
      'written 4',
      'written 5',
    ]);
  });

  it('lets writers that read and try again all get through, without a gap', async () => {
    const name = stream();
    await written(log().append(name, 'noStream', [fact()]));
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        for (let done = 0, revision = 0; done < 5; ) {
          const verdict = await log().append(name, revision, [fact()]);
          revision = verdict.revision;
          if (verdict.status === 'written') done++;
        }
      }),
    );
    const read = await log().readStream(name, 0, 100);
    expect(read.map((event) => event.revision)).toEqual(Array.from({ length: 41 }, (_, i) => i));
  });

  it('gives each append of a crowd a place of its own', async () => {
    const before = await log().head();
    const verdicts = await Promise.all(
      Array.from({ length: 500 }, (_, i) =>
        written(log().append(stream(i % 3 ? 'node' : 'heartbeat'), 'any', facts(2))),
      ),
    );
    const { events } = await readOn(log(), before);
    expect(events).toHaveLength(1_000);
    for (const verdict of verdicts) expect(verdict.position).toBeGreaterThan(before);
    expect(new Set(verdicts.map((verdict) => verdict.position)).size).toBe(500);
  });

  it(`gives positions that ${densePositions ? 'count without gaps' : 'increase'}`, async () => {
    const before = await log().head();
    for (let i = 0; i < 5; i++) {
      await log().append(stream(), i === 2 ? 'exists' : 'noStream', facts(2)); // the third is a conflict
      await log().append(stream('health'), 'any', [fact()]);
    }
    const positions = (await readOn(log(), before)).events.map((event) => event.position);
    expect(positions).toHaveLength(13);
    expect(positions).toEqual(positions.toSorted((a, b) => a - b));
    if (densePositions) expect(positions).toEqual(positions.map((_, i) => before + 1 + i));
  });

  it('gives a reading its position as revision', async () => {
    const name = stream('heartbeat');
    const verdict = await written(log().append(name, 'any', facts(3)));
    expect(verdict.revision).toBe(verdict.position);
    const read = await log().readStream(name, 0, 10);
    expect(read).toHaveLength(3);
    for (const event of read) expect(event.revision).toBe(event.position);
  });

  for (const expected of ['noStream', 'exists', 0] as const) {
    it(`refuses '${expected}' on a transient stream as a defect`, async () => {
      await expect(log().append(stream('heartbeat'), expected, [fact()])).rejects.toThrow(TypeError);
    });
  }

  it('does not look for duplicates among readings', async () => {
    const name = stream('health');
    const event = fact();
    await written(log().append(name, 'any', [event]));
    await written(log().append(name, 'any', [event]));
    expect(await log().readStream(name, 0, 10)).toHaveLength(2);
  });

  it('refuses an append without events, and a revision that is none, as defects', async () => {
    await expect(log().append(stream(), 'any', [])).rejects.toThrow(TypeError);
    for (const revision of [-1, 1.5, Number.NaN, 2 ** 60]) {
      await expect(log().append(stream(), revision, [fact()])).rejects.toThrow(TypeError);
    }
  });

  it('writes an append larger than a flush', async () => {
    const name = stream();
    const verdict = await written(log().append(name, 'noStream', facts(2_500)));
    expect(verdict.revision).toBe(2_499);
    expect(await log().readStream(name, 2_400, 1_000)).toHaveLength(100);
  });
}

const okay = (count: number): string[] => Array.from({ length: count }, () => 'fulfilled');
