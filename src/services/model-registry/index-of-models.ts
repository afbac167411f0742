/** Who has which model: an index by model id of the nodes that are online, kept by what changes, so that no question walks all nodes. */

import type { Reading } from '../../events/heartbeat.ts';
import type { ModelClaim } from '../../events/model.ts';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { HealthAggregator } from '../health-aggregator.ts';
import type { OfferedModel } from '../model-registry.ts';

type ModelReading = NonNullable<Reading['models']>[number];

/** Heartbeats tell of no change by themselves; those that are new are looked at this often. */
const readEveryMs = 1_000;

const inMemory = new Set(['loaded', 'ready', 'running', 'idle', 'busy']);
const notInMemory = new Set(['unloaded', 'loading', 'unloading', 'available', 'stopped', 'error', 'failed', 'offline']);

export class ModelIndex {
  readonly #live: Hub['live'];
  readonly #health: HealthAggregator;
  /** What each node has, by model id. A node that is away has nothing. */
  readonly #claims = new Map<string, ReadonlyMap<string, ModelClaim>>();
  readonly #nodesOf = new Map<string, Set<string>>();
  /** The names in the heartbeat that each node's claims were made with. */
  readonly #read = new Map<string, Reading | undefined>();
  /** Models of a heartbeat by id, made when first asked for. */
  readonly #readings = new WeakMap<Reading, ReadonlyMap<string, ModelReading>>();
  readonly #cancels: Cancel[];

  constructor({ live, kernel }: Pick<Hub, 'live' | 'kernel'>, health: HealthAggregator) {
    this.#live = live;
    this.#health = health;
    for (const { node_id } of live.nodes.values()) this.#look(node_id);
    this.#cancels = [
      live.nodes.onChange((nodeId) => this.#look(nodeId)),
      live.models.onChange((nodeId) => this.#look(nodeId)),
      kernel.every(readEveryMs, () => this.#lookAtHeartbeats()),
    ];
  }

  offers(modelId?: string): OfferedModel[] {
    if (modelId === undefined) return [...this.#nodesOf.keys()].sort().flatMap((each) => this.offers(each));
    const nodes = [...(this.#nodesOf.get(modelId) ?? [])].sort();
    return nodes.map((nodeId) => this.offerOf(nodeId, modelId)!); // whoever is in the index has it
  }

  offerOf(nodeId: string, modelId: string): OfferedModel | undefined {
    const claim = this.#claims.get(nodeId)?.get(modelId);
    if (!claim) return undefined;
    const reading = this.#health.reading(nodeId);
    const said = reading && this.#modelsIn(reading).get(modelId);
    return { ...claim, node_id: nodeId, ready: isReady(claim, said), queue_depth: said?.queue_depth };
  }

  close(): void {
    for (const cancel of this.#cancels) cancel();
  }

  /** Brings the index up to date with what is known of one node. */
  #look(nodeId: string): void {
    const claims = this.#claimsOf(nodeId);
    for (const modelId of this.#claims.get(nodeId)?.keys() ?? []) if (!claims.has(modelId)) this.#drop(nodeId, modelId);
    for (const modelId of claims.keys()) {
      const nodes = this.#nodesOf.get(modelId) ?? new Set();
      this.#nodesOf.set(modelId, nodes.add(nodeId));
    }
    if (claims.size > 0) this.#claims.set(nodeId, claims);
    else this.#claims.delete(nodeId);
  }

  #drop(nodeId: string, modelId: string): void {
    const nodes = this.#nodesOf.get(modelId);
    nodes?.delete(nodeId);
    if (nodes?.size === 0) this.#nodesOf.delete(modelId);
  }

  /** A declaration says more than a name, so it comes last. */
  #claimsOf(nodeId: string): ReadonlyMap<string, ModelClaim> {
    const claims = new Map<string, ModelClaim>();
    const node = this.#live.nodes.get(nodeId);
    if (node?.status !== 'online') {
      this.#read.delete(nodeId);
      return claims;
    }
    const reading = this.#health.reading(nodeId);
    this.#read.set(nodeId, reading);
    for (const model_id of node.models) claims.set(model_id, { model_id });
    for (const { model_id } of reading?.models ?? []) claims.set(model_id, { model_id });
    for (const claim of this.#live.models.get(nodeId)?.models ?? []) claims.set(claim.model_id, claim);
    return claims;
  }

  #lookAtHeartbeats(): void {
    for (const [nodeId, read] of this.#read) {
      const reading = this.#health.reading(nodeId);
      if (reading === read) continue;
      if (sameNames(read?.models, reading?.models)) this.#read.set(nodeId, reading);
      else this.#look(nodeId);
    }
  }

  #modelsIn(reading: Reading): ReadonlyMap<string, ModelReading> {
    const known = this.#readings.get(reading);
    if (known) return known;
    const made = new Map(reading.models?.map((model) => [model.model_id, model]));
    this.#readings.set(reading, made);
    return made;
  }
}

/** A word of the heartbeat that is not known here says nothing. */
function isReady(claim: ModelClaim, said: ModelReading | undefined): boolean {
  const status = said?.status?.toLowerCase() ?? '';
  if (inMemory.has(status)) return true;
  return notInMemory.has(status) ? false : (claim.loaded ?? false);
}

function sameNames(before: readonly ModelReading[] = [], after: readonly ModelReading[] = []): boolean {
  return before.length === after.length && before.every(({ model_id }, at) => model_id === after[at]?.model_id);
}
