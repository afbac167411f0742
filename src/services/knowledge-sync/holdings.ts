/** Who holds copies of what: written when they move, and asked for by those whose it is. */

import type { About } from '../../commands/execute.ts';
import { holdingsStream, moved } from '../../commands/holdings.ts';
import { actorOf, type Identity } from '../../doors.ts';
import { type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { isoTime } from '../../kernel.ts';
import { subjectOf } from '../../knowledge.ts';
import {
  findHoldings,
  findWithdrawals,
  type HoldingRow,
  holdingOf,
  type WithdrawalFilter,
} from '../../projections/holdings.ts';
import { findMemory } from '../../projections/memories.ts';
import type { Answer } from '../../projections/views.ts';
import { may } from '../../rights.ts';
import { type Grant, ownRule } from '../../sovereignty.ts';
import { matterOf } from './find.ts';
import type { Members } from './standing.ts';

/** A copy that goes to a holder, and what lets it. */
export interface Move {
  readonly memoryId: string;
  readonly version: string;
  readonly grant: Grant;
}

export class Holdings {
  readonly #hub: Pick<Hub, 'executor' | 'views' | 'kernel'>;
  readonly #members: Members;

  constructor(hub: Pick<Hub, 'executor' | 'views' | 'kernel'>, members: Members) {
    this.#hub = hub;
    this.#members = members;
  }

  /**
   * Writes down that copies go to a holder; those of the holder's own are not told of. Write first, send then: who holds what is known even
   * when the answer is lost. Answers the position; undefined when there was nothing to write. Throws a `Fault`.
   */
  async recordMoves(
    holder: string,
    moves: readonly Move[],
    about: About,
    syncId?: string,
  ): Promise<number | undefined> {
    const items = moves
      .filter(({ grant }) => grant.rule !== ownRule)
      .map(({ memoryId: memory_id, version, grant: { subject, rule, policyVersion, passOn, until } }) => ({
        memory_id,
        version,
        subject,
        rule,
        policy_version: policyVersion,
        pass_on: passOn,
        ...(until !== undefined && { until: isoTime(until) }),
      }));
    if (items.length === 0) return undefined;
    return this.#hub.executor.note(holdingsStream(holder), moved(holder, items, syncId), about);
  }

  /** Who holds copies of a memory, under which rule, in order of holder; for whose it is, and who governs. Refuses `not_found`, `forbidden`. */
  async holdersOf(
    memoryId: string,
    by: Identity,
    page: { minPosition: number | undefined; after: string; limit: number },
  ): Promise<Answer<HoldingRow[] | Refusal>> {
    const { after, limit } = page;
    return this.#hub.views.read(page.minPosition, async (db) => {
      const row = await findMemory(db, memoryId);
      const judge = this.#members.judge(subjectOf(actorOf(by)), 'show');
      const own = row?.heads.some((head) => judge?.owns(head));
      if (!row || !(own || may(by, 'govern'))) {
        const seen = row && judge?.judge(matterOf(row), this.#hub.kernel.now());
        return seen
          ? refuse('forbidden', 'who holds a memory is told to its owner, and who governs')
          : refuse('not_found', `there is no memory ${memoryId}`);
      }
      const from = after === '' ? '' : holdingOf(after, memoryId);
      const states = ['held', 'asked', 'declined', 'unreachable'] as const;
      return findHoldings(db, { memoryIds: [memoryId], states }, from, limit);
    });
  }

  /** What was asked back, the last first, and what became of it: of one's own, or that one holds; for who governs, all. Refuses `forbidden`. */
  async withdrawals(
    { subject, holder }: Pick<WithdrawalFilter, 'subject' | 'holder'>,
    by: Identity,
    page: { minPosition: number | undefined; before: { position: number; holding: string }; limit: number },
  ): Promise<Answer<HoldingRow[]> | Refusal> {
    const self = subjectOf(actorOf(by));
    const governs = may(by, 'govern');
    const own = holder === undefined ? (subject ?? self) === self : holder === self;
    if (!own && !governs) return refuse('forbidden', 'what was asked back is told to whose it is, and to who holds it');
    const all = governs && holder === undefined && subject === undefined;
    const filter = {
      ...(all || holder !== undefined ? { subject, holder } : { subject: subject ?? self }),
      ...(!governs && { movedAfter: this.#members.party(self)?.since ?? Number.MAX_SAFE_INTEGER }),
    };
    return this.#hub.views.read(page.minPosition, (db) => findWithdrawals(db, filter, page.before, page.limit));
  }
}
