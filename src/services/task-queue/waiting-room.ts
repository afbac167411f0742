/**
 * The tasks that wait, in groups that any node can do all or none of; on every replica.
 *
 * In a group, the order never changes while they wait: each minute of waiting makes up for one step of priority, so a task's
 * rank is when it was handed in, moved back by a minute a step. A group knows the nodes that can do it, and a node its groups: both
 * change when nodes or groups come and go, found by key, so what no node can do costs the others nothing.
 */

import { Heap, type Placed } from '../../heap.ts';
import type { OpenTaskRow } from '../../projections/open-tasks.ts';
import { canDo, keysOfSkills, keysOfWanted, type Skills, signatureOf, type Wanted } from './requirements.ts';

/** What makes up for one step of priority. */
const ageingMs = 60_000;
/** Groups that are kept with nothing in them, so that a signature that comes often is not matched anew each time. */
const emptyGroups = 256;
/** Groups of one node that are looked at for its next task; with more, they take turns. */
const lookedAt = 512;
/** Where these have nothing for it, so many are. */
const lookedAtMost = 16_384;

export interface Waiting extends Placed {
  readonly row: OpenTaskRow;
  readonly group: Group;
  /** May be given out from here on, milliseconds since 1970. */
  readonly readyAt: number;
  due: boolean;
}

export class Group implements Wanted {
  readonly signature: string;
  readonly type: string;
  readonly requirements: Wanted['requirements'];
  /** The nodes that are online and can do it, whether they have room or not. */
  readonly able = new Set<Seeker>();
  readonly due = new Heap<Waiting>();
  /** Of them, those that wait for their time. */
  later = 0;

  constructor(signature: string, { type, requirements }: Wanted) {
    this.signature = signature;
    this.type = type;
    this.requirements = requirements;
  }

  get size(): number {
    return this.due.size + this.later;
  }
}

/** A node that could be given tasks, by push or claim. */
export interface Seeker {
  readonly nodeId: string;
  readonly skills: Skills;
  /** The groups that it can do; kept by the waiting room. */
  readonly groups: Set<Group>;
}

export class WaitingRoom {
  readonly #now: () => number;
  readonly #waiting = new Map<string, Waiting>();
  readonly #groups = new Map<string, Group>();
  readonly #groupsBy = new Index<Group>();
  readonly #seekersBy = new Index<Seeker>();
  readonly #later = new Heap<Waiting>();
  /** In the order in which they were left. */
  readonly #empty = new Set<Group>();
  #unplaceable = 0;
  readonly #ripeListeners: ((waiting: Waiting) => void)[] = [];

