/** A log that is restored is the one that was backed up: it reads the same, and goes on. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { EventLog, Recorded } from '../../../src/events/log.ts';
import type { EmptyPlace } from '../conformance.ts';
import { fact, facts, ids, kernel, readOn, stream, written } from './facts.ts';

const about = { id: '6f1d3c52-6a0e-4c55-9d0e-3d1b7c7a5a11', segmentSize: 10 };
const time = '2030-01-02T03:04:05.678Z';

export function restoring(makePlace: () => Promise<EmptyPlace>): void {
  let place: EmptyPlace;
  let log: EventLog | undefined;
  beforeEach(async () => {
    place = await makePlace();
  });
  afterEach(async () => {
    await log?.close();
    log = undefined;
    await place.remove();
  });

  const fresh = () => place.begin(about);

  /** Opens what is there, once more if it is open. */
  async function open(): Promise<EventLog> {
    await log?.close();
    log = await place.open();
    return log;
  }

  const kept = (position: number, name: string, revision: number, over: Partial<Recorded> = {}): Recorded => ({
    ...fact(),
    position,
    stream: name,
    revision,
    ...over,
  });
  const reading = (position: number): Recorded =>
    kept(position, 'heartbeat-a', position, { type: 'heartbeat.received' });

  it('reads as it was written, odd text and gaps included', async () => {
    const odd = [
      '{"broken":"\\ud83d"}',
      '{"nul":"a\\u0000b"}',
      ' {\t"b" : 1 ,\r\n "a":\n[ ] } ',
      '{"bee":"🐝","ls":"\u2028"}',
    ];
    const events = [
      kept(1, 'node-o\'neil "x" \\n$1{a,b},NULL', 0, { data: odd[0]!, meta: odd[1]! }),
      kept(2, 'node-żółw-蜂-🐝', 0, { data: odd[2]!, meta: odd[3]! }),
      reading(3),
      // 11 to 30 held readings that were dropped
      kept(15, 'node-żółw-蜂-🐝', 1, { version: 7, time: '2029-12-31T23:59:59.999Z' }),
      reading(31),
      kept(38, 'node-b', 0),
    ];
    const restore = await fresh();
    await restore.writeEvents(events.slice(0, 4));
    await restore.writeEvents(events.slice(4));
    await restore.publish(38);
    const log = await open();
    expect(log).toMatchObject({ id: about.id, segmentSize: 10 });
    expect(await log.head()).toBe(38);
    for (const limit of [1, 4, 100]) expect((await readOn(log, 0, limit)).events).toEqual(events);
    expect(await log.readStream('node-żółw-蜂-🐝', 0, 10)).toEqual([events[1], events[3]]);
    expect(await log.readStream('heartbeat-a', 0, 10)).toEqual([events[2], events[4]]);
    expect(await log.segments()).toEqual([
      { from: 1, to: 10, closed: true },
      { from: 31, to: 40, closed: false },
    ]);
    const seen: Recorded[] = [];
    const subscription = log.subscribe(0, ({ events: page }) => void seen.push(...page), { batch: 2 });
    while (subscription.position < 38) await kernel.sleep(2);
    await subscription.close();
    expect(seen).toEqual(events);
  });

  it('goes on after the old head, judging by what was restored', async () => {
    const first = kept(1, 'node-a', 0);
    const restore = await fresh();
    await restore.writeEvents([first, reading(2), kept(3, 'node-a', 1)]);
    await restore.publish(3);
    const log = await open();
    expect(await log.append('node-a', 'noStream', [fact()])).toEqual({ status: 'conflict', revision: 1 });
    expect(await log.append('node-a', 'any', [fact({ id: first.id })])).toMatchObject({
      status: 'duplicate',
      position: 1,
    });
    expect(await written(log.append('node-a', 1, [fact()]))).toEqual({ status: 'written', position: 4, revision: 2 });
    const many = facts(45);
    await written(log.append(stream('heartbeat'), 'any', many)); // over segments that are still to be made
    expect(ids((await readOn(log, 4)).events)).toEqual(ids(many));
    expect((await log.segments()).map(({ from }) => from)).toEqual([1, 11, 21, 31, 41]);
  });

  it('drops segments that were restored, and readings that came after', async () => {
    const restore = await fresh();
    await restore.writeEvents([kept(1, 'node-a', 0), reading(4), reading(25), kept(30, 'node-a', 1)]);
    await restore.publish(30);
    const log = await open();
    await written(log.append(stream('health'), 'any', facts(15)));
    for (const { from, closed } of await log.segments()) if (closed) await log.dropSegment(from);
    await log.dropSegment(11); // never made
    expect((await readOn(log, 0)).events.map(({ position }) => position)).toEqual([1, 30, 41, 42, 43, 44, 45]);
    const again = await open();
    expect((await written(again.append('node-a', 1, [fact()]))).position).toBe(46);
  });

  it('knows the commands of before, all of what their records say', async () => {
    const commands = ['a', 'b', 'c'].map((end, at) => ({
      id: `00000000-0000-5000-8000-00000000000${end}`,
      bodyHash: `hash ${end}`,
      reply: at === 1 ? null : '{"n":"\\u0000"}',
      time,
      position: at + 1,
      revision: at,
    }));
    const restore = await fresh();
    await restore.writeEvents([0, 1, 2].map((revision) => kept(revision + 1, 'node-a', revision)));
    await restore.writeCommands(commands.slice(0, 2));
    await restore.writeCommands(commands.slice(2));
    await restore.publish(3);
    const log = await open();
    expect(await log.readCommands(3, undefined, 10)).toEqual(commands);
    const { revision, ...record } = commands[0]!;
    expect(await log.findCommand(record.id)).toEqual(record);
    const again = { id: record.id, bodyHash: 'other', reply: null, time };
    expect(await log.append('node-b', 'noStream', [fact()], again)).toEqual({
      status: 'duplicate',
      position: 1,
      revision,
      command: record,
    });
    expect(await log.forgetCommands('2031-01-01')).toBe(3);
  });

  it('goes on at its position when its last segment is full', async () => {
    const restore = await fresh();
    await restore.writeEvents([kept(1, 'node-a', 0), reading(20)]);
    await restore.publish(20);
    const log = await open();
    expect((await written(log.append('heartbeat-a', 'any', [fact()]))).position).toBe(21);
    expect((await log.segments()).map(({ from, closed }) => [from, closed])).toEqual([
      [11, true],
      [21, false],
    ]);
  });

  it('is no log before it is published, and leaves nothing when it is given up', async () => {
    const restore = await fresh();
    await restore.writeEvents([kept(1, 'node-a', 0)]);
    await restore.discard();
    const log = await open();
    expect(log.id).not.toBe(about.id);
    expect(await log.head()).toBe(0);
  });

  it('refuses a place that has a log already', async () => {
    const restore = await fresh();
    await restore.writeEvents([kept(1, 'node-a', 0)]);
    await restore.publish(1);
    await restore.discard(); // harmless by now
    const log = await open();
    await expect(place.begin(about)).rejects.toThrow('empty place');
    expect(await log.head()).toBe(1);
  });
}

/** Reading the records of commands, as a backup does. */
export function commandRecords(log: () => EventLog): void {
  it('gives the records of commands by id, page by page, up to a position', async () => {
    const made: string[] = [];
    const before = await log().head();
    for (let n = 0; n < 7; n++) {
      const command = { id: kernel.uuid(), bodyHash: `h${n}`, reply: n % 2 ? null : `${n}`, time };
      await written(log().append(stream(), 'any', facts(2), command));
      made.push(command.id);
    }
    const through = before + 8; // the fourth
    const found: string[] = [];
    for (let after: string | undefined; ; ) {
      const page = await log().readCommands(through, after, 3);
      expect(page.length).toBeLessThanOrEqual(3);
      found.push(...ids(page));
      if (page.length < 3) break;
      after = page.at(-1)!.id;
    }
    expect(found).toEqual([...found].sort());
    expect(found.filter((id) => made.includes(id))).toEqual(made.slice(0, 4));
    const [one] = await log().readCommands(through, made[2], 1);
    expect(one).toEqual({ id: made[3], bodyHash: 'h3', reply: null, time, position: before + 8, revision: 1 });
  });
}
