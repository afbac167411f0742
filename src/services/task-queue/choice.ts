/**
 * Which of the nodes that could do a task is to do it, and why. Pure.
 *
 * Each gets a score of 0 to 100 by room, health and, where the task names one, the state of the model. Of those within a tenth
 * of the best, two are drawn and the less loaded one is taken: many decisions of the same moment then do not all fall on the same node.
 */
import type { Candidate } from '../../events/task.ts';

/** A node that could take the task now. */
export interface Able {
  readonly nodeId: string;
  /** Tasks that it has, fewer than `capacity`. */
  readonly load: number;
  readonly capacity: number;
  /** Its heartbeats are late. */
  readonly suspect: boolean;
  /** By its newest heartbeat. */
  readonly cpuPercent?: number | undefined;
  readonly memoryPercent?: number | undefined;
  /** State of the model that the task asks for. */
  readonly model?: { readonly ready: boolean; readonly queueDepth?: number | undefined } | undefined;
}

export interface Choice<Node extends Able> {
  readonly chosen: Node;
  readonly considered: number;
  /** At most eight, the chosen one first, then the best. */
  readonly candidates: Candidate[];
}

const told = 8;
const roomWeight = 60;
const healthWeight = 20;
const modelWeight = 20;
/** A queue of so many at the model is as bad as a model that is not loaded. */
const longQueue = 10;
const suspectFactor = 0.5;
/** Scores at least this part of the best are as good as the best. */
const asGood = 0.9;

/** `random` gives numbers in [0, 1). */
export function choose<Node extends Able>(nodes: readonly [Node, ...Node[]], random: () => number): Choice<Node> {
  const scored = nodes.map((node) => ({ node, score: scoreOf(node) }));
  if (scored.length > 1) scored.sort((a, b) => b.score - a.score || (a.node.nodeId < b.node.nodeId ? -1 : 1));
  const best = scored[0]!; // there is at least one node
  const good = scored.findIndex(({ score }) => score < best.score * asGood);
  const chosen = ofTwo(good === -1 ? scored : scored.slice(0, good), random) ?? best;
  const others = scored.filter((one) => one !== chosen).slice(0, told - 1);
  return {
    chosen: chosen.node,
    considered: nodes.length,
    candidates: [chosen, ...others].map(({ node, score }) => ({
      node_id: node.nodeId,
      score: rounded(score),
      why: whyOf(node),
    })),
  };
}

interface Scored<Node> {
  readonly node: Node;
  readonly score: number;
}

/** Two at random, and of them the one with more room; of equals the better, and then the first that was drawn. */
function ofTwo<Node extends Able>(good: readonly Scored<Node>[], random: () => number): Scored<Node> | undefined {
  const first = Math.floor(random() * good.length);
  const second = (first + 1 + Math.floor(random() * (good.length - 1))) % good.length;
  const [a, b] = [good[first], good[second]];
  if (!a || !b) return a ?? b;
  return (room(b.node) - room(a.node) || b.score - a.score) > 0 ? b : a;
}

function scoreOf(node: Able): number {
  const sum = room(node) * roomWeight + health(node) * healthWeight + readiness(node) * modelWeight;
  return node.suspect ? sum * suspectFactor : sum;
}

/** What the score is made of, as the event tells it: points, and what they come from. */
function whyOf(node: Able): Candidate['why'] {
  const { load, capacity, suspect, model } = node;
  return {
    load,
    capacity,
    room: rounded(room(node) * roomWeight),
    health: rounded(health(node) * healthWeight),
    model: rounded(readiness(node) * modelWeight),
    ...(model && { model_ready: model.ready }),
    ...(model?.queueDepth !== undefined && { model_queue: model.queueDepth }),
    ...(suspect && { suspect }),
  };
}

function room({ load, capacity }: Able): number {
  return Math.max(0, capacity - load) / capacity;
}

/** What is not known counts as half. */
function health({ cpuPercent, memoryPercent }: Able): number {
  if (cpuPercent === undefined && memoryPercent === undefined) return 0.5;
  return 1 - Math.max(cpuPercent ?? 0, memoryPercent ?? 0) / 100;
}

/** A task that asks for no model finds every node ready. */
function readiness({ model }: Able): number {
  if (!model) return 1;
  if (!model.ready) return 0;
  return 1 - Math.min(model.queueDepth ?? 0, longQueue) / longQueue;
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}
