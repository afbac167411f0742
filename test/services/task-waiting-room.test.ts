/** Tasks that wait: the most urgent first, nobody for ever, and what nobody can do is in nobody's way. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { OpenTaskRow } from '../../src/projections/open-tasks.ts';
import { canDo, keysOfSkills, keysOfWanted, type Skills } from '../../src/services/task-queue/requirements.ts';
import { type Group, type Seeker, WaitingRoom } from '../../src/services/task-queue/waiting-room.ts';

const minute = 60_000;
let position = 0;

const rowOf = (task_id: string, more: Partial<OpenTaskRow> & { at?: number } = {}): OpenTaskRow => {
  const { at = 0, ...others } = more;
  const time = new Date(at).toISOString();
  return {
    task_id,
    type: 'count',
    status: 'pending',
    submitter: 'node:ada',
    priority: 5,
    requirements: {},
    node_id: null,
    how: null,
    lease: 0,
    begun: 0,
    ack_by: null,
    assigned_at: null,
    progressed_at: null,
    ready_at: time,
    deadline: null,
    submitted_at: time,
    submitted_position: position++,
    callback: null,
    sensitive: 0,
    ...others,
  };
};
const seekerOf = (nodeId: string, skills: Partial<Skills> = {}): Seeker => ({
  nodeId,
  skills: { nodeId, types: undefined, capabilities: new Set(), labels: {}, models: new Map(), ...skills },
  groups: new Set<Group>(),
});
/** Takes all that a node could do, in order. */
const drain = (room: WaitingRoom, seeker: Seeker): string[] => {
  const taken: string[] = [];
  for (let next = room.mostUrgentFor(seeker); next; next = room.mostUrgentFor(seeker)) {
    taken.push(next.row.task_id);
    room.take(next.row.task_id);
  }
  return taken;
};

