/** A replica that opens its mailboxes from the views, at any moment, holds what one holds that has followed the log from its beginning. */
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decode } from '../../src/events/catalog.ts';
import { channels } from '../../src/projections/channels.ts';
import { mailboxes } from '../../src/projections/mailboxes.ts';
import { nodes } from '../../src/projections/nodes.ts';
import { Mailroom } from '../../src/services/offline-queue/mailroom.ts';
import { Memberships } from '../../src/services/offline-queue/members.ts';
import { openMailroom } from '../../src/services/offline-queue/opening.ts';
import { backends, freshPlace, type Opened, openBoth } from '../projections/backends.ts';
import { tell } from '../projections/facts.ts';
import { choices, time, World } from './mailroom-model.ts';

const live = { nodes, channels, mailboxes };
const anHourLater = { now: () => Date.parse(time) + 3_600_000 };
const quiet = () => {};

type Maps = Awaited<ReturnType<typeof openMaps>>;
const openMaps = ({ views, log }: Opened) => views.live(live, log);

describe.each(backends)('mailboxes over %s', (kind) => {
  let place: Awaited<ReturnType<typeof freshPlace>>;
  let hub: Opened;
  let maps: Maps;
  /** From the beginning on. */
  let followed: Mailroom;
  let through = 0;
  const closes: (() => void)[] = [];
  /** Where each task was handed in, as the hub looks it up in the log. */
  const submittedAt = new Map<string, number>();

  beforeAll(async () => {
    place = await freshPlace(kind);
    hub = await openBoth(place.url);
    maps = await openMaps(hub);
    followed = roomOver(maps);
  });
  afterAll(async () => {
    for (const close of closes) close();
    await maps.close();
    await hub.close();
    await place.drop();
  });

  const roomOver = (known: Maps) => {
    const members = new Memberships({ live: known.maps });
    closes.push(() => members.close());
    return new Mailroom(members, quiet, quiet);
  };

  /** Lets a mailroom read on to the end of the log. Answers where that was. */
  const readOn = async (room: Mailroom, from: number): Promise<number> => {
    for (let after = from; ; ) {
      const page = await hub.log.readAll(after, 500);
      if (page.events.length === 0) return page.through;
      for (const recorded of page.events) {
        const event = decode(recorded);
        room.take(event);
        if (event.type !== 'task.retried' || !event.data.callback || !event.data.submitter.startsWith('node:'))
          continue;
        const { task_id, submitter } = event.data;
        room.await(task_id, { nodeId: submitter.slice('node:'.length), position: submittedAt.get(task_id)! });
      }
      after = page.through;
    }
  };
  const lies = (room: Mailroom, names: Iterable<string>) =>
    Object.fromEntries(
      Array.from(names, (name) => {
        const box = room.box(name);
        const letters = box.all().map(({ place: _, held: __, ...letter }) => letter);
        return [name, { letters, messages: box.messages, bytes: box.bytes }];
      }),
    );
  const overdue = (room: Mailroom) =>
    room
      .expired(Number.MAX_SAFE_INTEGER, 100_000)
      .map(({ letter, unreached }) => ({ name: letter.name, unreached: [...unreached].sort() }));

  it('are the same, wherever it begins and however much newer its tables are', async () => {
    let run = 0;
    await fc.assert(
      fc.asyncProperty(choices(90), fc.nat(1_000), fc.nat(1_000), async (wishes, open, split) => {
        const world = new World(`${kind}-${run}-`, 1_000 * run++);
        const say = async (some: typeof wishes) => {
          for (const wish of some) {
            const event = world.propose(wish);
            if (!event) continue;
            const position = await tell(hub.log, event);
            world.happened(event, position);
            if (event.type === 'task.submitted') submittedAt.set(event.data.task_id, position);
          }
          const head = await hub.log.head();
          await Promise.all(Object.values(maps.maps).map((map) => map.waitFor(head)));
          return head;
        };
        const half = await say(wishes.slice(0, split % wishes.length));
        const { stale } = await hub.views.read(half, async () => {});
        expect(stale).toBe(false);
        // What the tables hold is at least as new as where it begins; here much newer, up to the whole history of this run.
        const began = Math.max(0, half - (open % (half - through + 1)));
        const room = roomOver(maps);
        await openMailroom({ live: maps.maps, views: hub.views, kernel: anHourLater }, room, began);
        await say(wishes.slice(split % wishes.length));
        await readOn(room, began);
        through = await readOn(followed, through);
        for (const name of world.names)
          expect([
            name,
            followed
              .box(name)
              .all()
              .map(({ position }) => position),
          ]).toEqual([name, world.box(name)]);
        const all = [...maps.maps.nodes.values()].map(({ node_id }) => node_id);
        expect(lies(room, all)).toEqual(lies(followed, all));
        expect(overdue(room)).toEqual(overdue(followed));
        // The next run's purges are judged by its own messages alone.
        for (const node_id of world.nodes.keys())
          await tell(hub.log, { type: 'node.removed', data: { node_id, cause: 'operator' } });
        through = await readOn(followed, through);
      }),
      { numRuns: kind === 'sqlite' ? 80 : 25, endOnFailure: true },
    );
  }, 240_000);

  it('who took the name of a node that was removed has nothing of what was its', async () => {
    const [ada, bob] = [`${kind}-ada`, `${kind}-bob`];
    const member = (node_id: string) =>
      ({
        type: 'node.registered',
        data: { node_id, public_key: 'A'.repeat(43), role: 'member', profile: {} },
      }) as const;
    const message = (id: number, from: string, box: string) => {
      const message_id = `00000000-0000-4000-8000-00000090000${id}`;
      const expires_at = '2026-03-01T11:00:00.000Z';
      const content = { subject: 's', key_id: 'k', sealed: 'AAAA' };
      const sent = { message_id, from, box, to: { everyone: true as const }, content, bytes: 1, expires_at };
      return { event: { type: 'message.sent', data: sent } as const, known: { message_id, from, box, expires_at } };
    };
    const task = (task_id: string) => ({
      type: 'task.submitted' as const,
      data: {
        task_id,
        type: 'count',
        submitter: `node:${ada}`,
        payload: {},
        priority: 5,
        requirements: {},
        max_attempts: 1,
        backoff: { kind: 'fixed' as const, delay_ms: 0, max_ms: 0 },
        callback: { kind: 'socket' as const },
      },
    });
    const [toAda, toAll, toChannel, late] = [
      message(1, `node:${bob}`, `node:${ada}`),
      message(2, `node:${bob}`, 'everyone'),
      message(3, `node:${bob}`, `channel:${kind}`),
      message(4, `node:${bob}`, `channel:${kind}`),
    ];
    const fromAda = message(5, `node:${ada}`, `node:${bob}`);
    await tell(hub.log, member(ada), member(bob));
    await tell(hub.log, { type: 'channel.joined', data: { channel: kind, node_id: ada } });
    await tell(hub.log, toAda.event, toAll.event, toChannel.event, task(`${kind}-one`), task(`${kind}-two`));
    const sent_position = await tell(hub.log, fromAda.event);
    await tell(hub.log, { type: 'task.cancelled', data: { task_id: `${kind}-one` } });
    await tell(hub.log, { type: 'node.removed', data: { node_id: ada, cause: 'operator' } }, member(ada), late.event);
    await tell(hub.log, { type: 'task.cancelled', data: { task_id: `${kind}-two` } });
    const expired = { ...fromAda.known, sent_position, unreached: [bob], others: 0 };
    const head = await tell(hub.log, { type: 'message.expired', data: expired });
    await Promise.all(Object.values(maps.maps).map((map) => map.waitFor(head)));
    await hub.views.read(head, async () => {});
    const room = roomOver(maps);
    await openMailroom({ live: maps.maps, views: hub.views, kernel: anHourLater }, room, head);
    through = await readOn(followed, through);
    for (const each of [room, followed]) expect([each.box(ada).size, each.box(bob).size]).toEqual([0, 0]);
  });
});
