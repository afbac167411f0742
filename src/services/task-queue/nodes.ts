/** The nodes of the federation as the task queue sees them: what they can do, how much they have, whether they may be pushed to now. */
import type { Identity } from '../../doors.ts';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { NodeRow } from '../../projections/nodes.ts';
import type { HealthAggregator } from '../health-aggregator.ts';
import type { ModelRegistry } from '../model-registry.ts';
import { type Change, isHeld } from './changes.ts';
import type { Able } from './choice.ts';
import { type Skills, signatureOf } from './requirements.ts';
import type { Group, Seeker, WaitingRoom } from './waiting-room.ts';

/** A node that did not answer is not pushed to for so long. */
const silentMs = 30_000;
/** One that declined a task is given nothing of that kind for so long. */
const declinedMs = 5_000;

export class TaskNode implements Seeker {
  readonly nodeId: string;
  readonly groups = new Set<Group>();
  /** Ids of the tasks that it has, or is being given. */
  readonly held = new Set<string>();
  skills: Skills;
  /** Tasks at once. */
  capacity = 0;
  /** It may be pushed to: it takes tasks that way, is there, and has a socket. */
  open = false;
  suspect = false;
  /** It asked for tasks, whatever its profile says. */
  claims = false;
  identity: Identity;
  /** In the waiting room. */
  entered = false;
  /** Until when it is given nothing ('') or nothing of a signature, monotonic milliseconds. */
  readonly #resting = new Map<string, number>();

  constructor(nodeId: string) {
    this.nodeId = nodeId;
    this.skills = { nodeId, types: new Set(), capabilities: new Set(), labels: {}, models: new Map() };
    this.identity = { kind: 'node', nodeId, sessionId: '', role: 'observer' };
  }

  get load(): number {
    return this.held.size;
  }

