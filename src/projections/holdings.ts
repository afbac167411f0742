/** Who holds a copy of what, under which rule, and what became of copies that were to go? */
import type { Kysely } from 'kysely';
import type { EventData } from '../events/catalog.ts';
import type { ViewTables } from './catalog.ts';
import { projection } from './define.ts';

export interface HoldingRow {
  /** Holder and memory, with a slash between them: neither can hold one. */
  holding: string;
  holder: string;
  memory_id: string;
  version: string;
  /** Whose policy let it go there: a node or `@federation`. */
  subject: string;
  rule: string;
  policy_version: number;
  /** 1 when it may be handed on, else 0. */
  pass_on: number;
  until: string | null;
  /**
   * `asked`: the holder is to let go of it, and has not said that it did. `honoured`: it did. `declined`: it would not. `unreachable`: it is
   * no member any more.
   */
  state: 'held' | 'asked' | 'honoured' | 'declined' | 'unreachable';
  /** Why it is to go. */
  cause: EventData<'knowledge.withdrawal-asked'>['cause'] | null;
  moved_at: string;
  moved_position: number;
  asked_at: string | null;
  /** 0: it was not asked for. */
  asked_position: number;
  answered_at: string | null;
}

export const holdings = projection<HoldingRow>({
  table: {
    name: 'federation_holdings',
    key: 'holding',
    columns: {
      holding: 'text',
      holder: 'text',
      memory_id: 'text',
      version: 'text',
      subject: 'text',
      rule: 'text',
      policy_version: 'integer',
      pass_on: 'integer',
      until: { type: 'text', nullable: true },
      state: 'text',
      cause: { type: 'text', nullable: true },
      moved_at: 'text',
      moved_position: 'integer',
      asked_at: { type: 'text', nullable: true },
      asked_position: 'integer',
      answered_at: { type: 'text', nullable: true },
    },
    indexes: [
      ['memory_id'],
      ['holder', 'state', 'holding'],
      ['subject', 'state', 'holding'],
      ['state', 'until'],
      ['subject', 'asked_position'],
      ['asked_position'],
    ],
  },
  version: 1,
  on: {
    'knowledge.moved': {
      key: ({ data }) => data.items.map(({ memory_id }) => holdingOf(data.holder, memory_id)),
      fold: (_row, { data: { holder, items }, time, position }, _context, key) => {
        const item = items.findLast(({ memory_id }) => holdingOf(holder, memory_id) === key)!; // the key is of one of them
        const { memory_id, version, subject, rule, policy_version, pass_on, until } = item;
        return {
          holding: key,
          holder,
          memory_id,
          version,
          subject,
          rule,
          policy_version,
          pass_on: pass_on ? 1 : 0,
          until: until ?? null,
          state: 'held',
          cause: null,
          moved_at: time,
          moved_position: position,
          asked_at: null,
          asked_position: 0,
          answered_at: null,
        };
      },
    },
    'knowledge.withdrawal-asked': {
      key: ({ data }) => data.memory_ids.map((memoryId) => holdingOf(data.holder, memoryId)),
      fold: (row, { data: { cause }, time, position }) =>
        row?.state === 'held' ? { ...row, state: 'asked', cause, asked_at: time, asked_position: position } : row,
    },
    'knowledge.withdrawn': {
      key: ({ data }) => data.memory_ids.map((memoryId) => holdingOf(data.holder, memoryId)),
      fold: (row, { data: { outcome, through = Number.POSITIVE_INFINITY }, time }) =>
        row && row.moved_position <= through ? { ...row, state: outcome, answered_at: time } : row,
    },
  },
});

export function holdingOf(holder: string, memoryId: string): string {
  return `${holder}/${memoryId}`;
}

export interface HoldingFilter {
  readonly holder?: string;
  readonly subject?: string;
  readonly memoryIds?: readonly string[];
  readonly states: readonly HoldingRow['state'][];
}

/** Copies by what is said of them, in order of holder and memory, after a key ('' for the first), at most `limit`. */
export function findHoldings(
  db: Kysely<ViewTables>,
  { holder, subject, memoryIds, states }: HoldingFilter,
  after: string,
  limit: number,
): Promise<HoldingRow[]> {
  let query = db
    .selectFrom('federation_holdings')
    .selectAll()
    .where('holding', '>', after)
    .where('state', 'in', states);
  if (holder !== undefined) query = query.where('holder', '=', holder);
  if (subject !== undefined) query = query.where('subject', '=', subject);
  if (memoryIds) query = query.where('memory_id', 'in', memoryIds);
  return query.orderBy('holding').limit(limit).execute();
}

/** Copies that were to be kept until a time that is past, ISO 8601. */
export function findOverdue(db: Kysely<ViewTables>, now: string, limit: number): Promise<HoldingRow[]> {
  return db
    .selectFrom('federation_holdings')
    .selectAll()
    .where('state', '=', 'held')
    .where('until', '<=', now)
    .orderBy('until')
    .limit(limit)
    .execute();
}

export interface WithdrawalFilter {
  readonly subject?: string | undefined;
  readonly holder?: string | undefined;
  /** A position: what went there earlier is of one that had the name before. */
  readonly movedAfter?: number;
}

/** Copies that were asked back, the last asked for first, before a place. */
export function findWithdrawals(
  db: Kysely<ViewTables>,
  { subject, holder, movedAfter = -1 }: WithdrawalFilter,
  before: { readonly position: number; readonly holding: string },
  limit: number,
): Promise<HoldingRow[]> {
  let query = db
    .selectFrom('federation_holdings')
    .selectAll()
    .where('asked_position', '>', 0)
    .where('moved_position', '>', movedAfter)
    .where((build) =>
      build.or([
        build('asked_position', '<', before.position),
        build.and([build('asked_position', '=', before.position), build('holding', '>', before.holding)]),
      ]),
    );
  if (subject !== undefined) query = query.where('subject', '=', subject);
  if (holder !== undefined) query = query.where('holder', '=', holder);
  return query.orderBy('asked_position', 'desc').orderBy('holding').limit(limit).execute();
}
