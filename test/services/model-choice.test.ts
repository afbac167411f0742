/** The best node for a model is the one that would answer soonest, and the score says why. */
import { describe, expect, it } from 'vitest';
import { rank } from '../../src/services/model-registry/choice.ts';
import type { OfferedModel } from '../../src/services/model-registry.ts';

const offer = (node_id: string, more: Partial<OfferedModel> = {}): OfferedModel => ({
  model_id: 'm',
  node_id,
  ready: true,
  queue_depth: undefined,
  ...more,
});
const order = (offers: OfferedModel[], cpu: Record<string, number> = {}, chance = () => 0.5) =>
  rank(offers, (nodeId) => cpu[nodeId], chance).map(({ offer: { node_id } }) => node_id);

describe('of the nodes that have a model', () => {
  it('one that has it in memory comes before one that must load it', () => {
    expect(order([offer('cold', { ready: false, tokens_per_second: 900 }), offer('warm')], { warm: 90 })).toEqual([
      'warm',
      'cold',
    ]);
  });
  it('a short queue comes before a long one, by how many it serves at once', () => {
    const offers = [offer('long', { queue_depth: 3 }), offer('wide', { queue_depth: 3, capacity: 10 }), offer('idle')];
    expect(order(offers)).toEqual(['idle', 'wide', 'long']);
  });
  it('a full queue in memory comes behind an idle one next to it, but a loaded node with room wins over speed', () => {
    expect(
      order([offer('fast', { queue_depth: 50, tokens_per_second: 100 }), offer('slow', { tokens_per_second: 10 })]),
    ).toEqual(['slow', 'fast']);
  });
  it('the less busy comes first, and of those the faster', () => {
    expect(order([offer('busy'), offer('calm')], { busy: 80, calm: 10 })).toEqual(['calm', 'busy']);
    expect(order([offer('slow', { tokens_per_second: 5 }), offer('fast', { tokens_per_second: 50 })])).toEqual([
      'fast',
      'slow',
    ]);
  });
  it('equals take turns by chance', () => {
    const lots = [0.9, 0.1];
    expect(order([offer('a'), offer('b')], {}, () => lots.shift()!)).toEqual(['b', 'a']);
  });
  it('the parts add up to the score', () => {
    const offers = [offer('a', { queue_depth: 2, tokens_per_second: 7 }), offer('b', { tokens_per_second: 9 })];
    for (const { score, why } of rank(
      offers,
      () => 33,
      () => 0,
    )) {
      const sum = Object.values(why).reduce((total, part) => total + part, 0);
      expect(sum).toBeCloseTo(score, 6);
    }
  });
});
