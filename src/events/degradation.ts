/** How much each replica sheds, in the stream `replica-<id>`; the level that administrators ordered for all, in `degradation-order`. */
import { Type } from 'typebox';
import { kept } from './define.ts';

/** How much of its work a replica puts aside, each level more than the one before. */
export const levels = ['normal', 'reduced', 'essential', 'core'] as const;
export const Level = Type.Union(
  [Type.Literal('normal'), Type.Literal('reduced'), Type.Literal('essential'), Type.Literal('core')],
  {
    description:
      'normal: everything is served. reduced: P2 in part: what costs most and can wait. essential: all of P2 that may be put aside. core: P1 and Nexus too',
  },
);
export type Level = Type.Static<typeof Level>;

/** What is measured of a replica; thresholds.ts of the service says in which unit. */
export const LoadSignal = Type.Union([
  Type.Literal('loop_delay'),
  Type.Literal('heap'),
  Type.Literal('door'),
  Type.Literal('log_queue'),
  Type.Literal('append'),
  Type.Literal('views_lag'),
  Type.Literal('log_away'),
  Type.Literal('views_away'),
  Type.Literal('redis_away'),
]);
export type LoadSignal = Type.Static<typeof LoadSignal>;

/** A measure that is beyond a threshold, and the level that this asks for. */
export const RaisedSignal = Type.Object({ signal: LoadSignal, value: Type.Number(), level: Level });
export type RaisedSignal = Type.Static<typeof RaisedSignal>;

export const ChangeCause = Type.Union(
  [Type.Literal('load'), Type.Literal('order'), Type.Literal('stopped'), Type.Literal('silent')],
  {
    description:
      'load: it was measured. order: an administrator ordered it, or what was ordered is over. stopped: the replica stopped. silent: another replica found that it is gone',
  },
);
export type ChangeCause = Type.Static<typeof ChangeCause>;

export const degradationEvents = {
  /**
   * A replica puts aside more or less than before. Said again each five minutes, with `from` and `to` alike, while it is not back to
   * normal: so that one that was killed can be told from one that is at it.
   */
  'degradation.changed': kept(
    Type.Object({
      replica: Type.String(),
      from: Level,
      to: Level,
      cause: ChangeCause,
      /** What asked for it, the worst first; none on the way back, or by order. */
      signals: Type.Array(RaisedSignal, { maxItems: 16 }),
    }),
  ),
  /** From now until then every replica is at this level, whatever it measures. */
  'degradation.ordered': kept(
    Type.Object({ level: Level, until: Type.String(), reason: Type.Optional(Type.String()) }),
  ),
  /** Each replica is at the level that it measures, before the order had run out. */
  'degradation.order-lifted': kept(Type.Object({})),
} as const;
