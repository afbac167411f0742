/** Judges copies at their holders by what is allowed now, and asks those back that are not. */
import { asked, holdingsStream, type WithdrawalCause, withdrawn } from '../../commands/holdings.ts';
import type { DomainEvent } from '../../events/catalog.ts';
import type { Hub } from '../../hub.ts';
import type { HoldingRow } from '../../projections/holdings.ts';
import type { MemoryHead } from '../../projections/memories.ts';
import { findHeads } from '../../projections/memory-queries.ts';
import { Keys } from './offered.ts';
import type { Members } from './standing.ts';

interface Verdict {
  readonly row: HoldingRow;
  readonly cause: WithdrawalCause;
}

export class Copies {
  readonly #hub: Pick<Hub, 'executor' | 'views' | 'kernel' | 'keyring'>;
  readonly #members: Members;

  constructor(hub: Pick<Hub, 'executor' | 'views' | 'kernel' | 'keyring'>, members: Members) {
    this.#hub = hub;
    this.#members = members;
  }

  /** Judges copies that are held, or were asked back. Answers the position of what was written; 0 when nothing was. Throws a `Fault`. */
  async judge(page: readonly HoldingRow[]): Promise<number> {
    if (page.length === 0) return 0;
    const found = await findHeads(this.#hub.views.db, [...new Set(page.map(({ memory_id }) => memory_id))]);
    const keys = new Keys(this.#hub);
    for (const { owner, heads } of found.values()) for (const { key_id } of heads) await keys.find(owner, key_id);
    const verdicts: Verdict[] = [];
    for (const row of page) {
      const cause = row.state === 'held' ? this.#whyGone(row, found.get(row.memory_id)?.heads ?? [], keys) : undefined;
      if (cause) verdicts.push({ row, cause });
    }
    return this.#tell(
      verdicts,
      page.filter(({ state }) => state === 'asked'),
    );
  }

  /** Asks for copies back that were to be kept no longer. Answers and throws as `judge`. */
  end(page: readonly HoldingRow[]): Promise<number> {
    const verdicts = page.map((row) => ({ row, cause: 'kept_long_enough' as const }));
    return this.#tell(verdicts, []);
  }

  /** Why a copy is to go; undefined: it may stay. */
  #whyGone(row: HoldingRow, heads: readonly MemoryHead[], keys: Keys): WithdrawalCause | undefined {
    const there = heads.filter(({ deleted }) => !deleted);
    if (there.length === 0) return 'deleted';
    if (there.every(({ key_id }) => keys.isDestroyed(key_id))) return 'erased';
    const now = this.#hub.kernel.now();
    if (row.until !== null && Date.parse(row.until) <= now) return 'kept_long_enough';
    if (!this.#isMember(row)) return 'policy';
    const judge = this.#members.judge(row.holder, 'move');
    return there.some((head) => judge?.judge(head, now)) ? undefined : 'policy';
  }

  /** Whoever took the name of a node that was removed holds nothing of what that one held. */
  #isMember({ holder, moved_position }: HoldingRow): boolean {
    return moved_position > (this.#members.party(holder)?.since ?? Number.POSITIVE_INFINITY);
  }

  /** Writes what is asked back; and of that, and of what was asked before, what nobody is there any more to let go of. */
  async #tell(verdicts: readonly Verdict[], before: readonly HoldingRow[]): Promise<number> {
    const facts = new Map<string, DomainEvent[]>();
    const add = (holder: string, events: DomainEvent[]) => facts.set(holder, [...(facts.get(holder) ?? []), ...events]);
    for (const group of grouped(verdicts, ({ row, cause }) => `${cause} ${row.holder}`)) {
      const { row, cause } = group[0]!; // it has one at least
      add(row.holder, asked(row.holder, group.map(idOf), cause));
    }
    const lost = [...verdicts.map(({ row }) => row), ...before].filter((row) => !this.#isMember(row));
    for (const rows of grouped(lost, ({ holder }) => holder)) {
      const { holder } = rows[0]!; // as above
      add(
        holder,
        withdrawn(
          holder,
          rows.map(({ memory_id }) => memory_id),
          'unreachable',
          Math.max(...rows.map(({ moved_position }) => moved_position)),
        ),
      );
    }
    const about = { actor: 'hub' };
    const written = [...facts].map(([holder, events]) =>
      this.#hub.executor.note(holdingsStream(holder), events, about),
    );
    return Math.max(0, ...(await Promise.all(written)));
  }
}

function idOf({ row }: Verdict): string {
  return row.memory_id;
}

function grouped<T>(all: readonly T[], keyOf: (one: T) => string): Iterable<T[]> {
  const groups = new Map<string, T[]>();
  for (const one of all) {
    const group = groups.get(keyOf(one));
    if (group) group.push(one);
    else groups.set(keyOf(one), [one]);
  }
  return groups.values();
}
