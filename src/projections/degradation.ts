/** Which replicas put work aside now, since when and why, and what did administrators order? */
import type { Level, RaisedSignal } from '../events/degradation.ts';
import { projection } from './define.ts';

export interface DegradationRow {
  /** `replica:<id>` of one that is not at normal; `order` of what was ordered last, which may be over by now. */
  subject: string;
  level: Level;
  since: string;
  /** When it was said last. */
  seen_at: string;
  /** See `ChangeCause`; of an order, `order`. */
  cause: string;
  signals: readonly RaisedSignal[];
  /** Of an order. */
  until: string | null;
  reason: string | null;
  actor: string;
  position: number;
}

/** The row of what was ordered. */
export const orderSubject = 'order';
export const replicaSubject = (replica: string): string => `replica:${replica}`;

export const degradation = projection<DegradationRow>({
  table: {
    name: 'federation_degradation',
    key: 'subject',
    columns: {
      subject: 'text',
      level: 'text',
      since: 'text',
      seen_at: 'text',
      cause: 'text',
      signals: 'json',
      until: { type: 'text', nullable: true },
      reason: { type: 'text', nullable: true },
      actor: 'text',
      position: 'integer',
    },
  },
  version: 1,
  on: {
    'degradation.changed': {
      key: ({ data }) => replicaSubject(data.replica),
      fold(row, { data, time, position, meta }) {
        const { to: level, cause, signals } = data;
        if (level === 'normal') return null;
        const subject = replicaSubject(data.replica);
        const since = row?.level === level ? row.since : time;
        const { actor } = meta;
        return { subject, level, since, seen_at: time, cause, signals, until: null, reason: null, actor, position };
      },
    },
    'degradation.ordered': {
      key: () => orderSubject,
      fold: (_row, { data, time, position, meta }) => ({
        subject: orderSubject,
        level: data.level,
        since: time,
        seen_at: time,
        cause: 'order',
        signals: [],
        until: data.until,
        reason: data.reason ?? null,
        actor: meta.actor,
        position,
      }),
    },
    'degradation.order-lifted': { key: () => orderSubject, fold: () => null },
  },
});