describe('the waiting room', () => {
  it('gives out by priority, and the older of equals first', () => {
    const room = new WaitingRoom(() => 0);
    const bob = seekerOf('bob');
    room.enter(bob);
    for (const [id, priority] of [
      ['a', 1],
      ['b', 10],
      ['c', 5],
      ['d', 10],
    ] as const)
      room.put(rowOf(id, { priority }), 0);
    expect(drain(room, bob)).toEqual(['b', 'd', 'c', 'a']);
  });

  it('a task of priority 1 that waited for more than nine minutes goes before a fresh one of 10', () => {
    for (const [waited, first] of [
      [9 * minute + 1, 'old'],
      [9 * minute - 1, 'new'],
    ] as const) {
      const room = new WaitingRoom(() => waited);
      const bob = seekerOf('bob');
      room.enter(bob);
      room.put(rowOf('new', { at: waited, priority: 10 }), 0);
      room.put(rowOf('old', { at: 0, priority: 1 }), 0);
      expect(drain(room, bob)[0]).toBe(first);
    }
  });

  it('nobody starves: however many more urgent ones come, a task goes out within its nine minutes and what waited then', () => {
    let now = 0;
    const room = new WaitingRoom(() => now);
    const bob = seekerOf('bob');
    room.enter(bob);
    room.put(rowOf('patient', { priority: 1 }), 0);
    let out: number | undefined;
    for (; out === undefined && now < 20 * minute; now += 1_000) {
      room.put(rowOf(`u${now}`, { at: now, priority: 10 }), 0); // one more each second, and one goes out
      const next = room.mostUrgentFor(bob)!;
      if (next.row.task_id === 'patient') out = now;
      room.take(next.row.task_id);
    }
    expect(out).toBeGreaterThan(0);
    expect(out).toBeLessThanOrEqual(9 * minute + 1_000);
  });

  it('what waits for its time is nobody’s until then, and is told of once it is due', () => {
    let now = 0;
    const room = new WaitingRoom(() => now);
    const bob = seekerOf('bob');
    const ripe: string[] = [];
    room.enter(bob);
    room.onRipe(({ row }) => ripe.push(row.task_id));
    room.put(rowOf('later'), 100);
    room.put(rowOf('gone'), 100);
    room.take('gone');
    room.ripen();
    expect([drain(room, bob), ripe, room.size]).toEqual([[], [], 1]);
    now = 100;
    room.ripen();
    room.ripen();
    expect([ripe, drain(room, bob)]).toEqual([['later'], ['later']]);
  });

  it('a node finds exactly the tasks that it can do, whoever came first, and after any coming and going', () => {
    const word = fc.constantFrom('x', 'y', 'z');
    const skills = fc.record({
      types: fc.option(
        fc.uniqueArray(word, { maxLength: 2 }).map((types) => new Set(types)),
        { nil: undefined },
      ),
      capabilities: fc.uniqueArray(word).map((all) => new Set(all)),
      labels: fc.dictionary(word, word, { maxKeys: 2 }),
      models: fc
        .uniqueArray(fc.tuple(word, fc.constantFrom(0, 8, 16)), { selector: ([name]) => name })
        .map((all) => new Map(all)),
    });
    const wanted = fc.record({
      type: word,
      requirements: fc.record(
        {
          node: fc.constantFrom('n0', 'n1'),
          model: word,
          min_context: fc.constantFrom(1, 8, 16),
          capabilities: fc.uniqueArray(word, { maxLength: 2 }),
          labels: fc.dictionary(word, word, { maxKeys: 1 }),
        },
        { requiredKeys: [] },
      ),
    });
    const step = fc.oneof(
      fc.record({ put: wanted, id: fc.nat(5) }),
      fc.record({ take: fc.nat(5) }),
      fc.record({ enter: skills, node: fc.constantFrom('n0', 'n1', 'n2') }),
      fc.record({ exit: fc.constantFrom('n0', 'n1', 'n2') }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const room = new WaitingRoom(() => 0);
        const rows = new Map<string, OpenTaskRow>();
        const seekers = new Map<string, Seeker>();
        for (const one of steps) {
          if ('put' in one) {
            const row = rowOf(`t${one.id}`, one.put);
            rows.set(row.task_id, row);
            room.put(row, 0);
          } else if ('take' in one) {
            rows.delete(`t${one.take}`);
            room.take(`t${one.take}`);
          } else {
            const nodeId = 'enter' in one ? one.node : one.exit;
            const before = seekers.get(nodeId);
            if (before) room.exit(before);
            seekers.delete(nodeId);
            if (!('enter' in one)) continue;
            const seeker = seekerOf(nodeId, one.enter);
            seekers.set(nodeId, seeker);
            room.enter(seeker);
          }
        }
        const nobody = [...rows.values()].filter(
          (row) => ![...seekers.values()].some(({ skills }) => canDo(skills, row)),
        );
        expect(room.unplaceable).toBe(nobody.length);
        for (const seeker of seekers.values()) {
          const found = [...seeker.groups].flatMap((group) =>
            [...rows.values()].filter((row) => room.get(row.task_id)?.group === group),
          );
          const fitting = [...rows.values()].filter((row) => canDo(seeker.skills, row));
          expect(new Set(found)).toEqual(new Set(fitting));
          for (const row of fitting)
            expect(keysOfSkills(seeker.skills)).toEqual(
              expect.arrayContaining([expect.stringMatching(anyOf(keysOfWanted(row)))]),
            );
        }
      }),
      { numRuns: 300 },
    );
  });

  it('100,000 tasks that nobody can do, each of another kind, are not looked at and cost the others microseconds', () => {
    const tookMs = (crowd: number) => {
      const room = new WaitingRoom(() => 0);
      const nodes = Array.from({ length: 20 }, (_, at) => seekerOf(`n${at}`, { capabilities: new Set(['gpu']) }));
      for (const node of nodes) room.enter(node);
      for (let at = 0; at < crowd; at++)
        room.put(
          rowOf(`u${at}`, { requirements: { capabilities: ['gpu', `rare-${at}`], labels: { at: String(at) } } }),
          0,
        );
      expect(room.unplaceable).toBe(crowd);
      const rows = Array.from({ length: 20_000 }, (_, at) =>
        rowOf(`t${at}`, { requirements: { capabilities: ['gpu'] } }),
      );
      const run = () => {
        const began = performance.now();
        for (const [at, row] of rows.entries()) {
          room.put(row, 0);
          const next = room.mostUrgentFor(nodes[at % nodes.length]!);
          room.take(next!.row.task_id);
        }
        return performance.now() - began;
      };
      const took = Math.min(...Array.from({ length: 7 }, run));
      expect(nodes.map(({ groups }) => groups.size)).toEqual(nodes.map(() => 1)); // of 100,001
      return took;
    };
    tookMs(0); // warm
    const [alone, crowded] = [tookMs(0), tookMs(100_000)];
    expect((crowded - alone) / 20_000).toBeLessThan(0.01); // of the half millisecond that a task has at 2,000 a second
  });

  it('keeps a bounded number of empty groups', () => {
    const room = new WaitingRoom(() => 0);
    const bob = seekerOf('bob');
    room.enter(bob);
    for (let at = 0; at < 2_000; at++) {
      room.put(rowOf(`t${at}`, { type: `type-${at}` }), 0);
      room.take(`t${at}`);
    }
    expect(bob.groups.size).toBeLessThanOrEqual(256);
  });

  it('a node with thousands of kinds before it gets to all of them', () => {
    const room = new WaitingRoom(() => 0);
    const bob = seekerOf('bob');
    room.enter(bob);
    const ids = Array.from({ length: 3_000 }, (_, at) => `t${at}`);
    for (const [at, id] of ids.entries()) room.put(rowOf(id, { type: `type-${at}` }), 0);
    expect(drain(room, bob).sort()).toEqual([...ids].sort());
  });

  it('a node that asks for one kind finds it at once among thousands, and among what waits for its time', () => {
    let now = 0;
    const room = new WaitingRoom(() => now);
    const bob = seekerOf('bob');
    room.enter(bob);
    for (let at = 0; at < 3_000; at++) room.put(rowOf(`t${at}`, { type: `type-${at}` }), at < 2_999 ? minute : 0);
    expect(room.mostUrgentFor(bob)?.row.task_id).toBe('t2999');
    now = minute;
    room.ripen();
    expect(room.mostUrgentFor(bob, ({ type }) => type === 'type-1500')?.row.task_id).toBe('t1500');
  });
});

function anyOf(keys: readonly string[]): RegExp {
  return new RegExp(`^(${keys.map((key) => key.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|')})$`);
}