  /** `now`: milliseconds since 1970. */
  constructor(now: () => number) {
    this.#now = now;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** Of those that wait: what no node that is here could do. */
  get unplaceable(): number {
    return this.#unplaceable;
  }

  get(taskId: string): Waiting | undefined {
    return this.#waiting.get(taskId);
  }

  /** Lets a task wait, until `readyAt` (0: no longer than for a node); instead of what waited under its id. */
  put(row: OpenTaskRow, readyAt: number): Waiting {
    this.take(row.task_id);
    const group = this.#groupOf(row);
    const due = readyAt <= this.#now();
    const turn = row.submitted_position;
    const waiting: Waiting = { row, group, readyAt, due, turn, rank: due ? rankOf(row) : readyAt, place: 0 };
    this.#waiting.set(row.task_id, waiting);
    this.#empty.delete(group);
    if (group.able.size === 0) this.#unplaceable++;
    if (due) group.due.push(waiting);
    else {
      group.later++;
      this.#later.push(waiting);
    }
    return waiting;
  }

  /** Takes a task out. */
  take(taskId: string): Waiting | undefined {
    const waiting = this.#waiting.get(taskId);
    if (!waiting) return undefined;
    const { group } = waiting;
    this.#waiting.delete(taskId);
    if (group.able.size === 0) this.#unplaceable--;
    if (waiting.due) group.due.remove(waiting);
    else {
      group.later--;
      this.#later.remove(waiting);
    }
    if (group.size === 0) this.#leave(group);
    return waiting;
  }

  /** Called with each task whose time has come, when somebody looks. */
  onRipe(listener: (waiting: Waiting) => void): void {
    this.#ripeListeners.push(listener);
  }

  /** Those whose time came since somebody last looked are due now. */
  ripen(): void {
    const ripe: Waiting[] = [];
    const now = this.#now();
    for (let first = this.#later.first(); first && first.readyAt <= now; first = this.#later.first()) {
      this.#later.remove(first);
      first.group.later--;
      first.due = true;
      first.rank = rankOf(first.row);
      first.group.due.push(first);
      ripe.push(first);
    }
    for (const waiting of ripe) for (const listener of this.#ripeListeners) listener(waiting);
  }

  /** What waits for its time. */
  *delayed(): Generator<Waiting> {
    for (const waiting of this.#waiting.values()) if (!waiting.due) yield waiting;
  }

  /** The most urgent task that a node could do, of some types if they are named. */
  mostUrgentFor(seeker: Seeker, fits: (group: Group) => boolean = () => true): Waiting | undefined {
    let best: Waiting | undefined;
    let looked = 0;
    for (const group of seeker.groups) {
      const first = group.due.first();
      if (first && fits(group) && (!best || isMoreUrgent(first, best))) best = first;
      if (++looked >= (best ? lookedAt : lookedAtMost)) break;
    }
    if (looked >= lookedAt) this.#turnOver(seeker.groups, looked);
    return best;
  }

  /** A node is there, or has other skills than before: it finds its groups, and they find it. */
  enter(seeker: Seeker): void {
    const keys = keysOfSkills(seeker.skills);
    this.#seekersBy.add(keys, seeker);
    for (const key of keys) {
      for (const group of this.#groupsBy.get(key)) if (canDo(seeker.skills, group)) this.#join(group, seeker);
    }
  }

  /** A node is gone, or is to enter with other skills. */
  exit(seeker: Seeker): void {
    this.#seekersBy.remove(keysOfSkills(seeker.skills), seeker);
    for (const group of seeker.groups) {
      group.able.delete(seeker);
      if (group.able.size === 0) this.#unplaceable += group.size;
    }
    seeker.groups.clear();
  }

  #join(group: Group, seeker: Seeker): void {
    if (group.able.has(seeker)) return;
    if (group.able.size === 0) this.#unplaceable -= group.size;
    group.able.add(seeker);
    seeker.groups.add(group);
  }

  #groupOf(wanted: Wanted): Group {
    const signature = signatureOf(wanted);
    const known = this.#groups.get(signature);
    if (known) return known;
    const group = new Group(signature, wanted);
    const keys = keysOfWanted(group);
    this.#groups.set(signature, group);
    this.#groupsBy.add(keys, group);
    for (const key of keys) {
      for (const seeker of this.#seekersBy.get(key)) if (canDo(seeker.skills, group)) this.#join(group, seeker);
    }
    return group;
  }

  /** A group is empty: of those, the newest are kept. */
  #leave(group: Group): void {
    this.#empty.add(group);
    if (this.#empty.size <= emptyGroups) return;
    const [oldest] = this.#empty;
    if (!oldest) return;
    this.#empty.delete(oldest);
    this.#groups.delete(oldest.signature);
    this.#groupsBy.remove(keysOfWanted(oldest), oldest);
    for (const seeker of oldest.able) seeker.groups.delete(oldest);
  }

  /** Those that were looked at come last the next time. */
  #turnOver(groups: Set<Group>, count: number): void {
    let left = count;
    for (const group of groups) {
      if (left-- === 0) break;
      groups.delete(group);
      groups.add(group); // comes again at the end, which is not reached
    }
  }
}

function rankOf({ submitted_at, priority }: OpenTaskRow): number {
  return Date.parse(submitted_at) - priority * ageingMs;
}

function isMoreUrgent(a: Waiting, b: Waiting): boolean {
  return a.rank === b.rank ? a.turn < b.turn : a.rank < b.rank;
}

/** Sets by key. */
class Index<Member> {
  readonly #sets = new Map<string, Set<Member>>();

  get(key: string): Iterable<Member> {
    return this.#sets.get(key) ?? [];
  }

  add(keys: Iterable<string>, member: Member): void {
    for (const key of keys) {
      const set = this.#sets.get(key);
      if (set) set.add(member);
      else this.#sets.set(key, new Set([member]));
    }
  }

  remove(keys: Iterable<string>, member: Member): void {
    for (const key of keys) {
      const set = this.#sets.get(key);
      set?.delete(member);
      if (set?.size === 0) this.#sets.delete(key);
    }
  }
}
