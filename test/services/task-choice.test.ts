/** Which node gets a task: the one with room and health, explained, and not always the same. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Able, choose } from '../../src/services/task-queue/choice.ts';

const percent = fc.double({ min: 0, max: 100, noNaN: true });
const able = (nodeId: string): fc.Arbitrary<Able> =>
  fc
    .record({
      capacity: fc.integer({ min: 1, max: 1_000 }),
      part: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      suspect: fc.boolean(),
      cpuPercent: fc.option(percent, { nil: undefined }),
      memoryPercent: fc.option(percent, { nil: undefined }),
      model: fc.option(fc.record({ ready: fc.boolean(), queueDepth: fc.option(fc.nat(50), { nil: undefined }) }), {
        nil: undefined,
      }),
    })
    .map(({ part, capacity, ...others }) => ({ nodeId, capacity, load: Math.floor(part * capacity), ...others }));
const some = fc
  .integer({ min: 1, max: 20 })
  .chain((count) => fc.tuple(...Array.from({ length: count }, (_, at) => able(`n${at}`))))
  .map((nodes) => nodes as [Able, ...Able[]]); // at least one
const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const draws = (numbers: readonly number[]) => {
  let at = 0;
  return () => numbers[at++ % numbers.length]!;
};
const plain = (nodeId: string, more: Partial<Able> = {}): Able => ({
  nodeId,
  load: 0,
  capacity: 10,
  suspect: false,
  ...more,
});
const winner = (a: Able, b: Able) => choose([a, b], () => 0).chosen.nodeId;

describe('the choice of a node', () => {
  it('falls on one of the nodes within a tenth of the best, and the event tells of it first, then of the best', () => {
    fc.assert(
      fc.property(some, fc.array(random, { minLength: 2, maxLength: 2 }), (nodes, numbers) => {
        const { chosen, considered, candidates } = choose(nodes, draws(numbers));
        expect(nodes).toContain(chosen);
        expect(considered).toBe(nodes.length);
        expect(candidates.length).toBe(Math.min(8, nodes.length));
        expect(candidates[0]!.node_id).toBe(chosen.nodeId);
        const scores = candidates.map(({ score }) => score);
        expect(scores[0]).toBeGreaterThanOrEqual(Math.max(...scores) * 0.9 - 0.02); // they are told in hundredths
        expect(scores.slice(1)).toEqual([...scores.slice(1)].sort((a, b) => b - a));
        expect(new Set(candidates.map(({ node_id }) => node_id)).size).toBe(candidates.length);
        for (const score of scores) expect(score >= 0 && score <= 100).toBe(true);
      }),
    );
  });

  it('does not depend on the order in which the nodes are named', () => {
    fc.assert(
      fc.property(some, fc.array(random, { minLength: 2, maxLength: 2 }), (nodes, numbers) => {
        const backwards = [...nodes].reverse() as [Able, ...Able[]];
        expect(choose(backwards, draws(numbers))).toEqual(choose(nodes, draws(numbers)));
      }),
    );
  });

  it('more room, better health, a loaded model and a shorter queue never make a node worse', () => {
    fc.assert(
      fc.property(able('a'), (node) => {
        const scoreOf = (one: Able) => choose([one], () => 0).candidates[0]!.score;
        const score = scoreOf(node);
        expect(scoreOf({ ...node, load: Math.max(0, node.load - 1) })).toBeGreaterThanOrEqual(score);
        expect(scoreOf({ ...node, suspect: false })).toBeGreaterThanOrEqual(score);
        expect(scoreOf({ ...node, cpuPercent: 0, memoryPercent: 0 })).toBeGreaterThanOrEqual(score);
        expect(scoreOf({ ...node, model: node.model && { ready: true, queueDepth: 0 } })).toBeGreaterThanOrEqual(score);
      }),
    );
  });

  it('prefers room, health, the loaded model and who is not in doubt', () => {
    expect(winner(plain('a', { load: 9 }), plain('b'))).toBe('b');
    expect(winner(plain('a', { cpuPercent: 100 }), plain('b', { cpuPercent: 5 }))).toBe('b');
    expect(winner(plain('a', { model: { ready: false } }), plain('b', { model: { ready: true } }))).toBe('b');
    expect(winner(plain('a', { model: { ready: true, queueDepth: 9 } }), plain('b', { model: { ready: true } }))).toBe(
      'b',
    );
    expect(winner(plain('a', { suspect: true }), plain('b'))).toBe('b');
  });

  it('spreads many decisions of the same moment over equals, and says what each score is made of', () => {
    const nodes = Array.from({ length: 10 }, (_, at) => plain(`n${at}`)) as [Able, ...Able[]];
    let seed = 1;
    const next = () => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed / 2_147_483_647;
    };
    const chosen = new Map<string, number>();
    for (let turn = 0; turn < 1_000; turn++) {
      const { nodeId } = choose(nodes, next).chosen;
      chosen.set(nodeId, (chosen.get(nodeId) ?? 0) + 1);
    }
    expect(chosen.size).toBe(10);
    for (const times of chosen.values()) expect(times).toBeLessThan(200);
    const { candidates } = choose(
      [plain('a', { load: 5, cpuPercent: 50, model: { ready: true, queueDepth: 5 } })],
      next,
    );
    expect(candidates).toEqual([
      {
        node_id: 'a',
        score: 50,
        why: { load: 5, capacity: 10, room: 30, health: 10, model: 10, model_ready: true, model_queue: 5 },
      },
    ]);
  });

  it('of two that are as good, the one with more room gets it', () => {
    const a = plain('a', { load: 1, cpuPercent: 0 });
    const b = plain('b', { load: 0, cpuPercent: 30 });
    for (const numbers of [
      [0, 0],
      [0.9, 0.9],
      [0.4, 0.6],
    ])
      expect(choose([a, b], draws(numbers)).chosen.nodeId).toBe('b');
  });
});
