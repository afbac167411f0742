/** The mailboxes hold what they should by definition after any history, and have room for exactly what they say. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DomainEvent, LogEvent } from '../../src/events/catalog.ts';
import { Box, mostBytes, mostMessages, mostOthers } from '../../src/services/offline-queue/box.ts';
import {
  keptMs,
  type Letter,
  letterOf,
  Mailroom,
  type Members,
  noticeOf,
} from '../../src/services/offline-queue/mailroom.ts';
import { type Choice, choices, time, World } from './mailroom-model.ts';

const asRead = (event: DomainEvent, position: number) => ({ ...event, position, time }) as LogEvent; // what the mailroom looks at

/** Members as a world has them, which may be ahead of what the mailroom has read. */
function membersIn(world: () => World): Members {
  return {
    since: (nodeId) => world().nodes.get(nodeId),
    *channel(name) {
      const { nodes, channels } = world();
      for (const [nodeId, joined] of channels.get(name) ?? []) {
        const since = nodes.get(nodeId);
        if (since !== undefined && since < joined) yield [nodeId, joined];
      }
    },
    role: () => [],
    all: () => world().nodes.entries(),
  };
}

/** A history that could be, from choices: each event with its position. */
function historyOf(wishes: readonly Choice[]): { event: DomainEvent; position: number }[] {
  const world = new World();
  let position = 0;
  return wishes.flatMap((wish) => {
    const event = world.propose(wish);
    if (!event) return [];
    world.happened(event, ++position);
    return [{ event, position }];
  });
}

function take(room: Mailroom, world: World, event: DomainEvent, position: number): void {
  room.take(asRead(event, position));
  const { type, data } = event;
  if (type !== 'task.retried' || !data.callback || !data.submitter.startsWith('node:')) return;
  room.await(data.task_id, { nodeId: data.submitter.slice('node:'.length), position: world.submittedAt(data.task_id) });
}

function expectSame(room: Mailroom, world: World): void {
  for (const name of world.names) {
    const box = room.box(name);
    const positions = world.box(name);
    expect([name, box.all().map(({ position }) => position)]).toEqual([name, positions]);
    expect({ messages: box.messages, bytes: box.bytes }).toEqual(world.contents(name));
    expect([box.size, box.has(positions[0] ?? 0), box.has(-1)]).toEqual([
      positions.length,
      positions.length > 0,
      false,
    ]);
  }
  expect([...room.waiting()].map(([name]) => name).sort()).toEqual(
    world.names.filter((name) => world.box(name).length > 0).sort(),
  );
  const held = world.held();
  expect(room.nextExpiry).toBe(held[0]?.rank);
  const due = room.expired(Number.MAX_SAFE_INTEGER, 10_000);
  expect(
    due.map(({ letter, unreached }) => ({ id: letter.name, rank: letter.rank, by: [...unreached].sort() })),
  ).toEqual(held);
}

describe('after any history of messages, acknowledgements, memberships and tasks', () => {
  it('each mailbox holds what it should, in order, step by step', () => {
    void fc.assert(
      fc.property(choices(80), (wishes) => {
        const world = new World();
        const told: string[] = [];
        const moved: string[] = [];
        const room = new Mailroom(
          membersIn(() => world),
          (nodeId, { position }) => told.push(`${nodeId} ${position}`),
          (nodeId) => moved.push(nodeId),
        );
        const lay = new Set<string>();
        for (const { event, position } of historyOf(wishes)) {
          const before = new Map(world.names.map((name) => [name, world.box(name)]));
          world.happened(event, position);
          moved.length = 0;
          take(room, world, event, position);
          expectSame(room, world);
          for (const name of world.names) {
            const now = world.box(name);
            for (const each of now) lay.add(`${name} ${each}`);
            if (before.get(name)!.some((each) => !now.includes(each))) expect(moved).toContain(name);
          }
        }
        expect(told.sort()).toEqual([...lay].sort()); // each letter once
      }),
      { numRuns: 120 },
    );
  });

  it('also when the members that it knows of are ahead of what it reads', () => {
    void fc.assert(
      fc.property(choices(80), fc.nat(30), (wishes, ahead) => {
        const history = historyOf(wishes);
        const newer = new World();
        const room = new Mailroom(
          membersIn(() => newer),
          () => {},
          () => {},
        );
        let known = 0;
        for (const [at, { event, position }] of history.entries()) {
          for (; known < Math.min(history.length, at + 1 + ahead); known++)
            newer.happened(history[known]!.event, history[known]!.position);
          take(room, newer, event, position);
        }
        expectSame(room, newer);
      }),
      { numRuns: 120 },
    );
  });

  it('and when a page of the log is given to it twice', () => {
    void fc.assert(
      fc.property(choices(60), fc.nat(60), (wishes, pageLength) => {
        const world = new World();
        const room = new Mailroom(
          membersIn(() => world),
          () => {},
          () => {},
        );
        const history = historyOf(wishes);
        for (let at = 0; at < history.length; at += pageLength + 1) {
          const page = history.slice(at, at + pageLength + 1);
          for (const { event, position } of page) world.happened(event, position);
          for (let times = 0; times < 2; times++)
            for (const { event, position } of page) take(room, world, event, position);
        }
        for (const name of world.names)
          expect(
            room
              .box(name)
              .all()
              .map(({ position }) => position),
          ).toEqual(world.box(name));
      }),
      { numRuns: 300 },
    );
  });
});

