/** What a hub pushes, handed on in order and once, whatever a reconnect mixes up. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { AnyHubPacket } from '../../src/client/connection.ts';
import { Feed } from '../../src/client/feed.ts';

const packet = (position: number): AnyHubPacket => ({
  name: 'federation:node-left',
  packet: { position, time: '2026-01-01T00:00:00.000Z', node_id: 'n', cause: 'left' },
});

function aFeed(seen?: number): { feed: Feed; got: number[] } {
  const got: number[] = [];
  return { got, feed: new Feed((it) => got.push('position' in it.packet ? it.packet.position : -1), seen) };
}

test('every event after the start is handed on once and in order, however often connections are lost', () => {
  const events = fc.uniqueArray(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 60 });
  const cuts = fc.array(fc.record({ at: fc.nat(200), live: fc.nat(20), replayedTo: fc.nat(20), lost: fc.nat(5) }), {
    maxLength: 6,
  });
  fc.assert(
    fc.property(events, cuts, (positions, connections) => {
      const log = positions.sort((a, b) => a - b);
      const { feed, got } = aFeed();
      feed.begin(0);
      for (const { at: start, live, replayedTo, lost } of connections) {
        const from = feed.begin(start);
        const early = log.filter((it) => it > start && it <= start + live);
        const missed = log.filter((it) => from !== undefined && it > from && it <= start + replayedTo);
        if (lost > 0) {
          for (const it of [...early, ...missed.slice(0, lost)]) feed.take(packet(it)); // cut in the middle of catching up
          continue;
        }
        for (const it of [...early, ...missed]) feed.take(packet(it));
        if (from !== undefined) feed.finish();
      }
      const end = feed.begin(1000);
      for (const it of log.filter((position) => position > end!)) feed.take(packet(it));
      feed.finish();
      expect(got).toEqual(log);
    }),
  );
});

test('a log that ends before what was seen was restored: what comes after its end is new', () => {
  const { feed, got } = aFeed(4000);
  expect(feed.begin(10)).toBeUndefined();
  feed.take(packet(11));
  feed.rewind(12);
  feed.take(packet(13));
  expect([got, feed.position]).toEqual([[13], 13]);
});

test('what has no place in the log is handed on at once', () => {
  const { feed, got } = aFeed(5);
  feed.begin(10);
  feed.take({ name: 'federation:degraded', packet: { reason: 'x' } });
  expect(got).toEqual([-1]);
});

test('a thousand wait while it catches up, and no more; what came in before is not asked for again', () => {
  const { feed, got } = aFeed(5);
  expect(feed.begin(10)).toBe(5);
  expect(feed.take(packet(7))).toBe(true);
  for (let position = 11; position <= 1010; position++) expect(feed.take(packet(position))).toBe(true);
  expect(feed.take(packet(1011))).toBe(false);
  expect(got).toEqual([7]);
  expect(feed.begin(2000)).toBe(7);
});
