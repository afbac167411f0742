/** Who has a durable subscription to what, and how far is it? */
import type { Kysely } from 'kysely';
import type { Delivery, EventFilter } from '../events/subscription.ts';
import type { ViewTables } from './catalog.ts';
import { projection } from './define.ts';

export interface SubscriptionRow {
  subscription_id: string;
  owner: string;
  label: string;
  patterns: string[];
  filter: EventFilter | null;
  delivery: Delivery;
  status: 'active' | 'paused';
  /** Of a paused one. */
  reason: string | null;
  failures: number;
  /** Everything up to here was delivered or read. */
  position: number;
  created_at: string;
  created_position: number;
  advanced_at: string | null;
}

export const subscriptions = projection<SubscriptionRow>({
  table: {
    name: 'federation_subscriptions',
    key: 'subscription_id',
    columns: {
      subscription_id: 'text',
      owner: 'text',
      label: 'text',
      patterns: 'json',
      filter: { type: 'json', nullable: true },
      delivery: 'json',
      status: 'text',
      reason: { type: 'text', nullable: true },
      failures: 'integer',
      position: 'integer',
      created_at: 'text',
      created_position: 'integer',
      advanced_at: { type: 'text', nullable: true },
    },
    indexes: [['owner']],
  },
  version: 1,
  on: {
    'subscription.created': {
      key: ({ data }) => data.subscription_id,
      fold: (_row, { data: { after, filter, ...data }, time, position }) => ({
        ...data,
        filter: filter ?? null,
        status: 'active',
        reason: null,
        failures: 0,
        position: after,
        created_at: time,
        created_position: position,
        advanced_at: null,
      }),
    },
    'subscription.advanced': {
      key: ({ data }) => data.subscription_id,
      fold: (row, { data: { position }, time }) => row && { ...row, position, failures: 0, advanced_at: time },
    },
    'subscription.paused': {
      key: ({ data }) => data.subscription_id,
      fold: (row, { data: { reason, failures } }) => row && { ...row, status: 'paused', reason, failures },
    },
    'subscription.resumed': {
      key: ({ data }) => data.subscription_id,
      fold: (row) => row && { ...row, status: 'active', reason: null, failures: 0 },
    },
    'subscription.deleted': { key: ({ data }) => data.subscription_id, fold: () => null },
  },
});

/** Those of one owner, or of all, in order of id, after an id ('' for the first), at most `limit`. */
export function findSubscriptions(
  db: Kysely<ViewTables>,
  owner: string | undefined,
  after: string,
  limit: number,
): Promise<SubscriptionRow[]> {
  let query = db.selectFrom('federation_subscriptions').selectAll().where('subscription_id', '>', after);
  if (owner !== undefined) query = query.where('owner', '=', owner);
  return query.orderBy('subscription_id').limit(limit).execute();
}