const letter = (position: number, bytes = 1): Letter =>
  letterOf(
    {
      message_id: `m${position}`,
      box: 'node:ada',
      to: { node: 'ada' },
      from: 'node:bob',
      bytes,
      expires_at: '2026-03-01T11:00:00.000Z',
    },
    position,
  );

describe('a mailbox', () => {
  it('has room for exactly 1,000 messages and 64 MiB, those on their way included', () => {
    const step = fc.record({
      what: fc.constantFrom(
        'reserve',
        'reserve',
        'release',
        'arrive',
        'arrive',
        'strange',
        'notice',
        'fetch',
        'remove',
      ),
      at: fc.nat(40),
      bytes: fc.constantFrom(0, 1, 64 * 1024, 256 * 1024, 8 * 1024 * 1024),
    });
    const start = fc.constantFrom(
      [mostMessages - 6, 1],
      [mostMessages, 1],
      [4, 15 * 1024 * 1024],
      [1, mostBytes],
      [0, 0],
    );
    void fc.assert(
      fc.property(start, fc.array(step, { maxLength: 80, size: 'max' }), ([letters, size], steps) => {
        const box = new Box();
        let position = 0;
        const held: Letter[] = [];
        const reserved = new Map<string, number>();
        const put = (next: Letter) => {
          expect(box.put(next)).toEqual([]);
          held.push(next);
        };
        for (let at = 0; at < letters!; at++) put(letter(++position, size));
        for (const { what, at, bytes } of steps) {
          const messages = held.filter(({ kind }) => kind === 'message');
          const name = `r${at}`;
          if (what === 'reserve') {
            const sum = [...messages.map((each) => each.bytes), ...reserved.values()].reduce((a, b) => a + b, 0);
            const fits = messages.length + reserved.size < mostMessages && sum + bytes <= mostBytes;
            expect(box.reserve(name, bytes)).toBe(reserved.has(name) || fits);
            if (fits && !reserved.has(name)) reserved.set(name, bytes);
          } else if (what === 'release') {
            box.release(name);
            reserved.delete(name);
          } else if (what === 'arrive') {
            const [first] = reserved;
            if (!first) continue;
            box.release(first[0]); // as the mailroom does when it sees the message
            reserved.delete(first[0]);
            put(letter(++position, first[1]));
          } else if (what === 'strange')
            put(letter(++position, bytes)); // another replica had promised it room
          else if (what === 'notice') put(noticeOf('task', name, 'ada', ++position, 0));
          else if (what === 'fetch') {
            const through = held[at]?.position ?? 0;
            const gone = held.filter((each) => each.position <= through);
            expect(box.deliver(through)).toEqual(gone);
            held.splice(0, gone.length);
          } else {
            const [gone] = held.splice(at, 1);
            expect(box.remove(gone?.position ?? -1)).toBe(gone);
          }
          expect(box.idle).toBe(held.length === 0 && reserved.size === 0);
        }
        expect(box.all()).toEqual(held);
      }),
      { numRuns: 300 },
    );
  });

  it('gives what comes after a position, knows the last up to one, and what that is worth', () => {
    const places = fc
      .uniqueArray(fc.nat(100), { maxLength: 30 })
      .map((all) => all.sort((a, b) => a - b).map((p) => p + 1));
    void fc.assert(
      fc.property(places, fc.nat(110), fc.nat(10), (positions, at, limit) => {
        const box = new Box();
        for (const position of positions) box.put(letter(position, position));
        const upTo = positions.filter((position) => position <= at);
        expect(box.after(at, limit).map(({ position }) => position)).toEqual(
          positions.filter((position) => position > at).slice(0, limit),
        );
        expect(box.lastUpTo(at)).toBe(upTo.at(-1));
        expect(box.upTo(at)).toEqual({ letters: upTo.length, bytes: upTo.reduce((a, b) => a + b, 0) });
        expect(box.has(at)).toBe(positions.includes(at));
      }),
    );
  });

  it('takes no letter from before its last, or from before what was fetched', () => {
    const box = new Box();
    expect(box.put(letter(5))).toEqual([]);
    expect([box.put(letter(5)), box.put(letter(4))]).toEqual([undefined, undefined]);
    box.deliver(8);
    expect([box.put(letter(7)), box.put(letter(8)), box.put(letter(9))]).toEqual([undefined, undefined, []]);
    expect(box.deliver(8)).toEqual([]);
    expect(box.size).toBe(1);
  });

  it('holds 10,000 notices, and lets the oldest go for the next; messages count apart', () => {
    const box = new Box();
    box.put(letter(1));
    for (let position = 2; position <= mostOthers + 1; position++)
      expect(box.put(noticeOf('task', 't', 'ada', position, 0))).toEqual([]);
    expect(box.put(letter(mostOthers + 2))).toEqual([]);
    expect(box.put(noticeOf('task', 't', 'ada', mostOthers + 3, 0))).toMatchObject([{ position: 2 }]);
    expect([box.size, box.messages, box.has(1), box.has(2)]).toEqual([mostOthers + 2, 2, true, false]);
  });
});

