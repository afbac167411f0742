/**
 * Takes tasks back from nodes that do not answer, and ends those whose deadline passed; on the replica that has the duty.
 *
 * Each held task has one moment at which it is looked at: when its acknowledgement is overdue, or its lease would run out. A
 * look that finds the node alive sets the next moment a whole term ahead, so each second only what is overdue is looked at.
 */
import { ackMs, expire, type Lapse, lapse, task, taskStream } from '../../commands/task.ts';
import { Heap, type Placed } from '../../heap.ts';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { OpenTaskRow } from '../../projections/open-tasks.ts';
import type { HealthAggregator } from '../health-aggregator.ts';
import type { NodeRegistry } from '../node-registry.ts';
import { type Change, type Changes, isHeld, isPending } from './changes.ts';
import type { TaskNode, TaskNodes } from './nodes.ts';

const shortestTermMs = 10_000;
const termHeartbeats = 3;
/** A node without a socket may come back for so long. */
const socketlessMs = 10_000;
/** What the log did not take is tried again after so long. */
const againMs = 1_000;
/** So far the clocks of replicas may be apart. */
const clocksApartMs = 10_000;
/** Overdue moments of one look at most; the rest is looked at in the next second. */
const mostAtOnce = 2_000;
const together = 200;

interface Moment extends Placed {
  readonly taskId: string;
  /** When its node was given it, or said last how far it is, monotonic milliseconds. */
  since: number;
  /** The newest heartbeats of its node did not list it since then. */
  unlistedSince?: number | undefined;
  /** Its node opened a session over HTTP after it said last how far it is: it may have forgotten it. */
  reopenedAt?: number | undefined;
}

export class Leases {
  readonly #hub: Hub;
  readonly #changes: Changes;
  readonly #nodes: TaskNodes;
  readonly #health: HealthAggregator;
  readonly #registry: NodeRegistry;
  readonly #termMs: number;
  /** By monotonic time. */
  readonly #held = new Heap<Moment>();
  readonly #moments = new Map<string, Moment>();
  /** By wall clock. */
  readonly #deadlines = new Heap<Placed & { readonly taskId: string }>();
  readonly #deadlineOf = new Map<string, Placed & { readonly taskId: string }>();
  /** Nodes that hold tasks and have no socket, since when. */
  readonly #socketless = new Map<string, number>();
  readonly #stops: Cancel[];
  #turn = 0;
  #onDuty = false;

