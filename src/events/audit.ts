/**
 * What is no change, and yet is to be told afterwards: refusals and sensitive reads, kept in the stream `audit`; counts of
 * ordinary reads, which are readings, in the stream `reads`.
 */
import { Type } from 'typebox';
import { kept, transient } from './define.ts';

const who = {
  /** `node:<id>`, `operator:<prefix>` or `anonymous`. */
  actor: Type.String(),
  /** Where it came from, as the door saw it; empty where many were taken together. */
  address: Type.String(),
};

export const auditEvents = {
  /** Refusals that look alike, of at most a minute, taken together. */
  'audit.refused': kept(
    Type.Object({
      ...who,
      /** The route or packet: `POST /nodes/register`, `federation:register`. */
      action: Type.String(),
      /** What it was about, where one thing was named; else empty. */
      target: Type.String(),
      code: Type.String(),
      count: Type.Integer({ minimum: 1 }),
      first_at: Type.String(),
      last_at: Type.String(),
    }),
  ),
  /** Written before the answer leaves. */
  'audit.read': kept(Type.Object({ ...who, action: Type.String(), target: Type.String() })),
  /** Ordinary reads of one identity in one minute, at one replica. */
  'audit.reads-counted': transient(
    Type.Object({ actor: Type.String(), minute: Type.String(), reads: Type.Integer({ minimum: 1 }) }),
  ),
  /** What the audit log held up to this position is let go, by the policy of the operator. The log keeps the events. */
  'audit.trimmed': kept(Type.Object({ through: Type.Integer({ minimum: 0 }) })),
} as const;
