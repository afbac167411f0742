/** Which node is best for a model, and why: a score out of what the node says of the model and of itself. */
import type { OfferedModel } from '../model-registry.ts';

/** A node that was looked at. `why`: the parts that add up to the score, and what they were made from. */
export interface RankedOffer {
  readonly offer: OfferedModel;
  readonly score: number;
  readonly why: {
    /** In memory: nothing is to be loaded first. */
    readonly ready: number;
    /** Minus: requests that wait there, by how many it serves at once. */
    readonly queue: number;
    /** Minus: how busy the node's processors are. */
    readonly load: number;
    /** Speed, against the fastest. */
    readonly speed: number;
  };
}

/** What each part is worth at most. */
const worth = { ready: 100, queue: 80, load: 30, speed: 20 } as const;
/** As many in the queue for each place count as full. */
const fullQueue = 4;

/** The offers, the best first; equals in the order of `chance`, so that not all go to one. `cpuOf`: percent, undefined when it is not known. */
export function rank(
  offers: readonly OfferedModel[],
  cpuOf: (nodeId: string) => number | undefined,
  chance: () => number,
): RankedOffer[] {
  const fastest = Math.max(0, ...offers.map(({ tokens_per_second = 0 }) => tokens_per_second));
  return offers
    .map((offer) => ({ ranked: scored(offer, cpuOf(offer.node_id), fastest), lot: chance() }))
    .sort((a, b) => b.ranked.score - a.ranked.score || a.lot - b.lot)
    .map(({ ranked }) => ranked);
}

function scored(offer: OfferedModel, cpu: number | undefined, fastest: number): RankedOffer {
  const { ready, queue_depth = 0, capacity = 1, tokens_per_second = 0 } = offer;
  const parts = {
    ready: ready ? worth.ready : 0,
    queue: -round(worth.queue * Math.min(1, queue_depth / capacity / fullQueue)),
    load: -round(worth.load * ((cpu ?? 50) / 100)), // unknown: neither idle nor busy
    speed: fastest === 0 ? 0 : round(worth.speed * (tokens_per_second / fastest)),
  };
  return { offer, score: round(parts.ready + parts.queue + parts.load + parts.speed), why: parts };
}

/** To a hundredth: scores are read by people. */
function round(value: number): number {
  return Math.round(value * 100) / 100 || 0; // no minus zero
}