  constructor(hub: Hub, changes: Changes, nodes: TaskNodes, health: HealthAggregator, registry: NodeRegistry) {
    this.#hub = hub;
    this.#changes = changes;
    this.#nodes = nodes;
    this.#health = health;
    this.#registry = registry;
    this.#termMs = Math.max(shortestTermMs, termHeartbeats * hub.config.heartbeatMs);
    const { nodes: directory, bans, sessions } = hub.live;
    this.#stops = [
      directory.onChange((nodeId, row) => (!row || row.status === 'offline') && this.#gone(nodeId)),
      bans.onChange((nodeId, ban) => ban && this.#gone(nodeId)),
      sessions.onChange((_id, row, { type }) => {
        if (row?.transport === 'http' && type === 'session.opened') this.#reopened(row.node_id);
      }),
    ];
  }

  /** Takes the duty: every lease gets a whole term, as what was said to the replica before is not known here. */
  begin(): void {
    this.end();
    this.#onDuty = true;
    for (const row of this.#changes.values()) {
      this.#follow(row);
      const moment = this.#moments.get(row.task_id);
      if (moment && this.#isOlderThanSession(row)) moment.reopenedAt = moment.since;
    }
  }

  /** Gives the duty up. */
  end(): void {
    this.#onDuty = false;
    for (const moment of this.#moments.values()) this.#held.remove(moment);
    for (const deadline of this.#deadlineOf.values()) this.#deadlines.remove(deadline);
    this.#moments.clear();
    this.#deadlineOf.clear();
    this.#socketless.clear();
  }

  take({ taskId, after, event }: Change): void {
    if (!this.#onDuty) return;
    if (after) this.#follow(after, event?.type === 'task.progressed');
    else this.#forget(taskId);
  }

  /** Looks at what is overdue. */
  async look(): Promise<void> {
    const { kernel } = this.#hub;
    const lapses: (() => Promise<unknown>)[] = [];
    const now = kernel.monotonicMs();
    for (let looked = 0; looked < mostAtOnce; looked++) {
      const first = this.#held.first();
      if (!first || first.rank > now) break;
      const cause = this.#overdue(first, now);
      if (cause) lapses.push(() => this.#lapse(first.taskId, cause));
    }
    for (let looked = 0; looked < mostAtOnce; looked++) {
      const first = this.#deadlines.first();
      if (!first || first.rank > kernel.now()) break;
      this.#rank(this.#deadlines, first, first.rank + againMs);
      lapses.push(() => this.#expire(first.taskId));
    }
    for (const node of this.#nodes.values()) if (node.load > 0) this.#lookAt(node, now);
    for (let at = 0; at < lapses.length; at += together) {
      await Promise.all(lapses.slice(at, at + together).map((run) => run()));
    }
  }

  close(): void {
    for (const stop of this.#stops) stop();
    this.end();
  }

  #follow(row: OpenTaskRow, progressed = false): void {
    const { task_id: taskId, deadline, status } = row;
    const now = this.#hub.kernel.monotonicMs();
    const known = this.#moments.get(taskId);
    if (isHeld(row)) {
      const rank = now + (status === 'assigned' ? ackMs : this.#termMs);
      if (known) {
        Object.assign(known, { since: now, reopenedAt: undefined });
        if (!progressed) this.#rank(this.#held, Object.assign(known, { unlistedSince: undefined }), rank);
      } else {
        const moment = { taskId, since: now, rank, turn: this.#turn++, place: 0 };
        this.#moments.set(taskId, moment);
        this.#held.push(moment);
      }
    } else if (known) this.#drop(known);
    if (!isHeld(row) && !isPending(row)) this.#forget(taskId);
    else if (deadline !== null) this.#expect(taskId, deadline);
  }

  #expect(taskId: string, deadline: string): void {
    if (this.#deadlineOf.has(taskId)) return;
    const end = { taskId, rank: Date.parse(deadline), turn: this.#turn++, place: 0 };
    this.#deadlineOf.set(taskId, end);
    this.#deadlines.push(end);
  }

  #forget(taskId: string): void {
    const moment = this.#moments.get(taskId);
    if (moment) this.#drop(moment);
    const deadline = this.#deadlineOf.get(taskId);
    if (!deadline) return;
    this.#deadlines.remove(deadline);
    this.#deadlineOf.delete(taskId);
  }

  #drop(moment: Moment): void {
    this.#held.remove(moment);
    this.#moments.delete(moment.taskId);
  }

  #rank<Member extends Placed>(heap: Heap<Member>, member: Member, rank: number): void {
    heap.remove(member);
    member.rank = rank;
    heap.push(member);
  }

  /** Why a lease has run out; undefined when it has not, and then its next moment is set. */
  #overdue(moment: Moment, now: number): Lapse['cause'] | undefined {
    const row = this.#changes.get(moment.taskId);
    const next = isHeld(row) ? this.#nextOf(row, moment, now) : now;
    if (next > now) {
      this.#rank(this.#held, moment, next);
      return undefined;
    }
    this.#rank(this.#held, moment, now + againMs); // the lapse takes it out of here, if it comes about
    return row?.status === 'assigned' ? 'not_acknowledged' : 'lease_expired';
  }

  /** Until when a node may keep a task that it began; now or earlier: no longer. */
  #nextOf(row: OpenTaskRow & { node_id: string }, moment: Moment, now: number): number {
    if (row.status === 'assigned') return 0;
    const listed = this.#health.reading(row.node_id)?.running_tasks;
    if (listed && !listed.includes(row.task_id)) {
      moment.unlistedSince ??= now; // it may have ended just now, and say so in a moment
      return Math.max(moment.unlistedSince + shortestTermMs, moment.since + this.#termMs);
    }
    moment.unlistedSince = undefined;
    // What was pushed to it is told again when it comes back; of what it claimed nobody reminds it.
    if (!listed && row.how === 'claim' && moment.reopenedAt !== undefined) return moment.reopenedAt + this.#termMs;
    const silentMs = this.#registry.suspicion(row.node_id)?.silent_ms ?? Number.POSITIVE_INFINITY;
    return Math.max(moment.since, now - silentMs) + this.#termMs;
  }

  /** A node proved its key again, as one does that was started anew. */
  #reopened(nodeId: string): void {
    const now = this.#hub.kernel.monotonicMs();
    for (const taskId of this.#nodes.get(nodeId)?.held ?? []) {
      const moment = this.#moments.get(taskId);
      if (moment) moment.reopenedAt ??= now;
    }
  }

  /** Whether a node opened its session after it said last how far it is with a task, by the clocks of those who wrote it. */
  #isOlderThanSession({ node_id, assigned_at, progressed_at }: OpenTaskRow): boolean {
    const session = this.#hub.live.sessions.get(`${node_id}/http`);
    const heard = Date.parse(progressed_at ?? assigned_at ?? '');
    return session !== undefined && Date.parse(session.opened_at) - clocksApartMs > heard;
  }

  /** Whether a node that holds tasks may keep them at all. */
  #lookAt(node: TaskNode, now: number): void {
    const { nodeId } = node;
    const row = this.#hub.live.nodes.get(nodeId);
    const refused = this.#hub.doors.judge(node.identity);
    const barred = refused !== undefined && refused.refused !== 'guard_unavailable'; // who cannot be judged keeps what it has
    if (!row || row.status === 'offline' || barred) {
      this.#gone(nodeId);
      return;
    }
    if (this.#hub.live.sessions.get(`${nodeId}/socket`)?.status === 'open') {
      this.#socketless.delete(nodeId);
      return;
    }
    const since = this.#socketless.get(nodeId) ?? now;
    this.#socketless.set(nodeId, since);
    if (now - since >= socketlessMs) this.#gone(nodeId, (held) => held.how === 'push');
  }

  /** A node is gone: all that it held goes to others. */
  #gone(nodeId: string, which: (row: OpenTaskRow) => boolean = () => true): void {
    if (!this.#onDuty) return;
    this.#socketless.delete(nodeId);
    for (const taskId of this.#nodes.get(nodeId)?.held ?? []) {
      const row = this.#changes.get(taskId);
      if (isHeld(row) && row.node_id === nodeId && which(row)) void this.#lapse(taskId, 'node_gone');
    }
  }

  async #lapse(taskId: string, cause: Lapse['cause']): Promise<void> {
    const row = this.#changes.get(taskId);
    if (!this.#onDuty || !isHeld(row)) return;
    const command = { taskId, nodeId: row.node_id, lease: row.lease, cause };
    await this.#run(taskId, () =>
      this.#hub.executor.execute(taskStream(taskId), task, lapse, command, { actor: 'hub' }),
    );
  }

  async #expire(taskId: string): Promise<void> {
    await this.#run(taskId, () =>
      this.#hub.executor.execute(taskStream(taskId), task, expire, { taskId }, { actor: 'hub' }),
    );
  }

  /** What fails stays overdue. */
  async #run(taskId: string, step: () => Promise<unknown>): Promise<void> {
    try {
      await step();
    } catch (error) {
      this.#hub.kernel.log.warn({ err: error, taskId }, 'a task could not be taken back; it is tried again');
    }
  }
}