  rest(signature: string, until: number): void {
    if (this.#resting.size < 64) this.#resting.set(signature, until);
  }

  wake(): void {
    this.#resting.clear();
  }

  rests(signature: string, now: number): boolean {
    if (this.#resting.size === 0) return false;
    for (const [key, until] of this.#resting) if (until <= now) this.#resting.delete(key);
    return this.#resting.has('') || this.#resting.has(signature);
  }
}

export class TaskNodes {
  readonly #hub: Hub;
  readonly #room: WaitingRoom;
  readonly #health: HealthAggregator;
  readonly #models: ModelRegistry;
  readonly #nodes = new Map<string, TaskNode>();
  readonly #stops: Cancel[];
  readonly #listeners: ((node: TaskNode) => void)[] = [];

  constructor(hub: Hub, room: WaitingRoom, health: HealthAggregator, models: ModelRegistry) {
    this.#hub = hub;
    this.#room = room;
    this.#health = health;
    this.#models = models;
    const { nodes, models: declared, sessions } = hub.live;
    for (const { node_id } of nodes.values()) this.#look(node_id);
    this.#stops = [
      nodes.onChange((nodeId) => this.#look(nodeId)),
      declared.onChange((nodeId) => this.#look(nodeId)),
      sessions.onChange((_id, row) => {
        if (row?.transport === 'socket') this.#lookAtSocket(row.node_id);
      }),
    ];
  }

  get(nodeId: string): TaskNode | undefined {
    return this.#nodes.get(nodeId);
  }

  values(): IterableIterator<TaskNode> {
    return this.#nodes.values();
  }

  /** Called when a node is there, or can do other things than before. */
  onChange(listener: (node: TaskNode) => void): void {
    this.#listeners.push(listener);
  }

  /** Who has what. */
  take({ taskId, before, after, event }: Change): void {
    const had = isHeld(before) ? before.node_id : undefined;
    const has = isHeld(after) ? after.node_id : undefined;
    if (had !== has && had !== undefined) this.release(had, taskId);
    if (has !== undefined) this.#known(has).held.add(taskId);
    if (event?.type === 'task.started') this.#nodes.get(event.data.node_id)?.wake();
    if (event?.type === 'task.attempt-failed') this.#letRest(event.data, before);
  }

  /** A node is being given a task. */
  reserve(node: TaskNode, taskId: string): void {
    node.held.add(taskId);
  }

  /** A node has a task no more, or was not given it after all. */
  release(nodeId: string, taskId: string): void {
    const node = this.#nodes.get(nodeId);
    node?.held.delete(taskId);
    if (node && node.held.size === 0 && !this.#hub.live.nodes.get(nodeId)) this.#nodes.delete(nodeId);
  }

  /** Whether it may be given a task of this kind now, by push. */
  mayTake(node: TaskNode, signature: string, now: number): boolean {
    return (
      node.open &&
      node.held.size < node.capacity &&
      !node.rests(signature, now) &&
      this.#hub.doors.judge(node.identity) === undefined
    );
  }

  /** What the choice needs to know of a node. */
  ableOf(node: TaskNode, model: string | undefined): Able & { readonly node: TaskNode } {
    const { nodeId, load, capacity, suspect } = node;
    const { cpu_percent: cpuPercent, memory_percent: memoryPercent } = this.#health.reading(nodeId)?.resources ?? {};
    const offer = model === undefined ? undefined : this.#models.offerOf(nodeId, model);
    const state = model === undefined ? undefined : { ready: offer?.ready ?? false, queueDepth: offer?.queue_depth };
    return { node, nodeId, load, capacity, suspect, cpuPercent, memoryPercent, model: state };
  }

  /** The node asks for tasks: it is taken for one that does them, even if its profile does not say so. */
  claiming(nodeId: string): TaskNode | undefined {
    const node = this.#nodes.get(nodeId);
    if (!node || node.claims) return node;
    node.claims = true;
    this.#look(nodeId);
    return node;
  }

  /** Heartbeats name models too, and are not followed one by one: those that name others than before are found here. */
  lookAtHeartbeats(): void {
    for (const { nodeId, skills, entered } of this.#nodes.values()) {
      const named = entered ? this.#health.reading(nodeId)?.models : undefined;
      if (named?.some(({ model_id }) => !skills.models.has(model_id))) this.#look(nodeId);
    }
  }

  close(): void {
    for (const stop of this.#stops) stop();
    this.#listeners.length = 0;
  }

  #known(nodeId: string): TaskNode {
    const known = this.#nodes.get(nodeId);
    if (known) return known;
    const node = new TaskNode(nodeId);
    this.#nodes.set(nodeId, node);
    return node;
  }

  #look(nodeId: string): void {
    const row = this.#hub.live.nodes.get(nodeId);
    const node = row ? this.#known(nodeId) : this.#nodes.get(nodeId);
    if (!node) return;
    if (node.entered) this.#room.exit(node);
    node.entered = false;
    node.open = false;
    if (!row) {
      if (node.held.size === 0) this.#nodes.delete(nodeId);
      return;
    }
    const { work } = row.profile;
    node.suspect = row.status === 'suspect';
    node.capacity = work?.capacity ?? 0;
    node.identity = { kind: 'node', nodeId, sessionId: '', role: row.role };
    node.skills = this.#skillsOf(row);
    if (row.status === 'offline' || row.role === 'observer' || !(work || node.claims)) return;
    node.entered = true;
    this.#room.enter(node);
    this.#lookAtSocket(nodeId, true);
  }

  #lookAtSocket(nodeId: string, changed = false): void {
    const { sessions, nodes } = this.#hub.live;
    const node = this.#nodes.get(nodeId);
    if (!node) return;
    const work = nodes.get(nodeId)?.profile.work;
    const pushed = work !== undefined && work.mode !== 'claim';
    const open = node.entered && pushed && sessions.get(`${nodeId}/socket`)?.status === 'open';
    const opened = open && !node.open;
    node.open = open;
    if (changed || opened) for (const listener of this.#listeners) listener(node);
  }

  #skillsOf({ node_id: nodeId, profile }: NodeRow): Skills {
    const { work, labels = {}, capabilities = [], models = [] } = profile;
    const contexts = new Map<string, number>();
    for (const model of models) contexts.set(model, 0);
    for (const { model_id } of this.#health.reading(nodeId)?.models ?? []) contexts.set(model_id, 0);
    for (const { model_id, context_length = 0 } of this.#hub.live.models.get(nodeId)?.models ?? []) {
      contexts.set(model_id, context_length);
    }
    const types = work?.types && new Set(work.types);
    return { nodeId, types, capabilities: new Set(capabilities), labels, models: contexts };
  }

  /** A node that did not answer, or did not want what it was given, is left alone for a while. */
  #letRest({ node_id, cause }: { node_id: string; cause: string }, before: Change['before']): void {
    const node = this.#nodes.get(node_id);
    const now = this.#hub.kernel.monotonicMs();
    if (cause === 'not_acknowledged') node?.rest('', now + silentMs);
    else if (cause === 'declined' && before) node?.rest(signatureOf(before), now + declinedMs);
  }
}
