/** What a policy would change if it counted: which memories would newly go to whom, and which would be asked back. */
import type { Sovereignty } from '../../events/sovereignty.ts';
import type { Hub } from '../../hub.ts';
import { type WalkedMemory, walkMemories } from '../../projections/memory-queries.ts';
import { Judge, type Matter, type Policy, type Standing } from '../../sovereignty.ts';
import { headsOf } from './offered.ts';
import type { Members } from './standing.ts';

/** Memories that are named; the others are counted. */
const mostNamed = 100;
const pageRows = 5_000;
/** Judgements of one trial; when it would take more, it says that it did not look at all. */
const mostJudgements = 4_000_000;
/** Judgements in a row, before others have their turn. */
const turn = 20_000;
/** Kinds of memories that are remembered. */
const mostKinds = 10_000;

/** How many memories newly go to, or are asked back from, a receiver. `read`: seen there, without a copy. */
export interface Effect {
  readonly receiver: string;
  readonly goes: number;
  readonly ceases: number;
  readonly newly_read: number;
  readonly no_longer_read: number;
}

export interface Trial {
  /** Those for whom anything changes. */
  readonly effects: readonly Effect[];
  readonly named: readonly { readonly receiver: string; readonly memory_id: string; readonly change: Change }[];
  /** False: there was more to look at than a trial may. */
  readonly complete: boolean;
}

export type Change = 'goes' | 'ceases';

/** Judged with the policies as they are, and as they would be. */
class Scales {
  readonly #before: Judge;
  readonly #after: Judge;

  constructor(receiver: string, purpose: 'move' | 'show', before: Standing, after: Standing) {
    const party = before.party(receiver)!; // asked for by the names of those who are there
    this.#before = new Judge(party, purpose, before);
    this.#after = new Judge(party, purpose, after);
  }

  weigh(heads: readonly Matter[], now: number): Change | undefined {
    const was = heads.some((head) => this.#before.judge(head, now));
    const will = heads.some((head) => this.#after.judge(head, now));
    return was === will ? undefined : will ? 'goes' : 'ceases';
  }
}

interface Tally {
  readonly receiver: string;
  readonly move: Scales;
  readonly show: Scales;
  readonly counts: { goes: number; ceases: number; newly_read: number; no_longer_read: number };
}

/** What changes for a receiver by one memory. */
interface Shift {
  readonly tally: Tally;
  readonly copied: Change | undefined;
  readonly read: Change | undefined;
}

/** `subject` is there. Throws a `Fault` when the views cannot be read. */
export async function tryPolicy(
  hub: Pick<Hub, 'views' | 'kernel'>,
  members: Members,
  subject: string,
  policy: Sovereignty,
): Promise<Trial> {
  const trying = new Trying(members, subject, policy);
  for (let after = ''; ; ) {
    const page = await walkMemories(hub.views.db, {}, after, pageRows);
    const now = hub.kernel.now();
    for (const row of page) {
      trying.take(row, now);
      if (trying.judged > mostJudgements) return trying.found(false);
      if (trying.isTired()) await hub.kernel.sleep(0);
    }
    if (page.length < pageRows) return trying.found(true);
    after = page.at(-1)!.memory_id; // it is full
  }
}

class Trying {
  readonly #members: Members;
  readonly #subject: string;
  readonly #itself: readonly Tally[];
  readonly #others: readonly Tally[];
  readonly #named: { receiver: string; memory_id: string; change: Change }[] = [];
  /** By all that is judged of a memory: most are like others. */
  readonly #known = new Map<string, readonly Shift[]>();
  judged = 0;
  #rested = 0;

  constructor(members: Members, subject: string, policy: Sovereignty) {
    const candidate: Policy = { ...policy, policy_version: 0 };
    const then: Standing = {
      party: (of) => members.party(of),
      policy: (of) => (of === subject ? candidate : members.policy(of)),
    };
    const tallies = [...members.subjects()].map(
      (receiver): Tally => ({
        receiver,
        move: new Scales(receiver, 'move', members, then),
        show: new Scales(receiver, 'show', members, then),
        counts: { goes: 0, ceases: 0, newly_read: 0, no_longer_read: 0 },
      }),
    );
    this.#members = members;
    this.#subject = subject;
    this.#itself = tallies.filter(({ receiver }) => receiver === subject);
    this.#others = tallies.filter(({ receiver }) => receiver !== subject);
  }

  take(row: WalkedMemory, now: number): void {
    for (const { tally, copied, read } of this.#shiftsOf(row, now)) {
      const { receiver, counts } = tally;
      if (copied) counts[copied]++;
      if (read) counts[read === 'goes' ? 'newly_read' : 'no_longer_read']++;
      if (copied && this.#named.length < mostNamed) {
        this.#named.push({ receiver, memory_id: row.memory_id, change: copied });
      }
    }
  }

  /** Whether it is others' turn. */
  isTired(): boolean {
    if (this.judged - this.#rested < turn) return false;
    this.#rested = this.judged;
    return true;
  }

  found(complete: boolean): Trial {
    const effects = [...this.#itself, ...this.#others].map(({ receiver, counts }) => ({ receiver, ...counts }));
    const changed = effects.filter(({ receiver: _, ...counts }) => Object.values(counts).some((count) => count > 0));
    return { effects: changed, named: this.#named, complete };
  }

  #shiftsOf(row: WalkedMemory, now: number): readonly Shift[] {
    const { subject, category, deleted, tags_text, origin_text, heads_text } = row;
    const orphaned = row.subject_position <= (this.#members.party(subject)?.since ?? Number.POSITIVE_INFINITY);
    const alike = JSON.stringify([subject, orphaned, category, deleted, tags_text, origin_text, heads_text]);
    const known = this.#known.get(alike);
    if (known) return known;
    const heads = headsOf(row).filter((head) => !head.deleted);
    // What it shares changes for others what is its own; what it takes, for itself what is theirs.
    const touched = heads.some((head) => head.subject === this.#subject) ? this.#others : this.#itself;
    const shifts: Shift[] = [];
    for (const tally of heads.length > 0 ? touched : []) {
      this.judged += 4;
      const [copied, read] = [tally.move.weigh(heads, now), tally.show.weigh(heads, now)];
      if (copied || read) shifts.push({ tally, copied, read });
    }
    if (this.#known.size < mostKinds) this.#known.set(alike, shifts);
    return shifts;
  }
}