describe('the mailroom', () => {
  const world = new World();
  world.happened({ type: 'node.registered', data: { node_id: 'ada', public_key: '', role: 'member', profile: {} } }, 1);
  const open = () =>
    new Mailroom(
      membersIn(() => world),
      () => {},
      () => {},
    );

  it('lets go of notices after seven days, and of messages only when the log says so', () => {
    const room = open();
    room.put('ada', noticeOf('task', 't', 'ada', 2, 1_000));
    room.put('ada', noticeOf('state', 'm', 'ada', 3, 2_000));
    const message = { ...letter(4), rank: 0 };
    room.put('ada', message);
    room.dropOld(1_000 + keptMs - 1);
    expect(room.box('ada').size).toBe(3);
    room.dropOld(1_000 + keptMs);
    expect(
      room
        .box('ada')
        .all()
        .map(({ position }) => position),
    ).toEqual([3, 4]);
    room.dropOld(Number.MAX_SAFE_INTEGER);
    expect(room.box('ada').all()).toEqual([message]);
  });

  it('calls what came home after its time unreceived only when its recipients had time to come home too', () => {
    const room = open();
    const sent = {
      type: 'message.sent',
      data: {
        message_id: 'm',
        from: 'node:bob',
        to: { node: 'ada' },
        box: 'node:ada',
        content: { subject: 's', key_id: 'k', sealed: '' },
        bytes: 1,
        expires_at: '2026-03-01T09:00:00.000Z',
        p2p: { entry: 'e', chain: 'c', seq: 1, roster_id: 'r', said_at: '2026-03-01T08:59:00.000Z' },
      },
    } satisfies DomainEvent;
    room.take(asRead(sent, 2));
    const cameHome = Date.parse(time);
    expect(room.expired(cameHome + 119_999, 10)).toEqual([]);
    expect(room.expired(cameHome + 120_000, 10)).toMatchObject([{ letter: { name: 'm' }, unreached: ['ada'] }]);
    const { message_id, box, from, expires_at } = sent.data;
    const received = { message_id, box, from, expires_at, sent_position: 2, node_id: 'ada', at: time };
    room.take(asRead({ type: 'message.received', data: received }, 3));
    expect(room.expired(Number.MAX_SAFE_INTEGER, 10)).toEqual([]);
  });

  it('forgets a notice that had to leave a full mailbox', () => {
    const room = open();
    for (let position = 2; position <= mostOthers + 3; position++)
      room.put('ada', noticeOf('task', 't', 'ada', position, position));
    expect(room.box('ada').size).toBe(mostOthers);
    room.dropOld(mostOthers + 2 + keptMs); // all but the last
    expect(
      room
        .box('ada')
        .all()
        .map(({ position }) => position),
    ).toEqual([mostOthers + 3]);
  });

  it('takes word of a file that is gone out, without looking through all that lies there besides', () => {
    const room = open();
    let looks = 0;
    const watched = new Proxy(letter(2), {
      get(target, name) {
        if (name === 'kind' || name === 'name') looks++;
        return Reflect.get(target, name);
      },
    });
    const file = { file_id: 'f', box: 'node:ada', to: { node: 'ada' }, owner: 'operator:x' };
    room.put('ada', watched);
    room.take(asRead({ type: 'file.stored', data: file } as never, 3));
    expect(room.box('ada').size).toBe(2);
    looks = 0;
    room.take(asRead({ type: 'file.removed', data: { file_id: 'f' } } as never, 4));
    expect([room.box('ada').all(), looks]).toEqual([[watched], 0]);
  });

  it('says which messages are over, as many as are asked for, the first first', () => {
    const room = open();
    for (const [position, rank] of [
      [2, 30],
      [3, 10],
      [4, 20],
      [5, 10],
    ] as const)
      room.put('ada', { ...letter(position), rank });
    const names = (now: number, limit: number) => room.expired(now, limit).map(({ letter: { name } }) => name);
    expect(names(9, 10)).toEqual([]);
    expect(names(20, 10)).toEqual(['m3', 'm5', 'm4']);
    expect(names(99, 2)).toEqual(['m3', 'm5']);
    expect(names(99, 10)).toEqual(['m3', 'm5', 'm4', 'm2']); // they stay until the log says so
  });

  it('keeps a promise of room to messages on their way when their node is removed and comes again', () => {
    const room = open();
    expect(room.reserve(['ada'], 'r', mostBytes)).toEqual([]);
    room.take(asRead({ type: 'node.removed', data: { node_id: 'ada', cause: 'operator' } }, 2));
    expect(room.reserve(['ada'], 'other', 1)).toEqual(['ada']);
    room.release(['ada'], 'r');
    expect(room.reserve(['ada'], 'other', 1)).toEqual([]);
  });
});
